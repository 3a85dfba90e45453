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

import msgspec

from pinnace.contracts.bundles import Bundles, snapshot_key
from pinnace.contracts.control import (
    CgroupPlan,
    Cgroups,
    HostFacts,
    Identity,
    RuntimeProgram,
    SeccompChoice,
)
from pinnace.contracts.monitor import LogFiles, Monitor, TaskSpec
from pinnace.contracts.snapshots import ChainId, Change, Snapshots
from pinnace.engine.containers import cgroup_plan, spec
from pinnace.engine.containers.create import parse_size
from pinnace.engine.containers.orphans import OrphanClearing
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.containers.resources import block_paths, runtime_resources
from pinnace.engine.containers.spec_mounts import MountInputs
from pinnace.errors import Conflict, PinnaceError, RuntimeFailure
from pinnace.model.container import Container, DriverData
from pinnace.model.endpoint import EndpointSettings, PortMap
from pinnace.model.record import ContainerId, ImageId
from pinnace.oci.runtime_spec import Resources, RuntimeSpec

log = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

# Descriptors and files a runtime may see; nothing of the daemon's own environment.
RUNTIME_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


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


class Networks(Protocol):
    """Connects containers with their networks."""

    async def connect(self, container: Container) -> Connection:
        """Make the sandbox and publish the ports; nothing remains after a failure."""
        ...

    async def disconnect(self, container: Container) -> Container:
        """Take both away; return the record without addresses. Idempotent."""
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


class Runner:
    """Starts containers and clears up after them; decides nothing about when."""

    def __init__(self, parts: RunnerParts) -> None:
        self._parts = parts
        self._clearing: dict[str, asyncio.Task[None]] = {}

    # At create

    async def prepare(self, container: Container) -> None:
        """Make the directory and the writable snapshot; nothing remains after a failure."""
        parts = self._parts
        parent = ChainId(container.layer) if container.layer else None

        def make() -> None:
            parts.bundles.make(container.id)
            try:
                parts.snapshots.prepare(snapshot_key(container.id), parent)
            except BaseException:
                parts.bundles.remove(container.id)
                raise

        await parts.offload(make)

    # Start

    async def start(self, container: Container) -> Started:
        """Run the container's command.

        Raises:
            StartFailed: The command is missing or cannot be executed.
            RuntimeFailure: The runtime failed.
            PinnaceError: Something it needs is missing; nothing of the start remains.
        """
        parts = self._parts
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._undo, container)
            rootfs, connection = await self._gather(
                parts.offload(lambda: parts.bundles.mount_rootfs(container.id)),
                parts.networks.connect(container),
            )
            plan, task = await parts.offload(
                lambda: self._describe(container, str(rootfs), connection)
            )
            try:
                pid = await parts.monitor.create(task)
                if plan.after:
                    parts.cgroups.apply(plan.after)
                await parts.monitor.start(container.id)
            except RuntimeFailure as exc:
                raise parts.explain(container.path, exc.message) from exc
            undo.pop_all()
        return Started(pid, connection.sandbox, connection.networks, connection.ports)

    @staticmethod
    async def _gather(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
        """Await both, also when one fails, so that the undo finds no half-done work."""
        one, two = await asyncio.gather(first, second, return_exceptions=True)
        if isinstance(one, BaseException):
            raise one
        if isinstance(two, BaseException):
            raise two
        return one, two

    def _describe(
        self, container: Container, rootfs: str, connection: Connection
    ) -> tuple[CgroupPlan, TaskSpec]:
        """Write everything `crun create` reads; blocks."""
        parts = self._parts
        runtime = self._runtime(container)
        own_cgroups = runtime.is_crun and parts.facts.cgroup.version == 1
        files = self._files(container, connection)
        inputs = self._inputs(container, rootfs, connection, files, own_cgroups=own_cgroups)
        described = spec.runtime_spec(container, parts.facts, inputs)
        plan = self._plan(container, described)
        if own_cgroups:
            parts.cgroups.create(plan)
        bundle = parts.bundles.write_bundle_file(
            container.id, "config.json", msgspec.json.encode(described)
        ).parent
        return plan, self._task(container, str(bundle), plan, runtime, own_cgroups=own_cgroups)

    def _task(
        self,
        container: Container,
        bundle: str,
        plan: CgroupPlan,
        runtime: RuntimeProgram,
        *,
        own_cgroups: bool,
    ) -> TaskSpec:
        config, host = container.config, container.host_config
        pid_file, runtime_log = f"{bundle}/pid", f"{bundle}/runtime.log"
        size = host.console_size
        shared_pids = host.pid_mode not in {"", "private"}
        return TaskSpec(
            id=container.id,
            argv=runtime.create_argv(
                container.id,
                bundle=bundle,
                pid_file=pid_file,
                log=runtime_log,
                own_cgroups=own_cgroups,
            ),
            env=RUNTIME_ENV,
            pid_file=pid_file,
            exit_file=str(self._parts.bundles.directory(container.id) / "exit.json"),
            terminal=config.tty,
            open_stdin=config.open_stdin,
            stdin_once=config.stdin_once,
            console_size=(size[0], size[1]) if len(size) == 2 and any(size) else None,
            log=self._log_files(container),
            start_fifo=runtime.start_fifo(container.id),
            cgroup_files=plan.tasks if own_cgroups else (),
            oom_file=plan.oom or None,
            kill_cgroup=plan.procs.rpartition("/")[0] if shared_pids and plan.procs else None,
            runtime_log=runtime_log,
        )

    def _log_files(self, container: Container) -> LogFiles:
        config = container.host_config.log_config
        options = config.config or {}
        size = options.get("max-size", "")
        return LogFiles(
            directory=str(self._parts.bundles.log_directory(container.id)),
            max_size=0 if size == "-1" else parse_size(size) if size else LogFiles("").max_size,
            max_files=int(options.get("max-file") or LogFiles("").max_files),
            discard=config.type == "none",
        )

    def _files(self, container: Container, connection: Connection) -> MountInputs:
        """Write the etc files, fill volumes, and return the host paths behind mounts; blocks."""
        parts, host = self._parts, container.host_config
        owner = self._network_owner(container)
        directory = parts.bundles.directory(owner.id)
        if owner.id == container.id:
            parts.bundles.write_etc(container.id, parts.etc_files(container, connection.networks))
        sources: dict[str, str] = {}
        for mount in container.mounts:
            if mount.type == "bind":
                parts.bundles.check_source(mount.source, create=not mount.asked)
            if mount.copy_up and not self._in_use(mount.name, container):
                parts.bundles.copy_up(container.id, mount.destination, Path(mount.source))
            if mount.subpath:
                sources[mount.destination] = parts.bundles.in_source(mount.source, mount.subpath)
        return MountInputs(
            hosts=str(directory / "hosts"),
            hostname=str(directory / "hostname"),
            resolv_conf=str(directory / "resolv.conf"),
            shm=self._shm(container),
            init=parts.init_path if host.init else "",
            sources=sources,
            propagations=self._propagations(container),
            plain_files=self._plain_files(container, sources),
        )

    def _propagations(self, container: Container) -> Mapping[str, str]:
        """Look up what the sources of shared and slave binds can do."""
        sources = [
            mount.source
            for mount in container.mounts
            if mount.type == "bind" and mount.propagation.removeprefix("r") in {"shared", "slave"}
        ]
        return self._parts.bundles.propagations(sources) if sources else {}

    def _plain_files(self, container: Container, sources: Mapping[str, str]) -> frozenset[str]:
        """Look up which sources of read-only mounts are files."""
        read_only = [
            sources.get(mount.destination, mount.source)
            for mount in container.mounts
            if mount.type != "tmpfs" and not mount.rw
        ]
        return self._parts.bundles.plain_files(read_only)

    def _in_use(self, volume: str, container: Container) -> bool:
        """Whether another running container has the volume, which must not be refilled then."""
        return any(
            other.id != container.id
            and other.state.status in {"running", "paused"}
            and any(mount.name == volume for mount in other.mounts)
            for other in self._parts.registry
        )

    def _shm(self, container: Container) -> str:
        host = container.host_config
        if host.ipc_mode == "shareable":
            return self._parts.bundles.shared_shm(container.id, host.shm_size)
        if host.ipc_mode.startswith("container:"):
            other = self._joined(host.ipc_mode)
            if other.host_config.ipc_mode == "shareable":
                return self._parts.bundles.shared_shm(other.id, other.host_config.shm_size)
            raise Conflict(
                f"cannot join IPC namespace of container {other.id}: non-shareable IPC"
                " (hint: use IpcMode:shareable for the donor container)"
            )
        return "/dev/shm" if host.ipc_mode == "host" else ""  # noqa: S108 (the host's own)

    def _inputs(
        self,
        container: Container,
        rootfs: str,
        connection: Connection,
        files: MountInputs,
        *,
        own_cgroups: bool,
    ) -> spec.SpecInputs:
        parts, host = self._parts, container.host_config
        runtime = self._runtime(container)
        joined: dict[str, str] = {}
        for kind, mode in (("ipc", host.ipc_mode), ("pid", host.pid_mode)):
            if mode.startswith("container:"):
                joined[kind] = f"/proc/{self._joined(mode).state.pid}/ns/{kind}"
        return spec.SpecInputs(
            rootfs=rootfs,
            identity=self.identity(container, rootfs, container.config.user),
            files=files,
            seccomp=parts.seccomp(container, compiled=runtime.is_crun),
            cgroup_path=spec.cgroup_path(container),
            own_cgroups=own_cgroups,
            netns=connection.sandbox,
            joined=joined,
            nodes={
                device.path_on_host: parts.bundles.device_nodes(device.path_on_host)
                for device in host.devices or []
            },
            host_nodes=parts.bundles.host_devices() if host.privileged else (),
            block_numbers=parts.bundles.block_numbers(block_paths(host)),
        )

    def identity(self, container: Container, rootfs: str, user: str) -> Identity:
        """Resolve a user of the container to ids; blocks."""
        groups = container.host_config.group_add or []
        return self._parts.bundles.identity(Path(rootfs), user, groups)

    def _plan(self, container: Container, described: RuntimeSpec) -> CgroupPlan:
        resources = described.linux.resources or Resources()
        return cgroup_plan.cgroup_plan(
            spec.cgroup_path(container), resources, self._parts.facts.cgroup
        )

    def _runtime(self, container: Container) -> RuntimeProgram:
        return self._parts.runtimes[container.host_config.runtime]

    def _joined(self, mode: str) -> Container:
        """Return the running container that a `container:REF` mode names."""
        ref = mode.removeprefix("container:")
        other = self._parts.registry.get(ref)
        if other.state.status not in {"running", "paused"}:
            raise Conflict(f"cannot join network of a non running container: {other.id}")
        return other

    def _network_owner(self, container: Container) -> Container:
        mode = container.host_config.network_mode
        return self._joined(mode) if mode.startswith("container:") else container

    # Stop

    async def disconnect(self, container: Container) -> Container:
        """Give back address and ports of a container that ended; return the changed record."""
        await self._parts.monitor.forget(container.id)
        return await self._parts.networks.disconnect(container)

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
        await self._runtime(container).delete(container.id)

    def _remove_run(self, container: Container) -> None:
        parts = self._parts
        plan = self.cgroup_plan(container)
        # None is left but in a PID namespace of others, or if the supervisor died in a start.
        parts.cgroups.kill(plan)
        parts.bundles.unmount_rootfs(container.id)
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
        return DriverData(
            name=self._parts.snapshots.driver,
            data={"MergedDir": str(self._parts.bundles.rootfs(container.id)), "ID": container.id},
        )

    async def sizes(self, container: Container) -> tuple[int, int]:
        """Return (bytes the container added, those plus its image's)."""
        parts = self._parts

        def measure() -> tuple[int, int]:
            own = parts.snapshots.usage(snapshot_key(container.id)).size
            return own, own + parts.image_size(container.image_id)

        return await parts.offload(measure)

    async def changes(self, container: Container) -> Sequence[Change]:
        """Return what the container changed in its root filesystem, by path."""
        parent = ChainId(container.layer) if container.layer else None
        key = snapshot_key(container.id)
        return await self._parts.offload(lambda: self._parts.snapshots.changes(key, parent))
