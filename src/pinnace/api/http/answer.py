"""Response heads as bytes; pure."""

import functools
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}

Fields = Sequence[tuple[str, str]]


def render_head(status: int, headers: Fields, framing: str) -> bytes:
    """Return a response head, with the empty line.

    Args:
        status: Any three-digit status code.
        headers: Fields of the application.
        framing: Complete lines which say how the body ends; written after `headers`.

    Raises:
        ValueError: A field contains a line break, which would start another field.
    """
    line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Status {status}\r\n"
    return f"{line}{_field_lines(headers)}{framing}\r\n".encode()


def render_upgrade(protocol: str, headers: Fields) -> bytes:
    """Return the head that switches the connection to `protocol`, in Docker's wording."""
    switch = f"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"
    return f"{switch}{_field_lines(headers)}\r\n".encode()


def render_legacy_hijack(headers: Fields) -> bytes:
    """Return the head after which the connection is a byte stream, for clients of old APIs."""
    return render_head(200, headers, "")


def render_refusal(status: int, reason: str) -> bytes:
    """Return a whole answer that refuses a request and announces the end of the connection."""
    body = reason.encode() + b"\n"
    fields = [("Content-Type", "text/plain; charset=utf-8")]
    framing = f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    return render_head(status, fields, framing) + body


def _field_lines(headers: Fields) -> str:
    return _lines(tuple(headers))


@functools.lru_cache(128)  # most answers have the same fields, for the second that `Date` tells
def _lines(headers: tuple[tuple[str, str], ...]) -> str:
    text = ""
    for name, value in headers:
        if "\n" in value or "\r" in value or "\0" in value or "\n" in name or ":" in name:
            raise ValueError(f"response field {name!r} contains a forbidden character")
        text += f"{name}: {value}\r\n"
    return text
