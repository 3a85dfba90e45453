"""`POST /containers/{id}/update`: which settings of a live container may change; pure."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import fields, replace

from pinnace.contracts.control import HostFacts
from pinnace.engine.containers.create import check_restart
from pinnace.engine.containers.limits import check_host_config
from pinnace.errors import Conflict, InvalidParameter
from pinnace.model.container import Container, HostConfig, RestartPolicy

_UPDATABLE = frozenset(
    {
        "BlkioWeight", "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps",
        "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps", "CpuShares", "CpuPeriod", "CpuQuota",
        "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpusetCpus", "CpusetMems", "Memory",
        "MemoryReservation", "MemorySwap", "NanoCpus", "PidsLimit", "RestartPolicy",
    }
)  # fmt: skip
_PYTHON_NAMES = {field.encode_name: field.name for field in fields(HostConfig)}
_EMPTY = (0, "", None)


def updated_host_config(
    container: Container, changes: Mapping[str, object], facts: HostFacts
) -> tuple[HostConfig, Sequence[str]]:
    """Return the host config with the changes, and warnings.

    As in dockerd a zero or empty value means "leave it"; an empty list of devices clears it.

    Raises:
        InvalidParameter: A value that cannot be, alone or with the others.
        Conflict: It does not go with what the container has; the text begins as dockerd's.
    """
    wanted = {
        key: value for key, value in changes.items() if key in _UPDATABLE and value not in _EMPTY
    }
    try:
        decoded = msgspec.convert(wanted, HostConfig)
    except msgspec.ValidationError as exc:
        raise InvalidParameter(f"invalid JSON: {exc}") from exc
    given = {_PYTHON_NAMES[key]: getattr(decoded, _PYTHON_NAMES[key]) for key in wanted}
    policy = decoded.restart_policy
    check_restart(replace(HostConfig(), restart_policy=policy))
    if not policy.name:
        given.pop("restart_policy", None)
    reason = _conflict(container.host_config, given)
    if reason:
        raise Conflict(f"Cannot update container {container.id}: {reason}")
    host = replace(container.host_config, **given)
    if (host.pids_limit or 0) <= 0:
        host = replace(host, pids_limit=None)
    checked, warnings = check_host_config(host, facts, update=True)
    return checked, warnings


def _conflict(present: HostConfig, given: Mapping[str, object]) -> str:
    """Return why the new values do not go with the present ones; "": they do."""
    policy = given.get("restart_policy")
    if present.auto_remove and isinstance(policy, RestartPolicy) and policy.name != "no":
        return "Restart policy cannot be updated because AutoRemove is enabled for the container"
    processors = (
        ("nano_cpus", present.cpu_period, "Nano CPUs", "CPU Period"),
        ("nano_cpus", present.cpu_quota, "Nano CPUs", "CPU Quota"),
        ("cpu_period", present.nano_cpus, "CPU Period", "NanoCPUs"),
        ("cpu_quota", present.nano_cpus, "CPU Quota", "NanoCPUs"),
    )
    for key, limit, new, old in processors:
        if key in given and limit:
            return f"Conflicting options: {new} cannot be updated as {old} has already been set"
    memory = given.get("memory")
    grown = isinstance(memory, int) and 0 < present.memory_swap < memory
    if grown and "memory_swap" not in given:
        return (
            "Memory limit should be smaller than already set memoryswap limit, update the"
            " memoryswap at the same time"
        )
    return ""
