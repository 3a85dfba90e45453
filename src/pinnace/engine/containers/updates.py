"""`POST /containers/{id}/update`: which settings of a live container may change; pure."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import fields, replace

from pinnace.contracts.control import HostFacts
from pinnace.engine.containers.limits import check_host_config
from pinnace.errors import Conflict, InvalidParameter
from pinnace.model.container import Container, HostConfig

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
        Conflict: A restart policy for a container that removes itself.
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
    if not policy.name:
        given.pop("restart_policy", None)
    elif container.host_config.auto_remove and policy.name != "no":
        raise Conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        )
    host = _resolve_conflicts(replace(container.host_config, **given), given)
    checked, warnings = check_host_config(host, facts, update=True)
    return checked, warnings


def _resolve_conflicts(host: HostConfig, given: Mapping[str, object]) -> HostConfig:
    """Let `--cpus` and period/quota replace each other; a pids limit below 1 lifts it."""
    if "nano_cpus" in given:
        return replace(host, cpu_period=0, cpu_quota=0)
    if "cpu_quota" in given or "cpu_period" in given:
        host = replace(host, nano_cpus=0)
    if (host.pids_limit or 0) <= 0:
        host = replace(host, pids_limit=None)
    memory_grew = "memory" in given and 0 < host.memory_swap < host.memory
    if memory_grew and "memory_swap" not in given:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the"
            " memoryswap at the same time"
        )
    return host
