"""What the control groups shall hold a container to: HostConfig to runtime spec. Pure."""

from collections.abc import Mapping, Sequence

from pinnace.errors import InvalidParameter
from pinnace.model.container import HostConfig
from pinnace.model.container import ThrottleDevice as AskedThrottle
from pinnace.oci.runtime_spec import (
    BlockIoLimits,
    CpuLimits,
    DeviceRule,
    MemoryLimits,
    PidsLimits,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

_PERIOD_US = 100_000  # of `--cpus`; the kernel's default
_NANO = 1_000_000_000

BlockNumbers = Mapping[str, tuple[int, int]]  # device path on the host -> major, minor


def runtime_resources(
    asked: HostConfig, rules: Sequence[DeviceRule], block_numbers: BlockNumbers
) -> Resources:
    """Return the limits of a container; parts without a limit are None.

    Raises:
        InvalidParameter: A block device is not in `block_numbers`.
    """
    return Resources(
        devices=list(rules),
        memory=_memory(asked),
        cpu=_cpu(asked),
        pids=_pids(asked),
        block_io=_block_io(asked, block_numbers),
    )


def block_paths(asked: HostConfig) -> set[str]:
    """Return the host paths whose device numbers `runtime_resources` needs."""
    return {
        device.path
        for devices in (
            asked.blkio_weight_device,
            asked.blkio_device_read_bps,
            asked.blkio_device_write_bps,
            asked.blkio_device_read_iops,
            asked.blkio_device_write_iops,
        )
        for device in devices or ()
    }


def _memory(asked: HostConfig) -> MemoryLimits | None:
    swappiness = asked.memory_swappiness
    limits = MemoryLimits(
        limit=asked.memory or None,
        reservation=asked.memory_reservation or None,
        swap=_memory_and_swap(asked),
        swappiness=None if swappiness in (None, -1) else swappiness,
        disable_oom_killer=asked.oom_kill_disable or None,
    )
    return None if limits == MemoryLimits() else limits


def _memory_and_swap(asked: HostConfig) -> int | None:
    """Without a word about swap, a container may use as much swap as memory."""
    if asked.memory_swap:
        return asked.memory_swap
    return 2 * asked.memory if asked.memory > 0 else None


def _cpu(asked: HostConfig) -> CpuLimits | None:
    quota, period = asked.cpu_quota or None, asked.cpu_period or None
    if asked.nano_cpus > 0:
        quota, period = asked.nano_cpus * _PERIOD_US // _NANO, _PERIOD_US
    limits = CpuLimits(
        shares=asked.cpu_shares or None,
        quota=quota,
        period=period,
        realtime_runtime=asked.cpu_realtime_runtime or None,
        realtime_period=asked.cpu_realtime_period or None,
        cpus=asked.cpuset_cpus,
        mems=asked.cpuset_mems,
    )
    return None if limits == CpuLimits() else limits


def _pids(asked: HostConfig) -> PidsLimits | None:
    if asked.pids_limit is None:
        return None
    return PidsLimits(limit=asked.pids_limit if asked.pids_limit > 0 else -1)


def _block_io(asked: HostConfig, numbers: BlockNumbers) -> BlockIoLimits | None:
    limits = BlockIoLimits(
        weight=asked.blkio_weight or None,
        weight_device=[
            WeightDevice(
                major=_number(device.path, numbers)[0],
                minor=_number(device.path, numbers)[1],
                weight=device.weight,
            )
            for device in asked.blkio_weight_device or ()
        ],
        throttle_read_bps_device=_throttle(asked.blkio_device_read_bps, numbers),
        throttle_write_bps_device=_throttle(asked.blkio_device_write_bps, numbers),
        throttle_read_iops_device=_throttle(asked.blkio_device_read_iops, numbers),
        throttle_write_iops_device=_throttle(asked.blkio_device_write_iops, numbers),
    )
    return None if limits == BlockIoLimits() else limits


def _throttle(
    asked: Sequence[AskedThrottle] | None, numbers: BlockNumbers
) -> list[ThrottleDevice]:
    found = [(*_number(device.path, numbers), device.rate) for device in asked or ()]
    return [ThrottleDevice(major=major, minor=minor, rate=rate) for major, minor, rate in found]


def _number(path: str, numbers: BlockNumbers) -> tuple[int, int]:
    if path not in numbers:
        raise InvalidParameter(f"no such file or directory: {path}")
    return numbers[path]
