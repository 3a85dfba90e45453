"""Envelopes of the calls about registries (API 1.56)."""

import msgspec

from pinnace.model.record import Record


class AuthResponse(Record, frozen=True, kw_only=True):
    """Answer of `POST /auth`."""

    identity_token: str = ""
    status: str


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One repository that a search found."""

    star_count: int
    is_official: bool
    name: str
    is_automated: bool
    description: str
