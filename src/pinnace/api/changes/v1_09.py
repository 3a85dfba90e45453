"""API 1.9."""

from pinnace.api.changes.change import Change, JsonObject
from pinnace.api.changes.v1_19 import INFO_FLAGS
from pinnace.api.versions import Version


def _boolean_flags(body: JsonObject) -> None:
    for key in INFO_FLAGS:
        body[key] = bool(body.get(key))


CHANGES = (
    Change(
        version=Version(1, 9),
        operation="SystemInfo",
        downgrade=_boolean_flags,
        summary="Flags are numbers up to 1.18; clients before 1.9 get booleans.",
    ),
)
