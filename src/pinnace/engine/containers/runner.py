"""Makes a container's process, and clears away what it leaves; the start path.

`start` is what PERFORMANCE §3 is about: one worker call for the files, the network beside it, one
message to the supervisor for `crun create`, one for the fifo. Clearing up happens after the client
has its answer, in one FIFO worker per container.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pinnace.contracts.bundles import Bundles, snapshot_key
from pinnace.contracts.control import (
    CgroupPlan,
    Cgroups,
    HostFacts,
    RuntimeProgram,
    SeccompChoice,
)
from pinnace.contracts.monitor import Monitor
from pinnace.contracts.snapshots import ChainId, Change, Snapshots
from pinnace.engine.containers import cgroup_plan, spec
from pinnace.engine.containers.orphans import OrphanClearing
from pinnace.engine.containers.preparation import (
    Preparation,
    Prepared,
    mounted_volumes,
)
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.containers.resources import block_paths, runtime_resources
from pinnace.errors import InvalidParameter, NotFound, PinnaceError, RuntimeFailure
from pinnace.model.container import Container, DriverData
from pinnace.model.endpoint import EndpointSettings, PortMap
from pinnace.model.record import ContainerId, ImageId

log = logging.getLogger(__name__)

# Those who wait for the end are told before the clearing up takes processors from them.
_ANSWERS_FIRST_S = 0.001

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connection:
    """A container's place on the network while it runs.

    Attributes:
        sandbox: Path of its network namespace; "" on the host's.
        networks: Endpoint settings by network name.
        ports: Published ports.
    """

    sandbox: str
    networks: dict[str, EndpointSettings]
    ports: PortMap


class Connecting(Protocol):
    """A container on its way to its network; the steps are taken once each, in this order.

    Attributes:
        connection: What it will have; true from `complete` on.
    """

    @property
    def connection(self) -> Connection:
        """What the container will have."""
        ...

    async def open(self) -> None:
        """Make the network namespace, which is all that the runtime needs."""
        ...

    async def complete(self) -> None:
        """Make the links and publish the ports."""
        ...

    async def abandon(self) -> None:
        """Instead of the remaining steps: take back what there is. Nothing after `complete`."""
        ...


class Networks(Protocol):
    """Connects containers with their networks."""

    async def connect(self, container: Container) -> Connecting:
        """Claim address and ports; nothing remains after a failure."""
        ...

    async def disconnect(self, container: Container) -> Container:
        """Take network and ports away; return the record without addresses. Idempotent."""
        ...

    def renamed(self, container: Container) -> None:
        """Show a running container under its new name."""
        ...


class EtcFiles(Protocol):
    """Writes what /etc/hosts, hostname and resolv.conf of a container say."""

    def __call__(
        self, container: Container, networks: Mapping[str, EndpointSettings]
    ) -> dict[str, str]:
        """Return contents by file name."""
        ...


class Seccomp(Protocol):
    """Chooses and compiles a container's filter; blocks for about 20 ms at the first use."""

    def __call__(self, container: Container, *, compiled: bool) -> SeccompChoice | None:
        """Return the filter; None: unconfined.

        Raises:
            InvalidParameter: A custom profile that cannot be read.
        """
        ...


class Offload(Protocol):
    """Runs a blocking function in a bounded worker pool and awaits its result."""

    async def __call__(self, fn: Callable[[], T], /) -> T:
        """Run `fn`."""
        ...


class RunnerSpawn(Protocol):
    """Starts a background task that the daemon's task group owns."""

    def __call__(
        self, work: Coroutine[object, object, None], *, name: str
    ) -> "asyncio.Task[None]":
        """Start `work`."""
        ...


@dataclass(frozen=True, slots=True)
class Started:
    """A container that runs."""

    pid: int
    sandbox: str
    networks: dict[str, EndpointSettings]
    ports: PortMap


@dataclass(frozen=True, slots=True)
class RunnerParts:
    """What the runner works with.

    Attributes:
        runtimes: OCI runtimes by the name containers ask for.
        explain: What a failed start means, from the command and the runtime's words.
        init_path: The init program for `--init`; "" when there is none.
        image_size: Bytes of an image's layers; 0 when it is gone.
    """

    registry: ContainerRegistry
    bundles: Bundles
    snapshots: Snapshots
    networks: Networks
    monitor: Monitor
    cgroups: Cgroups
    runtimes: Mapping[str, RuntimeProgram]
    facts: HostFacts
    seccomp: Seccomp
    etc_files: EtcFiles
    offload: Offload
    spawn: RunnerSpawn
    image_size: Callable[[ImageId], int]
    explain: Callable[[str, str], PinnaceError]
    init_path: str = ""

    def runtime_of(self, container: Container) -> RuntimeProgram:
        """Return the runtime that a container asks for.

        Raises:
            InvalidParameter: The daemon is not configured with it any more.
        """
        name = container.host_config.runtime
        if name not in self.runtimes:
            raise InvalidParameter(f"unknown or invalid runtime name: {name}")
        return self.runtimes[name]


class Runner:
    """Starts containers and clears up after them; decides nothing about when."""

    def __init__(self, parts: RunnerParts) -> None:
        self._parts = parts
        self._preparation = Preparation(parts)
        self._clearing: dict[str, asyncio.Task[None]] = {}

    # At create

    async def prepare(self, container: Container) -> None:
        """Make the directory and the writable snapshot; nothing remains after a failure.

        Raises:
            InvalidParameter: The source of a bind mount is not there.
        """
        parts = self._parts
        parent = ChainId(container.layer) if container.layer else None

        def make() -> None:
            for mount in container.mounts:
                if mount.type == "bind" and not mount.create_source:
                    parts.bundles.check_source(mount.source, create=False)
            parts.bundles.make(container.id)
            try:
                parts.snapshots.prepare(snapshot_key(container.id), parent)
            except BaseException:
                parts.bundles.remove(container.id)
                raise

        await parts.offload(make)

    # Start

    async def start(
        self, container: Container, *, record: Callable[[], Awaitable[object]]
    ) -> Started:
        """Run the container's command.

        Args:
            container: Not running, and its last run cleared up.
            record: Stores what is about to happen; done before there is a process.

        Raises:
            StartFailed: The command is missing or cannot be executed.
            RuntimeFailure: The runtime failed.
            PinnaceError: Something it needs is missing; nothing of the start remains.
        """
        parts = self._parts
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._undo, container)
            connecting = await parts.networks.connect(container)
            undo.push_async_callback(connecting.abandon)
            connection = connecting.connection
            prepared = await self._beside(
                parts.offload(lambda: self._preparation.prepare(container, connection)),
                connecting.open(),
                record(),
            )
            try:
                pid = await self._run(container, prepared, connecting)
            except RuntimeFailure as exc:
                raise parts.explain(container.path, exc.message) from exc
            undo.pop_all()
        return Started(pid, connection.sandbox, connection.networks, connection.ports)

    async def _run(self, container: Container, prepared: Prepared, connecting: Connecting) -> int:
        """Make the container's process while its links are made, and start it; return its id."""
        monitor, limits = self._parts.monitor, prepared.plan.after
        if container.host_config.sysctls:  # which may name an interface
            await connecting.complete()
            pid = await monitor.create(prepared.task)
        else:
            completing = self._complete(container.id, connecting, start=not limits)
            pid = await self._beside(monitor.create(prepared.task), completing)
            if not limits:
                return pid
        self._parts.cgroups.apply(limits)
        await monitor.start(container.id)
        return pid

    async def _complete(
        self, container_id: ContainerId, connecting: Connecting, *, start: bool
    ) -> None:
        """Make the links; then the process may start as soon as it is made, if `start` says so."""
        await connecting.complete()
        if start:
            await self._parts.monitor.start(container_id)

    @staticmethod
    async def _beside(awaited: Awaitable[T], *others: Awaitable[object]) -> T:
        """Await all, also when one fails, so that the undo finds no half-done work.

        Returns:
            What the first one returned.
        """
        first = asyncio.ensure_future(awaited)
        for one in await asyncio.gather(first, *others, return_exceptions=True):
            if isinstance(one, BaseException):
                raise one
        return first.result()

    # Stop

    async def disconnect(self, container: Container) -> Container:
        """Give back address and ports of a container that ended; return the changed record."""
        parts = self._parts
        return await self._beside(
            parts.networks.disconnect(container), parts.monitor.forget(container.id)
        )

    def clean_up_later(self, container: Container) -> None:
        """Unmount, remove control groups and the runtime's state, in the background."""
        self._enqueue(container.id, lambda: self._clean_up(container))

    def destroy_later(self, container: Container) -> None:
        """Remove the container's files for good, in the background."""
        self._enqueue(container.id, lambda: self._destroy(container))

    async def settled(self, container_id: ContainerId) -> None:
        """Wait until the clearing up of the last run is over."""
        task = self._clearing.get(container_id)
        if task is not None:
            await asyncio.wait({task})

    async def drained(self) -> None:
        """Wait until all clearing up is over (shutdown)."""
        while self._clearing:
            await asyncio.wait(set(self._clearing.values()))

    def _enqueue(self, container_id: ContainerId, work: Callable[[], Awaitable[None]]) -> None:
        before = self._clearing.get(container_id)

        async def run() -> None:
            await asyncio.sleep(_ANSWERS_FIRST_S)
            if before is not None:
                await asyncio.wait({before})
            try:
                await work()
            except (PinnaceError, OSError):
                # Boot's repair removes what is left here.
                log.exception("clearing up failed", extra={"container": container_id})

        task = self._parts.spawn(run(), name=f"clear {container_id[:12]}")
        self._clearing[container_id] = task
        task.add_done_callback(lambda done: self._cleared(container_id, done))

    def _cleared(self, container_id: str, task: "asyncio.Task[None]") -> None:
        if self._clearing.get(container_id) is task:
            del self._clearing[container_id]

    async def _undo(self, container: Container) -> None:
        """Take back a start that failed."""
        await self._parts.monitor.forget(container.id)
        await self._parts.networks.disconnect(container)
        await self._clean_up(container)

    async def _clean_up(self, container: Container) -> None:
        parts = self._parts
        await parts.offload(lambda: self._remove_run(container))
        await parts.runtime_of(container).delete(container.id)

    def _remove_run(self, container: Container) -> None:
        parts = self._parts
        plan = self.cgroup_plan(container)
        # None is left but in a PID namespace of others, or if the supervisor died in a start.
        parts.cgroups.kill(plan)
        parts.bundles.unmount_rootfs(container.id)
        for volume, _ in mounted_volumes(container):
            parts.bundles.release_volume(container.id, volume)
        parts.cgroups.remove(plan)

    async def _destroy(self, container: Container) -> None:
        parts = self._parts
        key = snapshot_key(container.id)

        def remove() -> None:
            parts.bundles.remove(container.id)
            parts.snapshots.remove(key)

        await parts.offload(remove)

    async def remove_orphans(self, known: Collection[ContainerId]) -> list[ContainerId]:
        """Remove whatever there is of containers that are not `known`; return their ids."""
        parts = self._parts
        runtimes = parts.runtimes.values()
        clearing = OrphanClearing(parts.bundles, parts.cgroups, runtimes, parts.facts.cgroup)
        return await clearing.run(known, parts.offload)

    # While it runs

    def adopt(self, container: Container) -> None:
        """Take up what a container holds that went on running while the daemon was away."""
        for volume, _ in mounted_volumes(container):
            self._parts.bundles.hold_volume(container.id, volume, None)

    def detach_root_later(self, container: Container) -> None:
        """Take a running container's root out of the host's mounts, in the background."""
        if self._has_own_root(container):
            bundles = self._parts.bundles
            self._enqueue(
                container.id,
                lambda: self._parts.offload(lambda: bundles.detach_rootfs(container.id)),
            )

    def _has_own_root(self, container: Container) -> bool:
        """Whether its processes hold the root mount, and need none on the host.

        Of other runtimes than crun, some have processes that work with it from outside.
        """
        runtime = self._parts.runtimes.get(container.host_config.runtime)
        return runtime is not None and runtime.is_crun

    def cgroup_plan(self, container: Container) -> CgroupPlan:
        """Return the container's control groups with its limits, without device rules."""
        host = container.host_config
        numbers = self._parts.bundles.block_numbers(block_paths(host))
        return cgroup_plan.cgroup_plan(
            spec.cgroup_path(container),
            runtime_resources(host, (), numbers),
            self._parts.facts.cgroup,
        )

    async def apply_limits(self, container: Container) -> None:
        """Bring a running container to the limits of its (changed) record.

        Raises:
            InvalidParameter: The kernel refused a value.
        """
        host = container.host_config
        numbers = self._parts.bundles.block_numbers(block_paths(host))
        writes = cgroup_plan.update_writes(
            self.cgroup_plan(container),
            runtime_resources(host, (), numbers),
            self._parts.facts.cgroup,
        )
        await self._parts.offload(lambda: self._parts.cgroups.apply(writes))

    async def freeze(self, container: Container) -> None:
        """Stop every process of the container."""
        await self._parts.offload(lambda: self._parts.cgroups.freeze(self.cgroup_plan(container)))

    async def thaw(self, container: Container) -> None:
        """Let them go on."""
        await self._parts.offload(lambda: self._parts.cgroups.thaw(self.cgroup_plan(container)))

    async def is_frozen(self, container: Container) -> bool:
        """Return whether the container's processes stand still."""
        plan = self.cgroup_plan(container)
        return await self._parts.offload(lambda: self._parts.cgroups.is_frozen(plan))

    async def pids(self, container: Container) -> list[int]:
        """Return the container's processes, host pids."""
        plan = self.cgroup_plan(container)
        return await self._parts.offload(lambda: self._parts.cgroups.pids(plan))

    def renamed(self, container: Container) -> None:
        """Tell the network a container's new name."""
        self._parts.networks.renamed(container)

    # Looking at it

    def directory(self, container_id: ContainerId) -> Path:
        """Return the container's directory on the host."""
        return self._parts.bundles.directory(container_id)

    def driver_data(self, container: Container) -> DriverData:
        """Return the storage driver and where it keeps this container's files."""
        pid = container.state.pid
        if pid and self._has_own_root(container):
            merged = f"/proc/{pid}/root"
        else:
            merged = str(self._parts.bundles.rootfs(container.id))
        return DriverData(
            name=self._parts.snapshots.driver, data={"MergedDir": merged, "ID": container.id}
        )

    async def sizes(self, container: Container) -> tuple[int, int]:
        """Return (bytes the container added, those plus its image's)."""
        parts = self._parts

        def measure() -> tuple[int, int]:
            try:
                own = parts.snapshots.usage(snapshot_key(container.id)).size
            except NotFound:
                own = 0  # a build step's files became a layer; the container goes next
            return own, own + parts.image_size(container.image_id)

        return await parts.offload(measure)

    async def changes(self, container: Container) -> Sequence[Change]:
        """Return what the container changed in its root filesystem, by path."""
        parent = ChainId(container.layer) if container.layer else None
        key = snapshot_key(container.id)
        return await self._parts.offload(lambda: self._parts.snapshots.changes(key, parent))
