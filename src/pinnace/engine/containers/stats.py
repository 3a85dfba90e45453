"""What containers use, in the shape of `GET /containers/{id}/stats` (API 1.56)."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeAlias

from pinnace.contracts.cgroups import (
    Accounting,
    BlockEntry,
    CgroupPlaces,
    ContainerUsage,
    CpuUsage,
    HostUsage,
    MemoryUsage,
)
from pinnace.contracts.control import CgroupLayout
from pinnace.engine.containers.lookup import ContainerLookup
from pinnace.engine.containers.spec import cgroup_path
from pinnace.engine.containers.views import NEVER, rfc3339
from pinnace.errors import NotFound
from pinnace.model.container import Container

INTERVAL_S = 1.0
_UNLIMITED = (1 << 64) - 1

JsonValue: TypeAlias = "str | int | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]


def cgroup_places(path: str, layout: CgroupLayout) -> CgroupPlaces:
    """Return where the groups named `path` are."""
    if layout.version == 1:
        directories = {name: base + path for name, base in layout.hierarchies.items()}
        return CgroupPlaces(1, directories)
    return CgroupPlaces(2, {"": layout.unified + path})


class StatsService:
    """Reads counters once, or every second."""

    def __init__(
        self,
        containers: ContainerLookup,
        accounting: Accounting,
        layout: CgroupLayout,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Read by `accounting` in the groups of `layout`."""
        self._containers = containers
        self._accounting = accounting
        self._layout = layout
        self._now_ns = now_ns
        self._sleep = sleep

    def stream(
        self, ref: str, *, stream: bool = True, one_shot: bool = False
    ) -> AsyncGenerator[JsonObject, None]:
        """Return the container's statistics, one object per second while it exists.

        A stopped container has zeros. Without `stream` there is one object: the second reading, so
        that `precpu_stats` is set, or with `one_shot` the first.

        Raises:
            ContainerNotFound: No such container; raised here, not by the iteration.
        """
        container = self._containers.get(ref)
        return self._readings(container, stream=stream, one_shot=one_shot)

    async def _readings(
        self, container: Container, *, stream: bool, one_shot: bool
    ) -> AsyncGenerator[JsonObject, None]:
        previous: JsonObject = empty_stats(container)
        skip = not stream and not one_shot and container.state.status in ("running", "paused")
        while True:
            try:
                container = self._containers.by_id(container.id)
            except NotFound:
                return
            current = self._read(container, previous)
            if not skip:
                yield current
                if not stream:
                    return
            skip = False
            previous = current
            await self._sleep(INTERVAL_S)

    def _read(self, container: Container, previous: JsonObject) -> JsonObject:
        if container.state.status not in ("running", "paused"):
            return empty_stats(container)
        places = cgroup_places(cgroup_path(container), self._layout)
        shared = container.host_config.network_mode == "host"
        usage = self._accounting.usage(places, 0 if shared else container.state.pid)
        host = self._accounting.host()
        return {
            **empty_stats(container),
            "os_type": "linux",
            "read": rfc3339(self._now_ns()),
            "preread": previous["read"],
            "cpu_stats": _cpu(usage.cpu, host),
            "precpu_stats": previous["cpu_stats"],
            "memory_stats": _memory(usage.memory, host),
            "blkio_stats": _block_io(usage, places.version),
            "pids_stats": _pids(usage, places.version),
            **_networks(usage),
        }


def empty_stats(container: Container) -> JsonObject:
    """Return the statistics of a container that does not run."""
    return {
        "id": container.id,
        "name": f"/{container.name}",
        "os_type": "linux",
        "read": NEVER,
        "cpu_stats": _empty_cpu(),
        "memory_stats": {},
        "pids_stats": {},
        "blkio_stats": dict.fromkeys(_BLOCK_KEYS),
        "num_procs": 0,
        "storage_stats": {},
        "preread": NEVER,
        "precpu_stats": _empty_cpu(),
    }


_BLOCK_KEYS = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


def _empty_cpu() -> JsonObject:
    return {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def _cpu(cpu: CpuUsage, host: HostUsage) -> JsonObject:
    usage: JsonObject = {
        "total_usage": cpu.total_ns,
        "usage_in_kernelmode": cpu.kernel_ns,
        "usage_in_usermode": cpu.user_ns,
    }
    if cpu.per_cpu is not None:
        usage["percpu_usage"] = list(cpu.per_cpu)
    return {
        "cpu_usage": usage,
        "system_cpu_usage": host.cpu_ns,
        "online_cpus": host.online_cpus,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled_ns,
        },
    }


def _memory(memory: MemoryUsage, host: HostUsage) -> JsonObject:
    limit = min(memory.limit, host.memory_bytes) or host.memory_bytes
    shown: JsonObject = {
        "usage": memory.usage,
        "stats": dict(memory.stats),
        "limit": limit,
    }
    if memory.max_usage is not None:
        shown["max_usage"] = memory.max_usage
    if memory.failcnt is not None:
        shown["failcnt"] = memory.failcnt
    return shown


def _block_io(usage: ContainerUsage, version: int) -> JsonObject:
    shown: JsonObject = dict.fromkeys(_BLOCK_KEYS)
    shown["io_service_bytes_recursive"] = _entries(usage.service_bytes)
    if version == 1:
        shown |= {key: [] for key in _BLOCK_KEYS[2:]}
        shown["io_serviced_recursive"] = _entries(usage.serviced)
    return shown


def _entries(entries: Sequence[BlockEntry]) -> list[JsonValue]:
    return [
        {"major": e.major, "minor": e.minor, "op": e.operation.lower(), "value": e.value}
        for e in entries
    ]


def _pids(usage: ContainerUsage, version: int) -> JsonObject:
    if usage.pids_limit is not None:
        return {"current": usage.pids, "limit": usage.pids_limit}
    # Docker leaves "no limit" out on version 1 and sends the largest number on version 2.
    return (
        {"current": usage.pids} if version == 1 else {"current": usage.pids, "limit": _UNLIMITED}
    )


def _networks(usage: ContainerUsage) -> JsonObject:
    if not usage.interfaces:
        return {}
    return {
        "networks": {
            name: {
                "rx_bytes": interface.rx_bytes,
                "rx_packets": interface.rx_packets,
                "rx_errors": interface.rx_errors,
                "rx_dropped": interface.rx_dropped,
                "tx_bytes": interface.tx_bytes,
                "tx_packets": interface.tx_packets,
                "tx_errors": interface.tx_errors,
                "tx_dropped": interface.tx_dropped,
            }
            for name, interface in usage.interfaces.items()
        }
    }
