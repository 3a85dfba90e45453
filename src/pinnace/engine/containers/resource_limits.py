"""Checks of memory, CPU, task and block IO limits against the host, with Docker's texts. Pure."""

from collections.abc import Iterator

from msgspec.structs import replace

from pinnace.contracts.control import HostFacts
from pinnace.errors import InvalidParameter
from pinnace.model.container import HostConfig

MIN_MEMORY_BYTES = 6 * 1024 * 1024
_MAX_SWAPPINESS = 100
_NANO = 1_000_000_000
_CFS_MIN_US, _CFS_MAX_US = 1_000, 1_000_000
_WEIGHT_MIN, _WEIGHT_MAX = 10, 1000

# Field, control files of which the host must have one (version 1, version 2), warning.
_BLKIO = (
    (
        "blkio_weight_device",
        ("blkio.weight_device", "blkio.bfq.weight_device", "io.weight"),
        "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. "
        "Weight-device discarded.",
    ),
    (
        "blkio_device_read_bps",
        ("blkio.throttle.read_bps_device", "io.max"),
        "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. "
        "Block I/O BPS read limit discarded.",
    ),
    (
        "blkio_device_write_bps",
        ("blkio.throttle.write_bps_device", "io.max"),
        "Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. "
        "Block I/O BPS write limit discarded.",
    ),
    (
        "blkio_device_read_iops",
        ("blkio.throttle.read_iops_device", "io.max"),
        "Your kernel does not support IOPS Block read limit or the cgroup is not mounted. "
        "Block I/O IOPS read limit discarded.",
    ),
    (
        "blkio_device_write_iops",
        ("blkio.throttle.write_iops_device", "io.max"),
        "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. "
        "Block I/O IOPS write limit discarded.",
    ),
)


def check_resources(
    asked: HostConfig, facts: HostFacts, *, update: bool
) -> tuple[HostConfig, list[str]]:
    """Return the config with only the limits this host can keep, and warnings about the others.

    Raises:
        InvalidParameter: The limits contradict each other or are out of range.
    """
    warnings: list[str] = []
    config = _memory(asked, facts, warnings, update=update)
    config = _memory_extras(config, facts, warnings)
    config = _pids(config, facts, warnings)
    config = _cpu(config, facts, warnings)
    config = _cpuset(config, facts, warnings)
    return _block_io(config, facts, warnings), warnings


def _has(facts: HostFacts, *files: str) -> bool:
    return not facts.cgroup.features.isdisjoint(files)


def _memory(
    config: HostConfig, facts: HostFacts, warnings: list[str], *, update: bool
) -> HostConfig:
    if config.memory and config.memory < MIN_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if config.memory > 0 and not _has(facts, "memory.limit_in_bytes", "memory.max"):
        warnings.append(
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. "
            "Limitation discarded."
        )
        config = replace(config, memory=0, memory_swap=-1)
    swap_limit = _has(facts, "memory.memsw.limit_in_bytes", "memory.swap.max")
    if config.memory > 0 and config.memory_swap != -1 and not swap_limit:
        warnings.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
            "Memory limited without swap."
        )
        config = replace(config, memory_swap=-1)
    if 0 < config.memory_swap < config.memory:
        raise InvalidParameter(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if config.memory == 0 and config.memory_swap > 0 and not update:
        raise InvalidParameter(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    return config


def _memory_extras(config: HostConfig, facts: HostFacts, warnings: list[str]) -> HostConfig:
    config = _swappiness(config, facts, warnings)
    reserved = config.memory_reservation
    if reserved > 0 and not _has(facts, "memory.soft_limit_in_bytes", "memory.low"):
        warnings.append(
            "Your kernel does not support memory soft limit capabilities or the cgroup is not "
            "mounted. Limitation discarded."
        )
        config = replace(config, memory_reservation=0)
    elif 0 < reserved < MIN_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    elif 0 < config.memory < reserved:
        raise InvalidParameter(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    if config.oom_kill_disable and not _has(facts, "memory.oom_control"):
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        config = replace(config, oom_kill_disable=None)
    if config.oom_kill_disable and config.memory == 0:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can "
            "result in the system running out of resources."
        )
    return config


def _swappiness(config: HostConfig, facts: HostFacts, warnings: list[str]) -> HostConfig:
    value = config.memory_swappiness
    if value in (None, -1):
        return config
    if not 0 <= (value or 0) <= _MAX_SWAPPINESS:
        raise InvalidParameter(f"Invalid value: {value}, valid memory swappiness range is 0-100")
    if _has(facts, "memory.swappiness"):
        return config
    warnings.append(
        "Your kernel does not support memory swappiness capabilities or the cgroup is not "
        "mounted. Memory swappiness discarded."
    )
    return replace(config, memory_swappiness=None)


def _pids(config: HostConfig, facts: HostFacts, warnings: list[str]) -> HostConfig:
    if config.pids_limit is None or _has(facts, "pids.max"):
        return config
    if config.pids_limit > 0:
        warnings.append(
            "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. "
            "PIDs limit discarded."
        )
    return replace(config, pids_limit=None)


def _cpu(config: HostConfig, facts: HostFacts, warnings: list[str]) -> HostConfig:
    cfs = _has(facts, "cpu.cfs_quota_us", "cpu.max")
    _check_nano_cpus(config, facts, cfs=cfs)
    if config.cpu_shares > 0 and not _has(facts, "cpu.shares", "cpu.weight"):
        warnings.append(
            "Your kernel does not support CPU shares or the cgroup is not mounted. "
            "Shares discarded."
        )
        config = replace(config, cpu_shares=0)
    if (config.cpu_period or config.cpu_quota) and not cfs:
        warnings.append(
            "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
        )
        config = replace(config, cpu_period=0, cpu_quota=0)
    if config.cpu_period and not _CFS_MIN_US <= config.cpu_period <= _CFS_MAX_US:
        raise InvalidParameter(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < config.cpu_quota < _CFS_MIN_US:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if config.cpu_percent > 0:
        warnings.append("linux does not support CPU percent. Percent discarded.")
        config = replace(config, cpu_percent=0)
    return _realtime(config, facts, warnings)


def _check_nano_cpus(config: HostConfig, facts: HostFacts, *, cfs: bool) -> None:
    nano = config.nano_cpus
    if nano > 0 and config.cpu_period > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano > 0 and config.cpu_quota > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if nano > 0 and not cfs:
        raise InvalidParameter(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the "
            "cgroup is not mounted"
        )
    if nano < 0 or nano > facts.cpus * _NANO:
        raise InvalidParameter(
            f"range of CPUs is from 0.01 to {facts.cpus}.00, as there are only {facts.cpus} CPUs "
            "available"
        )


def _realtime(config: HostConfig, facts: HostFacts, warnings: list[str]) -> HostConfig:
    if not (config.cpu_realtime_period or config.cpu_realtime_runtime):
        return config
    if not _has(facts, "cpu.rt_runtime_us"):
        warnings.append(
            "Your kernel does not support CPU real-time scheduler. "
            "CPU real-time period/runtime discarded."
        )
        return replace(config, cpu_realtime_period=0, cpu_realtime_runtime=0)
    if config.cpu_realtime_runtime > config.cpu_realtime_period > 0:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")
    return config


def _cpuset(config: HostConfig, facts: HostFacts, warnings: list[str]) -> HostConfig:
    if not (config.cpuset_cpus or config.cpuset_mems):
        return config
    if not _has(facts, "cpuset.cpus"):
        warnings.append(
            "Your kernel does not support cpuset or the cgroup is not mounted. CPUset discarded."
        )
        return replace(config, cpuset_cpus="", cpuset_mems="")
    _check_list("CPUs", "cpuset cpus", config.cpuset_cpus, facts.online_cpus)
    _check_list("memory nodes", "cpuset mems", config.cpuset_mems, facts.online_mems)
    return config


def _check_list(what: str, option: str, asked: str, available: str) -> None:
    try:
        wanted = set(_numbers(asked))
    except ValueError as error:
        raise InvalidParameter(
            f"Invalid value {asked} for {option}: invalid format: {asked}"
        ) from error
    if not wanted.issubset(_numbers(available)):
        raise InvalidParameter(
            f"Requested {what} are not available - requested {asked}, available: {available}"
        )


def _numbers(text: str) -> Iterator[int]:
    """Yield the numbers of a list such as `0-2,7` (cpuset(7), "List format")."""
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        low, high = int(first), int(last if dash else first)
        if not 0 <= low <= high < 2**16:
            raise ValueError(part)
        yield from range(low, high + 1)


def _block_io(config: HostConfig, facts: HostFacts, warnings: list[str]) -> HostConfig:
    if config.blkio_weight and not _has(facts, "blkio.weight", "blkio.bfq.weight", "io.weight"):
        warnings.append(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. "
            "Weight discarded."
        )
        config = replace(config, blkio_weight=0)
    if config.blkio_weight and not _WEIGHT_MIN <= config.blkio_weight <= _WEIGHT_MAX:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    if config.io_maximum_bandwidth or config.io_maximum_iops:
        raise InvalidParameter(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps"
        )
    for name, files, warning in _BLKIO:
        if getattr(config, name) and not _has(facts, *files):
            warnings.append(warning)
            config = replace(config, **{name: None})
    return config
