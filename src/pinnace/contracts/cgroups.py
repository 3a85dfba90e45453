"""Reading what containers use: control group counters, interfaces and processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CgroupPlaces:
    """Where a container's control groups are.

    Attributes:
        version: 1 (also hybrid hosts) or 2.
        directories: Version 1: absolute directory by controller. Version 2: one, under "".
    """

    version: int
    directories: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CpuUsage:
    """Processor time in nanoseconds since the group was made.

    Attributes:
        per_cpu: One number per processor; None where the host does not tell (version 2).
        periods: Enforcement periods that have passed.
        throttled_periods: Those in which the group was held back.
        throttled_ns: For how long it was.
    """

    total_ns: int = 0
    user_ns: int = 0
    kernel_ns: int = 0
    per_cpu: tuple[int, ...] | None = None
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """Memory in bytes.

    Attributes:
        max_usage: Highest usage so far; None on version 2.
        failcnt: How often the limit was hit; None on version 2.
        limit: 0 where nothing is known; a huge number where there is no limit.
        stats: `memory.stat` as the kernel writes it.
    """

    usage: int = 0
    limit: int = 0
    max_usage: int | None = None
    failcnt: int | None = None
    stats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """One counter of one block device; `operation` as the kernel names it."""

    major: int
    minor: int
    operation: str
    value: int


@dataclass(frozen=True, slots=True)
class InterfaceUsage:
    """Counters of one network interface."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """All counters of a container at one moment.

    Attributes:
        service_bytes: Bytes moved per block device and operation.
        serviced: Operations likewise; empty on version 2.
        pids_limit: None: unlimited.
        interfaces: By name, without the loopback.
    """

    cpu: CpuUsage = CpuUsage()
    memory: MemoryUsage = MemoryUsage()
    service_bytes: tuple[BlockEntry, ...] = ()
    serviced: tuple[BlockEntry, ...] = ()
    pids: int = 0
    pids_limit: int | None = None
    interfaces: Mapping[str, InterfaceUsage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostUsage:
    """The host's processor time (ns, all processors together), processors and memory (bytes)."""

    cpu_ns: int
    online_cpus: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class PsOutput:
    """What `ps` printed."""

    returncode: int
    stdout: str
    stderr: str


class Accounting(Protocol):
    """Reads counters. The plain methods block, for well under a millisecond."""

    def usage(self, places: CgroupPlaces, pid: int) -> ContainerUsage:
        """Return the counters; what cannot be read counts as nothing.

        Args:
            places: The container's groups.
            pid: Main process, whose interfaces are read; 0: none are.
        """
        ...

    def host(self) -> HostUsage:
        """Return the host's counters."""
        ...

    def pids(self, places: CgroupPlaces) -> list[int]:
        """Return the host pids of the group's processes, those of groups below included."""
        ...

    async def ps(self, arguments: Sequence[str]) -> PsOutput:
        """Run the host's `ps`.

        Raises:
            Unavailable: There is none, or it hangs.
        """
        ...
