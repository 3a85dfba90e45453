"""Failures as HTTP answers; the only place that knows which kind has which status."""

import msgspec

from pinnace.api.http.failures import BodyTooLarge
from pinnace.errors import (
    Conflict,
    Forbidden,
    InvalidParameter,
    NotFound,
    NotModified,
    NotSupported,
    PinnaceError,
    RegistryUnauthorized,
    RegistryUnavailable,
    Unauthorized,
    Unavailable,
)

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
PAGE_NOT_FOUND = "page not found"

_STATUSES: tuple[tuple[type[PinnaceError], int], ...] = (
    (BodyTooLarge, 413),
    # Clients take 401 for a question to their user, and 503 for ours.
    (RegistryUnauthorized, 500),
    (RegistryUnavailable, 500),
    (InvalidParameter, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (NotModified, 304),
    (NotSupported, 501),
    (Unavailable, 503),
)
# Statuses of the first remote API by the beginning of the message; anything else is 500.
_REMOTE_STATUSES = (
    ("No such", 404),
    ("Bad parameter", 400),
    ("Conflict", 409),
    ("Impossible", 406),
)


class PageNotFound(NotFound):
    """No operation has this method and path."""

    def __init__(self) -> None:
        super().__init__(PAGE_NOT_FOUND)


def status_of(error: PinnaceError) -> int:
    """Return the status of a failure."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def remote_status_of(error: PinnaceError) -> int:
    """Return the status that servers of API 1.0 to 1.2 gave a failure."""
    if isinstance(error, BodyTooLarge | PageNotFound | NotSupported):
        return status_of(error)
    return next(
        (status for word, status in _REMOTE_STATUSES if error.message.startswith(word)), 500
    )


def error_body(message: str, *, as_json: bool) -> tuple[bytes, str]:
    """Return an error's body and content type."""
    if as_json:
        return msgspec.json.encode({"message": message}) + b"\n", JSON_TYPE
    if message == PAGE_NOT_FOUND:
        message = "404 page not found"
    return message.rstrip("\n").encode() + b"\n", TEXT_TYPE


def host_failure(error: OSError) -> str:
    """Return what the kernel refused, and at which path, in Docker's manner."""
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if isinstance(error.filename, str) else reason
