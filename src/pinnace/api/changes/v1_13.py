"""API 1.13."""

from pinnace.api.changes.change import Change, QueryMap
from pinnace.api.versions import Version


def _do_not_pause(query: QueryMap) -> None:
    query.setdefault("pause", ["0"])


CHANGES = (
    Change(
        version=Version(1, 13),
        operation="ImageCommit",
        upgrade_query=_do_not_pause,
        summary="Commit pauses the container by default; for older clients it does not.",
    ),
)
