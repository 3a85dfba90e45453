"""Builds the engine: the one place that knows which adapter fulfils which contract."""

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from pinnace.contracts.control import HostFacts, SeccompChoice
from pinnace.contracts.snapshots import Snapshots
from pinnace.daemon.builds import build_service
from pinnace.daemon.config import Config, ulimits
from pinnace.daemon.facts import engine_facts
from pinnace.daemon.host import Host, find_host
from pinnace.daemon.images import downloads, git_repositories, image_service
from pinnace.daemon.registries import registry_service
from pinnace.daemon.roots import engine_id
from pinnace.daemon.stores import RecordStore
from pinnace.daemon.workers import TRANSFERS, WORKERS, Tasks, Workers
from pinnace.engine.containers import capabilities
from pinnace.engine.containers.archive import ArchiveService
from pinnace.engine.containers.attach import AttachService
from pinnace.engine.containers.connecting import Connector
from pinnace.engine.containers.creation import Creation, Defaults
from pinnace.engine.containers.etc import ContainerEtcFiles
from pinnace.engine.containers.etcfiles import STUB_SERVER, STUB_UPSTREAM, Resolver
from pinnace.engine.containers.exec_tasks import ExecTasks
from pinnace.engine.containers.execs import ExecService
from pinnace.engine.containers.health import ExecProber, HealthService
from pinnace.engine.containers.keeper import Keeper
from pinnace.engine.containers.logs import LogService
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.containers.rest import ContainerRest
from pinnace.engine.containers.runner import Runner, RunnerParts
from pinnace.engine.containers.security_options import wanted_seccomp
from pinnace.engine.containers.service import ContainerService
from pinnace.engine.containers.stats import StatsService
from pinnace.engine.containers.top import TopService
from pinnace.engine.containers.views import rfc3339
from pinnace.engine.containers.waiters import Waiters
from pinnace.engine.facade import Engine
from pinnace.engine.images.service import ImageService
from pinnace.engine.locks import Locks
from pinnace.engine.networks.predefined import NetworkConfig
from pinnace.engine.networks.service import NetworkService
from pinnace.engine.system import SystemService
from pinnace.engine.volumes.service import VolumeService
from pinnace.host.netstack.stack import LinuxNetStack
from pinnace.host.runtime.accounting import KernelAccounting
from pinnace.host.runtime.bundles import HostBundles
from pinnace.host.runtime.cgroup import KernelCgroups
from pinnace.host.runtime.crun import start_failure
from pinnace.host.runtime.files import HostFiles
from pinnace.host.runtime.monitor import SupervisorMonitor
from pinnace.host.security.seccomp import Filters as SeccompFilters
from pinnace.host.volume_files import VolumeDirectories
from pinnace.model.container import Container, LogConfig
from pinnace.model.record import ContainerId, ImageId
from pinnace.state import containers as state
from pinnace.state.db import Database


@dataclass(frozen=True, slots=True)
class Daemon:
    """Everything the daemon runs, built but not yet started."""

    config: Config
    engine: Engine
    database: Database
    store: RecordStore
    registry: ContainerRegistry
    runner: Runner
    keeper: Keeper
    health: HealthService
    monitor: SupervisorMonitor
    netstack: LinuxNetStack
    networks: NetworkService
    bundles: HostBundles
    snapshots: Snapshots
    cgroups: KernelCgroups
    locks: Locks
    workers: Workers
    tasks: Tasks
    intents: dict[ContainerId, str | None]


async def compose(config: Config, tasks: Tasks, *, api_ports: Sequence[int]) -> Daemon:
    """Build the daemon's parts; reads the database and the host, starts nothing but workers.

    Args:
        config: Checked configuration; its roots exist.
        tasks: Owner of background tasks.
        api_ports: TCP ports of the API, closed to containers.

    Raises:
        Unavailable: Something the daemon cannot do without is missing; the text names it.
    """
    host = await find_host(config, tasks, api_ports)
    networks = NetworkService(
        host.netstack, _network_config(config), publish_event=host.events.publish
    )
    images = await image_service(
        config,
        host.database,
        snapshots=host.snapshots,
        containers=host.registry,
        events=host.events,
        offload=host.workers,
        transfer=Workers(TRANSFERS),
        registries=host.registries,
    )
    volumes = VolumeService(
        VolumeDirectories(Path(config.data_root) / "volumes"),
        store=host.store,
        volumes=await host.database.read(state.all_volumes),
        users=lambda name: _volume_users(host.registry, name),
        events=host.events,
        offload=host.workers,
    )
    return _services(host, networks, images, volumes)


def _services(
    host: Host, networks: NetworkService, images: ImageService, volumes: VolumeService
) -> Daemon:
    publish, registry, monitor = host.events.publish, host.registry, host.monitor
    parts = _runner_parts(host, networks, images)
    runner, waiters, locks = Runner(parts), Waiters(), Locks()
    execs = ExecService(registry, monitor, ExecTasks(parts, runner), publish)
    health = HealthService(
        registry,
        ExecProber(execs),
        lambda container_id, result: keeper.update_health(container_id, result),
        publish,
    )
    keeper = Keeper(
        registry=registry,
        runner=runner,
        waiters=waiters,
        locks=locks,
        publish=publish,
        spawn=host.tasks,
        health=health,
        drop_execs=execs.drop,
        remove_volumes=_AnonymousVolumes(registry, volumes),
    )
    creation = Creation(
        registry=registry,
        runner=runner,
        images=images,
        volumes=volumes,
        facts=host.facts,
        defaults=_defaults(host),
    )
    containers = ContainerService(
        registry=registry,
        creation=creation,
        keeper=keeper,
        runner=runner,
        monitor=monitor,
        waiters=waiters,
        locks=locks,
        publish=publish,
        images=images,
        exec_ids=execs.ids_of,
    )
    engine = _engine(
        host,
        containers,
        rest=ContainerRest(registry, runner, locks),
        execs=execs,
        images=images,
        volumes=volumes,
        networks=networks,
    )
    return Daemon(
        config=host.config,
        engine=engine,
        database=host.database,
        store=host.store,
        registry=registry,
        runner=runner,
        keeper=keeper,
        health=health,
        monitor=monitor,
        netstack=host.netstack,
        networks=networks,
        bundles=host.bundles,
        snapshots=host.snapshots,
        cgroups=host.cgroups,
        locks=locks,
        workers=host.workers,
        tasks=host.tasks,
        intents=host.intents,
    )


def _engine(
    host: Host,
    containers: ContainerService,
    *,
    rest: ContainerRest,
    execs: ExecService,
    images: ImageService,
    volumes: VolumeService,
    networks: NetworkService,
) -> Engine:
    publish, registry, monitor = host.events.publish, host.registry, host.monitor
    logs = LogService(registry, monitor, host.bundles.log_directory, executor=host.workers.pool)
    accounting, layout = KernelAccounting(), host.facts.cgroup
    repositories = git_repositories(host.config)
    builds = build_service(
        host.database,
        files=host.build_files,
        snapshots=host.snapshots,
        containers=containers,
        rest=rest,
        images=images,
        monitor=monitor,
        downloads=downloads(host.config),
        repositories=repositories,
        offload=host.workers,
        transfer=Workers(TRANSFERS),
    )
    return Engine(
        containers=containers,
        attach=AttachService(registry, monitor, logs, publish),
        logs=logs,
        execs=execs,
        archive=ArchiveService(
            registry,
            HostFiles(Path(host.config.exec_root), host.snapshots, host.bundles.copy_rootfs),
            host.bundles.directory,
            publish,
            ThreadPoolExecutor(WORKERS, thread_name_prefix="archive"),
        ),
        stats=StatsService(registry, accounting, layout),
        top=TopService(registry, accounting, layout, publish),
        images=images,
        builds=builds,
        volumes=volumes,
        networks=networks,
        registries=registry_service(host.config, host.registries, host.workers),
        events=host.events,
        system=SystemService(
            engine_facts(host),
            host.facts,
            registry=registry,
            containers=containers,
            images=images,
            image_usage=images.usage,
            volumes=volumes,
            live_warnings=networks.warnings,
            build_cache=builds.cache,
        ),
    )


def _runner_parts(host: Host, networks: NetworkService, images: ImageService) -> RunnerParts:
    return RunnerParts(
        registry=host.registry,
        bundles=host.bundles,
        snapshots=host.snapshots,
        networks=Connector(networks, host.registry),
        monitor=host.monitor,
        cgroups=host.cgroups,
        runtimes=host.runtimes,
        facts=host.facts,
        seccomp=_Seccomp(host.config, host.facts),
        etc_files=_etc_files(host.config),
        offload=host.workers,
        spawn=host.tasks,
        image_size=lambda image: _image_size(images, image),
        explain=start_failure,
        init_path=host.init_path,
    )


def _defaults(host: Host) -> Defaults:
    config = host.config
    return Defaults(
        log=LogConfig(type=config.log_driver, config=config.log_opts or None),
        runtime=config.default_runtime,
        runtimes=host.runtimes,
        ulimits=ulimits(config),
        init=config.init,
        cgroupns=config.default_cgroupns_mode,
        shm_size=config.default_shm_size,
        host_name=socket.gethostname(),
    )


def _network_config(config: Config) -> NetworkConfig:
    created = Path(config.data_root, "engine-id")
    engine_id(Path(config.data_root))
    return NetworkConfig(
        created=rfc3339(created.stat().st_mtime_ns),
        seed=engine_id(Path(config.data_root)),
        bridge_name=config.bridge,
        bip=IPv4Interface(config.bip) if config.bip else None,
        mtu=config.mtu,
        icc=config.icc,
        masquerade=config.ip_masq,
        default_binding=IPv4Address(config.ip),
    )


def _etc_files(config: Config) -> ContainerEtcFiles:
    return ContainerEtcFiles(
        host_resolv_conf=_host_resolv_conf,
        host_hosts=lambda: _text(Path("/etc/hosts")),
        daemon_dns=Resolver(tuple(config.dns), tuple(config.dns_search), tuple(config.dns_opts)),
        gateways=[config.host_gateway_ip] if config.host_gateway_ip else (),
    )


def _host_resolv_conf() -> str:
    """Return the host's resolv.conf; behind systemd-resolved's stub, that of its upstreams."""
    content = _text(Path("/etc/resolv.conf"))
    if STUB_SERVER in content and Path(STUB_UPSTREAM).exists():
        return _text(Path(STUB_UPSTREAM))
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _image_size(images: ImageService, image: ImageId) -> int:
    record = images.catalog.images.get(image)
    return record.size if record is not None else 0


def _volume_users(registry: ContainerRegistry, name: str) -> list[str]:
    return [
        container.id
        for container in registry
        if any(mount.type == "volume" and mount.name == name for mount in container.mounts)
    ]


class _AnonymousVolumes:
    """Implements `keeper.RemoveVolumes`."""

    def __init__(self, registry: ContainerRegistry, volumes: VolumeService) -> None:
        self._registry = registry
        self._volumes = volumes

    async def __call__(self, container: Container) -> None:
        """Remove the container's anonymous volumes that nobody else uses."""
        for mount in container.mounts:
            if mount.anonymous and not _volume_users(self._registry, mount.name):
                await self._volumes.remove(mount.name, force=True)


class _Seccomp:
    """Implements `runner.Seccomp`."""

    def __init__(self, config: Config, facts: HostFacts) -> None:
        self._filters = SeccompFilters(Path(config.exec_root) / "seccomp", facts)
        self._facts = facts
        self._default = _text(Path(config.seccomp_profile)) if config.seccomp_profile else ""

    def __call__(self, container: Container, *, compiled: bool) -> SeccompChoice | None:
        """Return the container's filter."""
        host = container.host_config
        profile = wanted_seccomp(host)
        if profile is None or not self._facts.seccomp:
            return None
        chosen = capabilities.effective(
            host.cap_add or (),
            host.cap_drop or (),
            privileged=host.privileged,
            available=self._facts.capabilities,
        )
        return self._filters.choose(profile or self._default, chosen, compiled=compiled)
