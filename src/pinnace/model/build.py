"""What builds ask of containers, and what the API is told of the build cache."""

from dataclasses import dataclass

from msgspec import field as field_name

from pinnace.model.container import Ulimit
from pinnace.model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """What the containers of RUN get; sizes in bytes, 0: no limit or default."""

    network_mode: str = ""
    extra_hosts: tuple[str, ...] = ()
    shm_size: int = 0
    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    cgroup_parent: str = ""
    ulimits: tuple[Ulimit, ...] = ()
    security_opt: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()


class BuildCacheItem(Record, frozen=True, kw_only=True):
    """One entry of the build cache in `GET /system/df`; times RFC 3339, size in bytes."""

    id: str = field_name(name="ID")
    parents: list[str] | None = None
    type: str
    description: str = ""
    in_use: bool = False
    shared: bool = False
    size: int = 0
    created_at: str = ""
    last_used_at: str | None = None
    usage_count: int = 0
