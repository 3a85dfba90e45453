"""Creates containers: checks the request, resolves image, command, mounts and volumes."""

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from pinnace.contracts.control import HostFacts
from pinnace.engine.containers import create as rules
from pinnace.engine.containers import limits
from pinnace.engine.containers.etcfiles import check_dns
from pinnace.engine.containers.mounts import wanted_mounts
from pinnace.engine.containers.names import random_name
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.containers.runner import Runner
from pinnace.engine.networks.request import check_endpoint
from pinnace.engine.volumes.service import VolumeService, data_directory, mount_options
from pinnace.errors import ContainerNotFound, InvalidParameter, NetworkNotFound, NotFound
from pinnace.model.container import (
    Container,
    ContainerConfig,
    HostConfig,
    LogConfig,
    MountRecord,
    Ulimit,
)
from pinnace.model.create import CreateParams
from pinnace.model.endpoint import EndpointSettings
from pinnace.model.image import ImageRecord
from pinnace.model.record import ContainerId
from pinnace.model.volume import VolumeCreate
from pinnace.oci.chain import ChainId

_NETWORKS = frozenset({"bridge", "host", "none"})


class ImageLookup(Protocol):
    """Finds images."""

    def resolve(self, ref: str) -> ImageRecord:
        """Return the image.

        Raises:
            ImageNotFound: There is none.
        """
        ...

    def lease(self, chains: Sequence[ChainId]) -> AbstractContextManager[None]:
        """Keep layers from being removed for the time of a `with` block."""
        ...


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the daemon's configuration gives to containers that do not say.

    Attributes:
        log: Driver and options.
        runtime: Name of the runtime.
        runtimes: Names of all runtimes.
        ulimits: By name.
        init: Run an init program.
        cgroupns: `private` or `host`; "": as the host suggests.
        shm_size: Bytes; 0: 64 MiB.
        host_name: Of the host, for containers on its network.
    """

    log: LogConfig = field(default_factory=lambda: LogConfig(type="json-file"))
    runtime: str = "crun"
    runtimes: Mapping[str, object] | None = None
    ulimits: Mapping[str, Ulimit] | None = None
    init: bool = False
    cgroupns: str = ""
    shm_size: int = 0
    host_name: str = ""


class Creation:
    """Makes container records and what belongs to them on disk."""

    def __init__(
        self,
        *,
        registry: ContainerRegistry,
        runner: Runner,
        images: ImageLookup,
        volumes: VolumeService,
        facts: HostFacts,
        defaults: Defaults,
    ) -> None:
        self._registry = registry
        self._runner = runner
        self._images = images
        self._volumes = volumes
        self.facts = facts
        self._defaults = defaults

    async def create(self, params: CreateParams) -> tuple[Container, Sequence[str]]:
        """Create a container; nothing remains after a failure but volumes it named.

        Raises:
            PinnaceError: See `ContainerService.create`.
        """
        name = rules.check_name(params.name) if params.name else ""
        image = self._images.resolve(params.image or _image_ref(params.config))
        config = rules.merge_config(params.config, image.config, complete=bool(params.image))
        rules.check_config(config, lenient_hostname=params.lenient_hostname)
        host, warnings = self._complete(params, config)
        path, args = rules.command(config)
        mounts = self._mounts(params, config, host)
        networks = self._networks(params, host)
        if host.network_mode == "host" and host.port_bindings:
            warnings.append("Published ports are discarded when using host network mode")
        warnings += _platform_warning(params.platform, image)
        container = Container(
            id=params.id or ContainerId(secrets.token_hex(32)),
            name=name,
            created_ns=time.time_ns(),
            image_id=image.id,
            layer=image.top or "",
            path=path,
            args=args,
            config=config,
            host_config=host,
            networks=networks,
            mounts=[await self._with_volume(mount) for mount in mounts],
        )
        container = self._named(container)
        layers = [container.layer, *(mount.layer for mount in container.mounts)]
        with self._images.lease([ChainId(layer) for layer in layers if layer]):
            return await self._store(container), warnings

    async def rehost(self, container: Container, host_config: HostConfig) -> Container:
        """Return a stopped container's record with another host config (clients before 1.24).

        Volumes it has stay where they are; new ones are made.

        Raises:
            PinnaceError: As `create`; nothing was stored.
        """
        params = CreateParams(container.config, host_config)
        host, _ = self._complete(params, container.config)
        present = {mount.destination: mount for mount in container.mounts if mount.anonymous}
        wanted = self._mounts(params, container.config, host)
        mounts = [
            present.get(mount.destination, mount) if mount.anonymous else mount for mount in wanted
        ]
        return replace(
            container,
            host_config=host,
            networks=self._networks(params, host),
            mounts=[await self._with_volume(mount) for mount in mounts],
        )

    def _mounts(
        self, params: CreateParams, config: ContainerConfig, host: HostConfig
    ) -> list[MountRecord]:
        wanted = wanted_mounts(
            config,
            host,
            lookup=self._registry.get,
            read_only_non_recursive=params.read_only_non_recursive,
            lenient=params.lenient_mount_options,
        )
        return [self._with_image(mount) for mount in wanted]

    async def _store(self, container: Container) -> Container:
        await self._runner.prepare(container)
        if not container.name:
            # Only now: `put` claims the name before anybody else can choose it.
            container = replace(container, name=random_name(self._registry.names))
        try:
            return await self._registry.put(container)
        except BaseException:
            self._runner.destroy_later(container)
            for mount in container.mounts:
                if mount.anonymous:
                    await self._volumes.remove(mount.name, force=True)
            raise

    def _complete(
        self, params: CreateParams, config: ContainerConfig
    ) -> tuple[HostConfig, list[str]]:
        """Check the host config of a request and fill in its defaults; return warnings too."""
        defaults = self._defaults
        host = params.host_config
        if params.clamp_cpu_shares and host.cpu_shares:
            host = replace(host, cpu_shares=min(max(host.cpu_shares, 2), 262144))
        if host.init is None and defaults.init:
            host = replace(host, init=True)
        if not host.shm_size and defaults.shm_size:
            host = replace(host, shm_size=defaults.shm_size)
        rules.check_host_config(
            host, runtimes=defaults.runtimes or {}, default_log=defaults.log.type
        )
        check_dns(host.dns or (), host.extra_hosts or ())
        host, warnings = limits.check_host_config(host, self.facts)
        host = rules.complete_host_config(
            params,
            host,
            default_log=defaults.log,
            default_runtime=defaults.runtime,
            cgroupns=defaults.cgroupns or self._host_cgroupns(host),
        )
        host = replace(host, ulimits=_ulimits(host.ulimits, defaults.ulimits))
        rules.check_network(config, host)
        for mode in (host.ipc_mode, host.pid_mode):
            if mode.startswith("container:"):
                self._joined(mode)
        return host, warnings

    def _host_cgroupns(self, host: HostConfig) -> str:
        if self.facts.cgroup.version == 1 or host.privileged:
            return "host"
        return "private"

    def _networks(self, params: CreateParams, host: HostConfig) -> dict[str, EndpointSettings]:
        mode = host.network_mode
        if mode.startswith("container:"):
            self._joined(mode)
            return {}
        if mode not in _NETWORKS:
            raise _missing(NetworkNotFound(mode))
        asked = {
            "bridge" if name == "default" else name: s for name, s in params.networking.items()
        }
        for name in asked:
            if name != mode:
                raise (
                    _missing(NetworkNotFound(name))
                    if name not in _NETWORKS
                    else InvalidParameter(
                        f"conflicting options: cannot attach both {mode} and {name} networks"
                    )
                )
        settings = asked.get(mode) or EndpointSettings()
        check_endpoint(settings)
        if params.config.network_disabled:
            return {}
        return {mode: settings}

    def _joined(self, mode: str) -> Container:
        try:
            return self._registry.get(mode.removeprefix("container:"))
        except ContainerNotFound as exc:
            raise _missing(exc) from exc

    def _with_image(self, mount: MountRecord) -> MountRecord:
        if mount.type != "image":
            return mount
        try:
            image = self._images.resolve(mount.name)
        except NotFound as exc:
            raise _missing(exc) from exc
        return replace(mount, image_id=image.id, layer=image.top or "")

    async def _with_volume(self, mount: MountRecord) -> MountRecord:
        if mount.type != "volume" or mount.source:
            return mount
        volume = await self._volumes.create(VolumeCreate(name=mount.name, driver=mount.driver))
        return replace(
            mount,
            name=volume.name,
            source=str(data_directory(volume)),
            options=mount_options(volume),
        )

    def _named(self, container: Container) -> Container:
        """Give it a host name: its own short id, or that of whose network it joins."""
        config, host = container.config, container.host_config
        if config.hostname:
            return container
        mode = host.network_mode
        if mode.startswith("container:"):
            hostname = self._joined(mode).config.hostname
        elif mode == "host" or host.uts_mode == "host":
            hostname = self._defaults.host_name
        else:
            hostname = container.id[:12]
        return replace(container, config=replace(config, hostname=hostname))


def _missing(found: NotFound) -> InvalidParameter:
    """Return the failure for a create request: "not found" makes clients pull the image."""
    return InvalidParameter(found.message)


def _image_ref(config: ContainerConfig) -> str:
    if not config.image:
        raise InvalidParameter("no image specified")
    return config.image


def _ulimits(
    asked: Sequence[Ulimit] | None, defaults: Mapping[str, Ulimit] | None
) -> list[Ulimit] | None:
    merged = {**(defaults or {}), **{limit.name: limit for limit in asked or ()}}
    return list(merged.values()) if merged or asked is not None else None


def _platform_warning(platform: str | None, image: ImageRecord) -> list[str]:
    if not platform:
        return []
    wanted = platform.split("/")
    actual = [image.os, image.architecture, image.variant]
    if all(one == other for one, other in zip(wanted, actual, strict=False) if other):
        return []
    found = "/".join(filter(None, actual))
    return [
        f"The requested image's platform ({found}) does not match the specified platform"
        f" ({platform}) and no specific platform was requested"
    ]
