"""API 1.20."""

from pinnace.api.changes.change import Change, Json, JsonObject, child, objects, text
from pinnace.api.versions import Version


def _show_volumes(body: JsonObject) -> None:
    """Show mounts as two maps, and limits inside the config."""
    sources: JsonObject = {}
    writable: JsonObject = {}
    for mount in objects(body.pop("Mounts", None)):
        destination = text(mount, "Destination")
        sources[destination] = text(mount, "Source")
        writable[destination] = bool(mount.get("RW"))
    body["Volumes"] = sources
    body["VolumesRW"] = writable
    host, config = child(body, "HostConfig"), child(body, "Config")
    limits: tuple[tuple[str, str, Json], ...] = (
        ("Memory", "Memory", 0),
        ("MemorySwap", "MemorySwap", 0),
        ("CpuShares", "CpuShares", 0),
        ("Cpuset", "CpusetCpus", ""),
    )
    for old, new, default in limits:
        config[old] = host.get(new, default)


CHANGES = (
    Change(
        version=Version(1, 20),
        operation="ContainerInspect",
        downgrade=_show_volumes,
        summary="Inspect lists mounts; older clients get maps of volumes.",
    ),
    Change(
        version=Version(1, 20),
        operation="ContainerKill",
        behaviour={"kill_stopped": True},
        summary="Killing a stopped container is an error; for older clients it is not.",
    ),
)
