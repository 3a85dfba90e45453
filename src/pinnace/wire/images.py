"""Envelopes of the image calls (API 1.56)."""

from msgspec import field

from pinnace.model.record import Record


class BuildPruneReport(Record, frozen=True, kw_only=True):
    """Answer of `POST /build/prune`."""

    caches_deleted: list[str] | None = field(default=None)
    space_reclaimed: int = 0
