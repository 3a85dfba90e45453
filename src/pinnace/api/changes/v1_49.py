"""API 1.49."""

from pinnace.api.changes.change import Change, JsonObject
from pinnace.api.versions import Version


def _old_info(body: JsonObject) -> None:
    body.pop("FirewallBackend", None)
    for key in ("ContainerdCommit", "RuncCommit", "InitCommit"):
        commit = body.get(key)
        if isinstance(commit, dict):
            commit["Expected"] = commit.get("ID", "")


CHANGES = (
    Change(
        version=Version(1, 49),
        operation="SystemInfo",
        downgrade=_old_info,
        summary="FirewallBackend came; commits no longer say what was expected.",
    ),
)
