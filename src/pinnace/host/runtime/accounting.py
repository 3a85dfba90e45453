"""Counters of control groups (both versions), interfaces and processes, read from the kernel.

Sources: Linux Documentation/admin-guide/cgroup-v1/{cpuacct,memory,blkio-controller,pids}.rst,
cgroup-v2.rst, proc(5).
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pinnace.contracts.cgroups import (
    BlockEntry,
    CgroupPlaces,
    ContainerUsage,
    CpuUsage,
    HostUsage,
    InterfaceUsage,
    MemoryUsage,
    PsOutput,
)
from pinnace.host import process

_SECOND_NS = 1_000_000_000
_PS_TIMEOUT_S = 15.0
_PS_CAP_BYTES = 8 << 20
_HOST_CPU_FIELDS = 8  # label, then user nice system idle iowait irq softirq
_NET_COLUMNS = 16
_BLKIO_LINE = re.compile(r"^(\d+):(\d+) (\w+) (\d+)$", re.MULTILINE | re.ASCII)
_IO_STAT_LINE = re.compile(r"^(\d+):(\d+) (.*)$", re.MULTILINE | re.ASCII)
_IO_STAT_BYTES = re.compile(r"\b(r|w)bytes=(\d+)", re.ASCII)


class KernelAccounting:
    """Implements `contracts.cgroups.Accounting`."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        """Read processes and the host below `proc`."""
        self._proc = proc
        self._tick_ns = _SECOND_NS // os.sysconf("SC_CLK_TCK")

    def usage(self, places: CgroupPlaces, pid: int) -> ContainerUsage:
        """See the contract."""
        read = self._usage_v2 if places.version == 2 else self._usage_v1
        usage = read(places)
        interfaces = parse_interfaces(_read(self._proc / str(pid) / "net/dev")) if pid else {}
        return replace(usage, interfaces=interfaces)

    def host(self) -> HostUsage:
        """See the contract."""
        lines = _read(self._proc / "stat").splitlines()
        ticks = sum(int(field) for field in lines[0].split()[1:_HOST_CPU_FIELDS]) if lines else 0
        cpus = sum(1 for line in lines if line.startswith("cpu") and line[3:4].isdigit())
        memory = _keyed(_read(self._proc / "meminfo").replace(":", ""))
        return HostUsage(ticks * self._tick_ns, cpus, memory.get("MemTotal", 0) * 1024)

    def pids(self, places: CgroupPlaces) -> list[int]:
        """See the contract."""
        names = ("pids", "freezer", "memory", "")
        top = next((places.directories[n] for n in names if n in places.directories), None)
        if top is None:
            return []
        found: set[int] = set()
        for directory, _, files in os.walk(top):
            if "cgroup.procs" in files:
                found |= {int(pid) for pid in _read(Path(directory, "cgroup.procs")).split()}
        return sorted(found)

    async def ps(self, arguments: Sequence[str]) -> PsOutput:
        """See the contract."""
        done = await process.run(
            ["ps", *arguments], timeout_s=_PS_TIMEOUT_S, cap_bytes=_PS_CAP_BYTES
        )
        return PsOutput(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    def _usage_v1(self, places: CgroupPlaces) -> ContainerUsage:
        def text(controller: str, name: str) -> str:
            directory = places.directories.get(controller)
            return _read(Path(directory, name)) if directory is not None else ""

        stat = _keyed(text("cpuacct", "cpuacct.stat"))
        throttling = _keyed(text("cpu", "cpu.stat"))
        limit = text("pids", "pids.max").strip()
        return ContainerUsage(
            cpu=CpuUsage(
                total_ns=_number(text("cpuacct", "cpuacct.usage")),
                user_ns=stat.get("user", 0) * self._tick_ns,
                kernel_ns=stat.get("system", 0) * self._tick_ns,
                per_cpu=tuple(int(n) for n in text("cpuacct", "cpuacct.usage_percpu").split()),
                periods=throttling.get("nr_periods", 0),
                throttled_periods=throttling.get("nr_throttled", 0),
                throttled_ns=throttling.get("throttled_time", 0),
            ),
            memory=MemoryUsage(
                usage=_number(text("memory", "memory.usage_in_bytes")),
                limit=_number(text("memory", "memory.limit_in_bytes")),
                max_usage=_number(text("memory", "memory.max_usage_in_bytes")),
                failcnt=_number(text("memory", "memory.failcnt")),
                stats=_keyed(text("memory", "memory.stat")),
            ),
            service_bytes=parse_blkio(
                text("blkio", "blkio.bfq.io_service_bytes_recursive")
                or text("blkio", "blkio.throttle.io_service_bytes_recursive")
            ),
            serviced=parse_blkio(
                text("blkio", "blkio.bfq.io_serviced_recursive")
                or text("blkio", "blkio.throttle.io_serviced_recursive")
            ),
            pids=_number(text("pids", "pids.current")),
            pids_limit=int(limit) if limit.isdigit() else None,
        )

    def _usage_v2(self, places: CgroupPlaces) -> ContainerUsage:
        directory = Path(places.directories[""])

        def text(name: str) -> str:
            return _read(directory / name)

        cpu = _keyed(text("cpu.stat"))
        limit, memory_limit = text("pids.max").strip(), text("memory.max").strip()
        return ContainerUsage(
            cpu=CpuUsage(
                total_ns=cpu.get("usage_usec", 0) * 1000,
                user_ns=cpu.get("user_usec", 0) * 1000,
                kernel_ns=cpu.get("system_usec", 0) * 1000,
                periods=cpu.get("nr_periods", 0),
                throttled_periods=cpu.get("nr_throttled", 0),
                throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            ),
            memory=MemoryUsage(
                usage=_number(text("memory.current")),
                limit=int(memory_limit) if memory_limit.isdigit() else 1 << 63,
                stats=_keyed(text("memory.stat")),
            ),
            service_bytes=parse_io_stat(text("io.stat")),
            pids=_number(text("pids.current")),
            pids_limit=int(limit) if limit.isdigit() else None,
        )


def parse_blkio(text: str) -> tuple[BlockEntry, ...]:
    """Read `major:minor operation value` lines; the total at the end is left out."""
    found = _BLKIO_LINE.findall(text)
    return tuple(BlockEntry(int(a), int(b), name, int(value)) for a, b, name, value in found)


def parse_io_stat(text: str) -> tuple[BlockEntry, ...]:
    """Read version 2's `major:minor rbytes=… wbytes=…` lines as bytes read and written."""
    return tuple(_io_entries(text))


def _io_entries(text: str) -> Iterator[BlockEntry]:
    for major, minor, counters in _IO_STAT_LINE.findall(text):
        for name, value in _IO_STAT_BYTES.findall(counters):
            operation = "read" if name == "r" else "write"
            yield BlockEntry(int(major), int(minor), operation, int(value))


def parse_interfaces(text: str) -> dict[str, InterfaceUsage]:
    """Read `/proc/net/dev`, without the loopback."""
    found = {}
    for line in text.splitlines()[2:]:
        name, colon, numbers = line.partition(":")
        fields = [int(number) for number in numbers.split()]
        if not colon or name.strip() == "lo" or len(fields) < _NET_COLUMNS:
            continue
        found[name.strip()] = InterfaceUsage(*fields[:4], *fields[8:12])
    return found


def _read(path: Path) -> str:
    """Return a file's text; nothing when it, the group or the process is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _keyed(text: str) -> dict[str, int]:
    """Read `name value` lines; lines of another form are passed over."""
    found = {}
    for line in text.splitlines():
        match line.split():
            case [name, value, *_] if value.isdigit():
                found[name] = int(value)
    return found
