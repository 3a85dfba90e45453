"""API 1.50."""

from pinnace.api.changes.change import Change, Json, JsonObject
from pinnace.api.versions import Version

_CONTAINER_FIELDS: tuple[tuple[str, Json], ...] = (
    ("Hostname", ""),
    ("Domainname", ""),
    ("AttachStdin", False),
    ("AttachStdout", False),
    ("AttachStderr", False),
    ("Tty", False),
    ("OpenStdin", False),
    ("StdinOnce", False),
    ("Image", ""),
)


def _old_info(body: JsonObject) -> None:
    body.pop("DiscoveredDevices", None)
    body["BridgeNfIptables"] = False
    body["BridgeNfIp6tables"] = False


def _add_container_fields(body: JsonObject) -> None:
    config = body.get("Config")
    if isinstance(config, dict):
        for key, default in _CONTAINER_FIELDS:
            config.setdefault(key, default)


CHANGES = (
    Change(
        version=Version(1, 50),
        operation="SystemInfo",
        downgrade=_old_info,
        summary="DiscoveredDevices came, the BridgeNf flags went.",
    ),
    Change(
        version=Version(1, 50),
        operation="ImageInspect",
        downgrade=_add_container_fields,
        summary="An image's Config has no container-only fields; older clients get them empty.",
    ),
)
