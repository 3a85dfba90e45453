"""Facts about the host, control groups, device nodes and the OCI runtime program."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pinnace.oci.runtime_spec import Seccomp


@dataclass(frozen=True, slots=True)
class CgroupLayout:
    """Where the control group hierarchies are.

    Attributes:
        version: 1 (also hybrid hosts: the controllers sit in version 1 hierarchies) or 2.
        hierarchies: Version 1: controller, or `name=…`, to the directory below which this
            engine makes its groups. Co-mounted controllers share a directory. Version 2: empty.
        unified: Directory of the version 2 tree that is used; "" when there is none.
        controllers: Controllers that can be used.
        features: Control files by name (`memory.memsw.limit_in_bytes`, …) the host offers.
    """

    version: int
    hierarchies: Mapping[str, str] = field(default_factory=dict)
    unified: str = ""
    controllers: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the engine's decisions need to know about the host; read once at boot.

    Attributes:
        cgroup: Control group layout.
        kernel: Major and minor version.
        kernel_release: As `uname -r` prints it.
        architecture: As in image platforms: amd64, arm64, …
        cpus: Number of processors the daemon may use.
        online_cpus: List format of `cpuset.cpus`, such as "0-3".
        online_mems: List format of `cpuset.mems`.
        memory_bytes: Physical memory.
        capabilities: What the daemon may hand on; full names.
        rlimit_hard: Hard limits by kernel name (RLIMIT_NOFILE); UNLIMITED for none.
        seccomp: Filters are available.
        apparmor: AppArmor is on.
        selinux: SELinux is on.
        cgroup_namespaces: The kernel has cgroup namespaces.
        thermal_throttle: Each CPU's directory of throttle counters.
        oom_score_adj: The daemon's own; lower values need CAP_SYS_RESOURCE.
    """

    cgroup: CgroupLayout
    kernel: tuple[int, int]
    kernel_release: str
    architecture: str
    cpus: int
    online_cpus: str
    online_mems: str
    memory_bytes: int
    capabilities: frozenset[str]
    rlimit_hard: Mapping[str, int]
    seccomp: bool = True
    apparmor: bool = False
    selinux: bool = False
    cgroup_namespaces: bool = True
    thermal_throttle: tuple[str, ...] = ()
    oom_score_adj: int = 0

    @property
    def can_raise_limits(self) -> bool:
        """Whether hard resource limits can be raised."""
        return "CAP_SYS_RESOURCE" in self.capabilities


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device file of the host.

    Attributes:
        path: Where it is, or shall be in the container.
        kind: c or b.
        mode: Permission bits.
    """

    path: str
    kind: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process in a container is, in numbers.

    Attributes:
        groups: Additional group ids, sorted, with the primary one.
        home: Home directory; "/" when unknown.
    """

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class SeccompChoice:
    """A filter for one container.

    Attributes:
        profile: The filter as the runtime specification writes it.
        bpf: The same, compiled for this host, base64; "" when the runtime compiles it.
    """

    profile: Seccomp
    bpf: str = ""


class SeccompFilters(Protocol):
    """Chooses and compiles filters of system calls."""

    def choose(
        self, profile: str, capabilities: Collection[str], *, compiled: bool
    ) -> SeccompChoice:
        """Return the filter for a process with these capabilities. Blocks some 20 ms once.

        Args:
            profile: "" or "builtin" for the default one, or the JSON of a custom profile.
            capabilities: Effective capabilities; the profile's conditions look at them.
            compiled: Add the compiled form, for runtimes that take it.

        Raises:
            InvalidParameter: The custom profile is wrong, or the host has no filters at all.
        """
        ...


@dataclass(frozen=True, slots=True)
class CgroupWrite:
    """One value for one control file.

    Attributes:
        path: Absolute path.
        value: Text to write, without newline.
        optional: A refusal (file missing, value not supported) is logged, not raised.
    """

    path: str
    value: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class CgroupPlan:
    """A container's control groups.

    Attributes:
        version: 1 or 2.
        directories: To make and remove; one per hierarchy. Version 2: empty when the runtime
            makes the group.
        before: Written before the runtime starts.
        after: Written between create and start; the runtime itself is not held to these.
        tasks: Version 1: the `tasks` files a process writes `0` to in order to join.
        path: What `cgroupsPath` says; also the name below each hierarchy.
        freezer: `freezer.state` or `cgroup.freeze`.
        procs: The `cgroup.procs` that lists the container's processes.
        oom: `memory.oom_control` or `memory.events`.
    """

    version: int
    path: str
    directories: tuple[str, ...] = ()
    before: tuple[CgroupWrite, ...] = ()
    after: tuple[CgroupWrite, ...] = ()
    tasks: tuple[str, ...] = ()
    freezer: str = ""
    procs: str = ""
    oom: str = ""


class Cgroups(Protocol):
    """Control groups of containers.

    All methods block: well under a millisecond, except `freeze`, `kill` and `remove`, which wait,
    bounded, for the kernel.
    """

    def create(self, plan: CgroupPlan) -> None:
        """Make the directories and write `before`; undone when it fails.

        Raises:
            Unavailable: The hierarchy is read-only or missing.
            InvalidParameter: The kernel refused a value.
        """
        ...

    def apply(self, writes: Sequence[CgroupWrite]) -> None:
        """Write control files in order.

        Raises:
            InvalidParameter: The kernel refused a value.
            NotFound: The group is gone.
        """
        ...

    def freeze(self, plan: CgroupPlan) -> None:
        """Stop every process of the group and wait until they stand.

        Raises:
            Internal: They did not stop in time; the group is thawed again.
        """
        ...

    def thaw(self, plan: CgroupPlan) -> None:
        """Let a frozen group go on."""
        ...

    def is_frozen(self, plan: CgroupPlan) -> bool:
        """Return whether the group stands still, or is about to; False when it is gone."""
        ...

    def pids(self, plan: CgroupPlan) -> list[int]:
        """Return the group's processes, host pids, those of groups below included."""
        ...

    def kill(self, plan: CgroupPlan) -> None:
        """Send SIGKILL to every process of the group, until none is left; bounded."""
        ...

    def remove(self, plan: CgroupPlan) -> None:
        """Remove the directories and those made below; missing ones are fine.

        Raises:
            Internal: Still busy after the bound.
        """
        ...

    def remove_named(self, layout: CgroupLayout, names: Collection[str]) -> None:
        """Kill the members of every group with one of these names, anywhere, and remove it.

        For containers of which nothing but the id is known any more.

        Raises:
            Internal: Still busy after the bound.
        """
        ...


class RuntimeProgram(Protocol):
    """An OCI runtime on disk: what to run, and how to read its failures."""

    @property
    def name(self) -> str:
        """As users select it."""
        ...

    @property
    def is_crun(self) -> bool:
        """Whether it takes compiled filters, has exec.fifo and can keep out of cgroups."""
        ...

    def create_argv(
        self, container_id: str, *, bundle: str, pid_file: str, log: str, own_cgroups: bool
    ) -> list[str]:
        """Return the command that makes a container; the last word is the id."""
        ...

    def exec_argv(
        self, container_id: str, *, process: str, pid_file: str, log: str, own_cgroups: bool
    ) -> list[str]:
        """Return the command that adds a process, detached; the last word is the id."""
        ...

    def start_argv(self, container_id: str) -> list[str]:
        """Return the command that starts a created container."""
        ...

    def start_fifo(self, container_id: str) -> str | None:
        """Return the fifo whose writing starts the container; None: run `start_argv`."""
        ...

    def present(self) -> Sequence[str]:
        """Return the ids of which the runtime keeps state; blocks."""
        ...

    async def delete(self, container_id: str) -> None:
        """Remove the runtime's state of an ended container; missing state is fine.

        Raises:
            RuntimeFailure: It could not be removed.
        """
        ...
