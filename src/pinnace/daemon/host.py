"""Finds the host's adapters and the store, each behind its contract."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pinnace.contracts.control import HostFacts
from pinnace.contracts.snapshots import Snapshots
from pinnace.daemon.config import Config
from pinnace.daemon.image_config import unpack_limits
from pinnace.daemon.registries import registries
from pinnace.daemon.stores import RecordStore
from pinnace.daemon.workers import Tasks, Workers
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.events import EventLog
from pinnace.engine.networks.rules import ruleset
from pinnace.errors import Unavailable
from pinnace.host.builds.files import HostBuildFiles
from pinnace.host.netstack.stack import LinuxNetStack
from pinnace.host.registry.client import HttpRegistries
from pinnace.host.runtime.bundles import HostBundles
from pinnace.host.runtime.cgroup import KernelCgroups, mount_missing_hierarchies
from pinnace.host.runtime.crun import Runtime, find_runtime
from pinnace.host.runtime.facts import host_facts
from pinnace.host.runtime.init import find_init
from pinnace.host.runtime.monitor import SupervisorMonitor
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.host.snapshots.vfs import VfsSnapshots
from pinnace.model.record import ContainerId
from pinnace.state import containers as state
from pinnace.state.db import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Host:
    """The adapters of the host and of the store."""

    config: Config
    tasks: Tasks
    facts: HostFacts
    workers: Workers
    database: Database
    store: RecordStore
    events: EventLog
    registry: ContainerRegistry
    snapshots: Snapshots
    build_files: HostBuildFiles
    bundles: HostBundles
    cgroups: KernelCgroups
    runtimes: dict[str, Runtime]
    netstack: LinuxNetStack
    monitor: SupervisorMonitor
    registries: HttpRegistries
    init_path: str
    intents: dict[ContainerId, str | None]


async def find_host(config: Config, tasks: Tasks, api_ports: Sequence[int]) -> Host:
    """Open the store and find what the host offers; see `compose`."""
    data_root, exec_root = Path(config.data_root), Path(config.exec_root)
    for hierarchy in mount_missing_hierarchies():
        log.warning("mounted the missing control group hierarchy %s", hierarchy)
    database = Database.open(data_root / "state.db")
    stored = await database.read(state.all_containers)
    store = RecordStore(database)
    snapshots = _snapshots(config, data_root)
    return Host(
        config=config,
        tasks=tasks,
        facts=host_facts(),
        workers=Workers(),
        database=database,
        store=store,
        events=EventLog(await database.write(state.recent_events)),
        registry=ContainerRegistry(store, (container for container, _ in stored)),
        snapshots=snapshots,
        build_files=HostBuildFiles(data_root, exec_root, snapshots),
        bundles=HostBundles(data_root, exec_root, snapshots),
        cgroups=KernelCgroups(),
        runtimes=await _runtimes(config, exec_root),
        netstack=LinuxNetStack(
            exec_root / "netns", ruleset, table=config.table, api_ports=api_ports
        ),
        monitor=SupervisorMonitor(exec_root),
        registries=registries(config),
        init_path=_init_path(config),
        intents={container.id: intent for container, intent in stored},
    )


def _snapshots(config: Config, data_root: Path) -> Snapshots:
    if config.storage_driver == "vfs":
        return VfsSnapshots(data_root / "vfs", limits=unpack_limits(config))
    return OverlaySnapshots(data_root / "overlay2", limits=unpack_limits(config))


async def _runtimes(config: Config, exec_root: Path) -> dict[str, Runtime]:
    runtimes = {"crun": await find_runtime(exec_root)}
    for name, given in config.runtimes.items():
        runtimes[name] = await find_runtime(
            exec_root, name=name, path=given.path, args=tuple(given.runtime_args)
        )
    return runtimes


def _init_path(config: Config) -> str:
    try:
        return find_init(config.init_path)
    except Unavailable:
        if config.init_path or config.init:
            raise
        return ""  # containers that ask for one are told so
