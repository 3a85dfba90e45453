"""API 1.1."""

from pinnace.api.changes.change import Change, JsonObject, QueryMap
from pinnace.api.versions import Version


def _add_version(body: JsonObject) -> None:
    body["Version"] = body.get("ServerVersion", "")
    body["GoVersion"] = ""


def _by_force(query: QueryMap) -> None:
    """Tags are moved; a word that is no truth value is left to be refused."""
    if (query.get("force") or [""])[0].lower() in ("", "0", "false"):
        query["force"] = ["1"]


CHANGES = (
    Change(
        version=Version(1, 1),
        operation="SystemInfo",
        downgrade=_add_version,
        summary="The host information no longer repeats the engine's version.",
    ),
    Change(
        version=Version(1, 1),
        operation="ImageTag",
        upgrade_query=_by_force,
        summary="A tag of another image is taken by force only.",
    ),
    Change(
        version=Version(1, 1),
        operation=("ImageCreate", "ImageInsert", "ImagePush"),
        behaviour={"text_progress": True},
        summary="Progress is a stream of JSON objects; older clients get text.",
    ),
)
