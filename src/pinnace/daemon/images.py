"""Builds the image service out of its adapters."""

import os
import platform as machine
from collections.abc import Iterable, Sequence
from pathlib import Path

from pinnace.contracts.registry import Registries
from pinnace.contracts.snapshots import Snapshots
from pinnace.daemon.config import Config
from pinnace.daemon.image_config import pull_settings, unpack_limits
from pinnace.daemon.registries import transfer_limits
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.events import EventLog
from pinnace.engine.images.parts import Offload
from pinnace.engine.images.service import ImageService
from pinnace.host.content.blobs import BlobContent
from pinnace.host.downloads import HttpDownloads
from pinnace.host.registry.proxies import Proxies, proxies_from
from pinnace.host.repositories import GitRepositories
from pinnace.model.record import ImageId
from pinnace.oci.chain import ChainId
from pinnace.oci.platform import host_platform
from pinnace.state.db import Database
from pinnace.state.images import SqliteImageStore
from pinnace.state.layer_blobs import SqliteLayerBlobs


async def image_service(
    config: Config,
    database: Database,
    *,
    snapshots: Snapshots,
    containers: ContainerRegistry,
    events: EventLog,
    offload: Offload,
    transfer: Offload,
    registries: Registries,
) -> ImageService:
    """Return the image service, with what the database holds.

    Args:
        config: Checked configuration; its roots exist.
        database: Holds the records.
        snapshots: Holds the layers.
        containers: Who uses images.
        events: Takes events.
        offload: Runs short blocking work.
        transfer: Runs work that waits for clients and registries.
        registries: Where images are pulled from and pushed to.
    """
    store = SqliteImageStore(database)
    return ImageService(
        store,
        await store.load(),
        snapshots=snapshots,
        content=BlobContent(Path(config.data_root) / "content", limits=unpack_limits(config)),
        layer_blobs=SqliteLayerBlobs(database),
        downloads=downloads(config),
        registries=registries,
        limits=transfer_limits(config),
        pulls=pull_settings(config),
        users=ImageUsers(containers),
        offload=offload,
        transfer=transfer,
        publish=events.publish,
        host=host_platform(machine.machine()),
    )


def downloads(config: Config) -> HttpDownloads:
    """Return what fetches files of other servers, through the proxies of the configuration."""
    return HttpDownloads(_proxies(config))


def git_repositories(config: Config) -> GitRepositories:
    """Return what fetches trees out of Git repositories, through the same proxies."""
    proxies = _proxies(config)
    named = {
        "http_proxy": proxies.http,
        "https_proxy": proxies.https,
        "no_proxy": proxies.none_for,
    }
    environment = {name: value for name, value in named.items() if value}
    return GitRepositories(Path(config.data_root) / "builds" / "git", environment=environment)


def _proxies(config: Config) -> Proxies:
    return proxies_from(
        os.environ,
        http=config.proxies.http_proxy,
        https=config.proxies.https_proxy,
        none_for=config.proxies.no_proxy,
    )


class ImageUsers:
    """Implements `engine.images.parts.ImageUsers`."""

    def __init__(self, registry: ContainerRegistry) -> None:
        self._registry = registry

    def containers_using(self, image: ImageId) -> Sequence[tuple[str, bool]]:
        """Return (container id, is running) of every container that needs the image."""
        live = {"running", "paused", "restarting"}
        return [
            (container.id, container.state.status in live)
            for container in self._registry
            if image in {container.image_id, *(mount.image_id for mount in container.mounts)}
        ]

    def layers_in_use(self) -> Iterable[ChainId]:
        """Return the top layers of every container and of the images mounted in it."""
        return {
            ChainId(layer)
            for container in self._registry
            for layer in (container.layer, *(mount.layer for mount in container.mounts))
            if layer
        }
