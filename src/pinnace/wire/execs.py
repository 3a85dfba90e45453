"""Envelopes of the exec calls (API 1.56)."""

from pinnace.model.record import Record


class ExecStartRequest(Record, frozen=True, kw_only=True):
    """Body of `POST /exec/{id}/start`; console size as (height, width)."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None
