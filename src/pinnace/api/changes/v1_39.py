"""API 1.39."""

from pinnace.api.changes.change import Change, JsonObject
from pinnace.api.versions import Version


def _unknown(body: JsonObject) -> None:
    for key in ("KernelVersion", "OperatingSystem"):
        if not body.get(key):
            body[key] = "<unknown>"


CHANGES = (
    Change(
        version=Version(1, 39),
        operation="SystemInfo",
        downgrade=_unknown,
        summary="An unknown kernel or system is empty; older clients see <unknown>.",
    ),
)
