"""A fake of the counters."""

from collections.abc import Sequence

from pinnace.contracts.cgroups import CgroupPlaces, ContainerUsage, HostUsage, PsOutput


class FakeAccounting:
    """Fulfils Accounting with what the test sets.

    Attributes:
        counters: Answer of `usage`.
        processes: Answer of `pids`.
        printed: Answer of `ps`.
        asked: Arguments of the calls, in order.
    """

    def __init__(self) -> None:
        self.counters = ContainerUsage()
        self.system = HostUsage(cpu_ns=0, online_cpus=2, memory_bytes=1 << 30)
        self.processes: list[int] = []
        self.printed = PsOutput(0, "", "")
        self.asked: list[object] = []

    def usage(self, places: CgroupPlaces, pid: int) -> ContainerUsage:
        """Return `counters`."""
        self.asked.append((places, pid))
        return self.counters

    def host(self) -> HostUsage:
        """Return `system`."""
        return self.system

    def pids(self, places: CgroupPlaces) -> list[int]:
        """Return `processes`."""
        self.asked.append(places)
        return self.processes

    async def ps(self, arguments: Sequence[str]) -> PsOutput:
        """Return `printed`."""
        self.asked.append(list(arguments))
        return self.printed
