"""A container's limits to control group directories and files. Pure.

Version 1 groups are made here and the container's process joins them itself; version 2 groups
are made by the runtime, and the plan serves updates and reading. Sources: Linux
Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst.
"""

from collections.abc import Iterator

from pinnace.contracts.control import CgroupLayout, CgroupPlan, CgroupWrite
from pinnace.oci.runtime_spec import (
    BlockIoLimits,
    CpuLimits,
    DeviceRule,
    MemoryLimits,
    Resources,
    ThrottleDevice,
)

# The cpu.shares range onto the cpu.weight range, as every runtime does it.
_SHARES_MIN, _SHARES_SPAN, _WEIGHT_SPAN = 2, 262142, 9999
_BLKIO_SPAN, _BLKIO_MIN = 990, 10
_DEFAULT_PERIOD_US = 100_000


def cgroup_plan(path: str, resources: Resources, layout: CgroupLayout) -> CgroupPlan:
    """Return what to make and write for a container.

    Args:
        path: The group below each hierarchy's directory, absolute, as `spec.cgroup_path` says.
        resources: Limits and device rules.
        layout: The host's hierarchies.
    """
    if layout.version == 1:
        return _plan_v1(path, resources, layout)
    directory = layout.unified + path
    return CgroupPlan(
        version=2,
        path=path,
        after=tuple(_limits_v2(directory, resources)),
        freezer=f"{directory}/cgroup.freeze",
        procs=f"{directory}/cgroup.procs",
        oom=f"{directory}/memory.events",
    )


def update_writes(
    plan: CgroupPlan, resources: Resources, layout: CgroupLayout
) -> list[CgroupWrite]:
    """Return the writes that bring a live container to new limits; device rules stay."""
    limits = Resources(
        memory=resources.memory,
        cpu=resources.cpu,
        pids=resources.pids,
        block_io=resources.block_io,
    )
    if layout.version == 2:
        return list(_limits_v2(layout.unified + plan.path, limits))
    fresh = _plan_v1(plan.path, limits, layout)
    cpuset = [write for write in fresh.before if "/cpuset." in write.path]
    asked = {f"cpuset.{name}" for name in ("cpus", "mems")}
    given = limits.cpu or CpuLimits()
    wanted = {
        f"cpuset.{name}" for name, value in (("cpus", given.cpus), ("mems", given.mems)) if value
    }
    kept = [write for write in cpuset if write.path.rpartition("/")[2] in wanted & asked]
    others = [write for write in fresh.before if "/cpuset." not in write.path]
    return [*others, *kept, *fresh.after]


def _plan_v1(path: str, resources: Resources, layout: CgroupLayout) -> CgroupPlan:
    places = {name: base + path for name, base in layout.hierarchies.items()}
    directories = tuple(sorted(set(places.values())))
    before = [
        *_cpuset_v1(places, resources.cpu),
        *_devices_v1(places, resources.devices),
        *_cpu_v1(places, resources.cpu),
        *_block_io_v1(places, resources.block_io),
    ]
    after = [*_memory_v1(places, resources.memory), *_pids_v1(places, resources)]
    return CgroupPlan(
        version=1,
        path=path,
        directories=directories,
        before=tuple(before),
        after=tuple(after),
        tasks=tuple(f"{directory}/tasks" for directory in directories),
        freezer=f"{places['freezer']}/freezer.state" if "freezer" in places else "",
        procs=_listing(places),
        oom=f"{places['memory']}/memory.oom_control" if "memory" in places else "",
    )


def _listing(places: dict[str, str]) -> str:
    for name in ("pids", "freezer", "memory"):
        if name in places:
            return f"{places[name]}/cgroup.procs"
    return next((f"{place}/cgroup.procs" for place in places.values()), "")


def _cpuset_v1(places: dict[str, str], cpu: CpuLimits | None) -> Iterator[CgroupWrite]:
    """Nothing can join a cpuset whose lists are empty; the executor fills them from above."""
    if "cpuset" in places:
        yield CgroupWrite(f"{places['cpuset']}/cpuset.cpus", cpu.cpus if cpu else "")
        yield CgroupWrite(f"{places['cpuset']}/cpuset.mems", cpu.mems if cpu else "")


def _devices_v1(places: dict[str, str], rules: list[DeviceRule]) -> Iterator[CgroupWrite]:
    if "devices" not in places:
        return
    for rule in rules:
        action = "allow" if rule.allow else "deny"
        for line in device_lines(rule):
            yield CgroupWrite(f"{places['devices']}/devices.{action}", line)


def device_lines(rule: DeviceRule) -> list[str]:
    """Return a rule as the devices controller reads it.

    The controller takes `a` for everything, whatever follows: a rule for both types with numbers
    is written once for each (security/device_cgroup.c, devcgroup_update_access).
    """
    if rule.type == "a" and rule.major is None and rule.minor is None and rule.access == "rwm":
        return ["a"]
    major = "*" if rule.major is None else rule.major
    minor = "*" if rule.minor is None else rule.minor
    kinds = ("b", "c") if rule.type == "a" else (rule.type,)
    return [f"{kind} {major}:{minor} {rule.access}" for kind in kinds]


def _cpu_v1(places: dict[str, str], cpu: CpuLimits | None) -> Iterator[CgroupWrite]:
    if "cpu" not in places or cpu is None:
        return
    for name, value in (
        ("cpu.shares", cpu.shares),
        ("cpu.cfs_period_us", cpu.period),
        ("cpu.cfs_quota_us", cpu.quota),
        ("cpu.rt_period_us", cpu.realtime_period),
        ("cpu.rt_runtime_us", cpu.realtime_runtime),
    ):
        if value is not None:
            yield CgroupWrite(f"{places['cpu']}/{name}", str(value))


def _memory_v1(places: dict[str, str], memory: MemoryLimits | None) -> Iterator[CgroupWrite]:
    if "memory" not in places or memory is None:
        return
    base = places["memory"]
    if memory.limit is not None:
        yield CgroupWrite(f"{base}/memory.limit_in_bytes", str(memory.limit))
    if memory.swap is not None:
        yield CgroupWrite(f"{base}/memory.memsw.limit_in_bytes", str(memory.swap), optional=True)
    if memory.reservation is not None:
        yield CgroupWrite(f"{base}/memory.soft_limit_in_bytes", str(memory.reservation))
    if memory.swappiness is not None:
        yield CgroupWrite(f"{base}/memory.swappiness", str(memory.swappiness), optional=True)
    if memory.disable_oom_killer:
        yield CgroupWrite(f"{base}/memory.oom_control", "1", optional=True)


def _pids_v1(places: dict[str, str], resources: Resources) -> Iterator[CgroupWrite]:
    if "pids" in places and resources.pids is not None:
        limit = resources.pids.limit
        yield CgroupWrite(f"{places['pids']}/pids.max", str(limit) if limit > 0 else "max")


def _block_io_v1(places: dict[str, str], limits: BlockIoLimits | None) -> Iterator[CgroupWrite]:
    if "blkio" not in places or limits is None:
        return
    base = places["blkio"]
    if limits.weight is not None:
        # The name depends on the scheduler: CFQ of old kernels, or BFQ.
        yield CgroupWrite(f"{base}/blkio.weight", str(limits.weight), optional=True)
        yield CgroupWrite(f"{base}/blkio.bfq.weight", str(limits.weight), optional=True)
    for device in limits.weight_device:
        line = f"{device.major}:{device.minor} {device.weight}"
        yield CgroupWrite(f"{base}/blkio.weight_device", line, optional=True)
        yield CgroupWrite(f"{base}/blkio.bfq.weight_device", line, optional=True)
    for name, devices in (
        ("read_bps", limits.throttle_read_bps_device),
        ("write_bps", limits.throttle_write_bps_device),
        ("read_iops", limits.throttle_read_iops_device),
        ("write_iops", limits.throttle_write_iops_device),
    ):
        for throttle in devices:
            line = f"{throttle.major}:{throttle.minor} {throttle.rate}"
            yield CgroupWrite(f"{base}/blkio.throttle.{name}_device", line)


def _limits_v2(base: str, resources: Resources) -> Iterator[CgroupWrite]:
    if resources.cpu is not None:
        yield from _cpu_v2(base, resources.cpu)
    if resources.memory is not None:
        yield from _memory_v2(base, resources.memory)
    if resources.pids is not None:
        limit = resources.pids.limit
        yield CgroupWrite(f"{base}/pids.max", str(limit) if limit > 0 else "max")
    if resources.block_io is not None:
        yield from _block_io_v2(base, resources.block_io)


def _cpu_v2(base: str, cpu: CpuLimits) -> Iterator[CgroupWrite]:
    if cpu.shares is not None:
        weight = 1 + (cpu.shares - _SHARES_MIN) * _WEIGHT_SPAN // _SHARES_SPAN
        yield CgroupWrite(f"{base}/cpu.weight", str(max(1, weight)))
    if cpu.quota is not None or cpu.period is not None:
        quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
        yield CgroupWrite(f"{base}/cpu.max", f"{quota} {cpu.period or _DEFAULT_PERIOD_US}")
    for name, value in (("cpus", cpu.cpus), ("mems", cpu.mems)):
        if value:
            yield CgroupWrite(f"{base}/cpuset.{name}", value)


def _memory_v2(base: str, memory: MemoryLimits) -> Iterator[CgroupWrite]:
    if memory.swap is not None:
        swap = "max" if memory.swap < 0 else str(max(0, memory.swap - (memory.limit or 0)))
        yield CgroupWrite(f"{base}/memory.swap.max", swap, optional=True)
    if memory.limit is not None:
        limit = "max" if memory.limit < 0 else str(memory.limit)
        yield CgroupWrite(f"{base}/memory.max", limit)
    if memory.reservation is not None:
        yield CgroupWrite(f"{base}/memory.low", str(memory.reservation))


def _block_io_v2(base: str, limits: BlockIoLimits) -> Iterator[CgroupWrite]:
    if limits.weight is not None:
        yield CgroupWrite(f"{base}/io.bfq.weight", str(limits.weight), optional=True)
        weight = 1 + (limits.weight - _BLKIO_MIN) * _WEIGHT_SPAN // _BLKIO_SPAN
        yield CgroupWrite(f"{base}/io.weight", str(weight), optional=True)
    for device in limits.weight_device:
        line = f"{device.major}:{device.minor} {device.weight}"
        yield CgroupWrite(f"{base}/io.bfq.weight", line, optional=True)
    groups: tuple[tuple[str, list[ThrottleDevice]], ...] = (
        ("rbps", limits.throttle_read_bps_device),
        ("wbps", limits.throttle_write_bps_device),
        ("riops", limits.throttle_read_iops_device),
        ("wiops", limits.throttle_write_iops_device),
    )
    for key, throttles in groups:
        for item in throttles:
            yield CgroupWrite(f"{base}/io.max", f"{item.major}:{item.minor} {key}={item.rate}")
