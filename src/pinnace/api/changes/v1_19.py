"""API 1.19."""

from pinnace.api.changes.change import Change, JsonObject, RequestMessage, drop, made_child
from pinnace.api.versions import Version

_LIMITS = {
    "Memory": "Memory",
    "MemorySwap": "MemorySwap",
    "CpuShares": "CpuShares",
    "Cpuset": "CpusetCpus",
}
INFO_FLAGS = ("Debug", "MemoryLimit", "SwapLimit", "IPv4Forwarding")
_LEAST_SHARES, _MOST_SHARES = 2, 262144


def _upgrade_create(message: RequestMessage) -> None:
    """Move limits to the host config and clamp the shares to the kernel's range."""
    host = made_child(message.body, "HostConfig")
    for old, new in _LIMITS.items():
        value = message.body.pop(old, None)
        if value and not host.get(new):
            host[new] = value
    old_set = host.pop("Cpuset", None)
    if old_set:
        host.setdefault("CpusetCpus", old_set)
    shares = host.get("CpuShares")
    if isinstance(shares, int) and shares != 0:
        host["CpuShares"] = min(max(shares, _LEAST_SHARES), _MOST_SHARES)


def _number_flags(body: JsonObject) -> None:
    for key in INFO_FLAGS:
        body[key] = int(bool(body.get(key)))


CHANGES = (
    Change(
        version=Version(1, 19),
        operation="ContainerCreate",
        upgrade=_upgrade_create,
        summary="CPU shares are not clamped; limits are part of the host config only.",
    ),
    Change(
        version=Version(1, 19),
        operation="SystemInfo",
        downgrade=_number_flags,
        summary="Flags are booleans; clients of 1.9 to 1.18 get numbers.",
    ),
    Change(
        version=Version(1, 19),
        operation="SystemVersion",
        downgrade=drop("Experimental"),
        summary="The version tells whether the engine is experimental.",
    ),
)
