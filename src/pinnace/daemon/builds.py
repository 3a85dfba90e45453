"""Builds the build service out of its adapters."""

import platform as machine
from collections.abc import AsyncGenerator, Mapping

from pinnace.contracts.build_files import BuildFiles
from pinnace.contracts.downloads import Downloads
from pinnace.contracts.monitor import Monitor
from pinnace.contracts.registry import ANONYMOUS, Credentials
from pinnace.contracts.repositories import Repositories
from pinnace.contracts.snapshots import Snapshots
from pinnace.engine.builds.containers import Rest, StepContainers
from pinnace.engine.builds.memo import SelectionMemo
from pinnace.engine.builds.mounting import StepMounts
from pinnace.engine.builds.perform import StepPerformer
from pinnace.engine.builds.service import BuildService
from pinnace.engine.builds.session import BuildParts
from pinnace.engine.builds.solver import Solver
from pinnace.engine.builds.upkeep import CacheUpkeep
from pinnace.engine.containers.service import ContainerService
from pinnace.engine.images.bridge import Message
from pinnace.engine.images.parts import Offload
from pinnace.engine.images.service import ImageService
from pinnace.oci.platform import Platform, host_platform
from pinnace.oci.reference import parse_reference
from pinnace.state.builds import SqliteBuildCache
from pinnace.state.db import Database


def build_service(
    database: Database,
    *,
    files: BuildFiles,
    snapshots: Snapshots,
    containers: ContainerService,
    rest: Rest,
    images: ImageService,
    monitor: Monitor,
    downloads: Downloads,
    repositories: Repositories,
    offload: Offload,
    transfer: Offload,
) -> BuildService:
    """Return the build service.

    Args:
        database: Holds the cache's records.
        files: Contexts and the roots of steps.
        snapshots: Holds the layers.
        containers: Runs the commands of steps.
        rest: Holds their containers while they become layers.
        images: Base images and results.
        monitor: Gives the output of steps.
        downloads: Fetches what ADD and `remote` name.
        repositories: Fetches them from Git repositories.
        offload: Runs short blocking work.
        transfer: Runs work that waits for clients and servers.
    """
    cache = SqliteBuildCache(database)
    mounts = StepMounts(files=files, snapshots=snapshots, cache=cache, offload=offload)
    steps = StepContainers(containers, rest, monitor, cache)
    performer = StepPerformer(
        files=files, snapshots=snapshots, containers=steps, mounts=mounts, offload=offload
    )
    solver = Solver(
        images.library,
        images,
        snapshots=snapshots,
        cache=cache,
        performer=performer,
        offload=offload,
    )
    parts = BuildParts(
        images=images,
        lineage=images.lineage,
        solver=solver,
        files=files,
        cache=cache,
        containers=steps,
        mounts=mounts,
        memo=SelectionMemo(),
        offload=offload,
        transfer=transfer,
        downloads=downloads,
        repositories=repositories,
        pull=_Pull(images),
        host=host_platform(machine.machine()),
    )
    upkeep = CacheUpkeep(images.catalog, cache=cache, files=files, mounts=mounts, offload=offload)
    return BuildService(parts, upkeep)


class _Pull:
    """Implements `session.Pull` over the image service."""

    def __init__(self, images: ImageService) -> None:
        self._images = images

    async def __call__(
        self, ref: str, platform: Platform, credentials: Mapping[str, Credentials]
    ) -> AsyncGenerator[Message, None]:
        """Pull one image."""
        reference = parse_reference(ref).tagged()
        host = reference.name.partition("/")[0]
        messages = self._images.pull(
            reference.familiar(),
            platform=platform.text(),
            credentials=credentials.get(host, ANONYMOUS),
        )
        async for message in messages:
            yield message
