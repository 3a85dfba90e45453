"""API 1.1."""

from pinnace.api.changes.change import Change, JsonObject
from pinnace.api.versions import Version


def _add_version(body: JsonObject) -> None:
    body["Version"] = body.get("ServerVersion", "")
    body["GoVersion"] = ""


CHANGES = (
    Change(
        version=Version(1, 1),
        operation="SystemInfo",
        downgrade=_add_version,
        summary="The host information no longer repeats the engine's version.",
    ),
    Change(
        version=Version(1, 1),
        operation="ImageCreate",
        behaviour={"text_progress": True},
        summary="Progress is a stream of JSON objects; older clients get text.",
    ),
)
