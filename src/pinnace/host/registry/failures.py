"""What went wrong at a registry, in Docker's words.

Source of codes: OCI distribution-spec 1.1, "Error Codes"; of the words: dockerd 20.10.
"""

import errno
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec

from pinnace.errors import (
    PinnaceError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    TooManyRequests,
)

PASSING_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))
_MAX_TEXT = 512
# OpenSSL's reasons for bytes that are not TLS, by its versions
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "HTTP_REQUEST",
)
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)  # X509_V_ERR_*: issuer missing, self-signed
_EXPIRED, _NOT_YET = 10, 9


class ConnectionFailed(RegistryUnavailable):
    """No answer came, or it broke off.

    Attributes:
        reason: Without the request.
        passing: Whether another attempt may succeed.
    """

    def __init__(self, method: str, url: str, reason: str, *, passing: bool = True) -> None:
        super().__init__(f'{method.capitalize()} "{shown(url)}": {reason}')
        self.reason = reason
        self.passing = passing


class ServerFailed(RegistryUnavailable):
    """The registry answered that it cannot now; `retry_after_s` None: it did not say when."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Throttled(TooManyRequests):
    """The registry answered 429; `retry_after_s` None: it did not say when."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class _ErrorItem(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _ErrorBody(msgspec.Struct, frozen=True):
    errors: list[_ErrorItem] | None = None
    details: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success.

    Attributes:
        status: Of the answer.
        code: `MANIFEST_UNKNOWN` and the like; "" when the body tells none.
        text: For people.
    """

    status: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request was about, as messages name it.

    Attributes:
        name: `busybox`, without tag.
        reference: `busybox:1`; "" when the repository as a whole is meant.
        push: Whether something was to be changed.
    """

    name: str
    reference: str = ""
    push: bool = False


def read_refusal(status: int, body: bytes) -> Refusal:
    """Return what the body of an unsuccessful answer says."""
    item = _first_error(body)
    if item is None:
        return Refusal(status, "", "")
    words = item.code.replace("_", " ").lower()
    text = one_line(item.message) or words
    return Refusal(status, item.code, f"{words}: {text}" if words else text)


def failure_of(
    refusal: Refusal, subject: Subject, headers: Mapping[str, str] | None = None
) -> PinnaceError:
    """Return the failure that an unsuccessful answer means."""
    code, status, text = refusal.code, refusal.status, refusal.text
    after = retry_after(headers or {})
    if status == 429:
        return Throttled(text or "toomanyrequests: too many requests", after)
    if status in PASSING_STATUSES:
        return ServerFailed(f"received unexpected HTTP status: {status_text(status)}", after)
    if code == "DENIED" and not subject.push:
        return RegistryNotFound(
            f"pull access denied for {subject.name}, repository does not exist or may require"
            f" 'docker login': {text}",
            detail=text,
        )
    if status == 401 or code in ("UNAUTHORIZED", "DENIED"):
        return RegistryUnauthorized(text or "unauthorized: authentication required")
    if status == 403:
        return RegistryUnauthorized(text or "denied: requested access to the resource is denied")
    if status == 404:
        return _not_found(refusal, subject)
    return RegistryUnavailable(text or f"received unexpected HTTP status: {status_text(status)}")


def _not_found(refusal: Refusal, subject: Subject) -> PinnaceError:
    if refusal.code == "NAME_UNKNOWN":
        what = f"repository {subject.name} not found"
    elif refusal.code == "MANIFEST_UNKNOWN" or (subject.reference and not refusal.code):
        what = f"manifest for {subject.reference or subject.name} not found"
    else:
        detail = refusal.text or f"received unexpected HTTP status: {status_text(404)}"
        return RegistryNotFound(detail, detail=detail)
    detail = refusal.text or "manifest unknown: manifest unknown"
    return RegistryNotFound(f"{what}: {detail}", detail=detail)


def is_passing(error: PinnaceError) -> bool:
    """Whether what failed may succeed when it is tried again."""
    if isinstance(error, ConnectionFailed):
        return error.passing
    return isinstance(error, ServerFailed | Throttled)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After` asks for (RFC 9110, section 10.2.3), or None."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def status_text(status: int) -> str:
    """Return `404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def dial_reason(host: str, port: int, cause: OSError) -> str:
    """Return why a connection could not be made, as Go words it."""
    if isinstance(cause, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"dial tcp {where}: connect: {system_reason(cause)}"


def system_reason(cause: OSError) -> str:
    """Return the kernel's reason, such as `connection refused`."""
    number = cause.errno
    if number is None or number not in errno.errorcode:
        return one_line(str(cause)).lower() or "failed"
    return os.strerror(number).lower()


def tls_reason(host: str, cause: ssl.SSLError) -> tuple[str, bool]:
    """Return why TLS failed, and whether another attempt may succeed."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in _UNKNOWN_AUTHORITY:
            return "x509: certificate signed by unknown authority", False
        if cause.verify_code in (_EXPIRED, _NOT_YET):
            return "x509: certificate has expired or is not yet valid", False
        return f"x509: certificate is not valid for {host}: {cause.verify_message}", False
    if (cause.reason or "") in _NOT_TLS:
        return "http: server gave HTTP response to HTTPS client", False
    if "ALERT" in (cause.reason or ""):
        alert = (cause.reason or "").rpartition("ALERT_")[2].lower().replace("_", " ")
        return f"remote error: tls: {alert}", False
    return f"tls: {one_line(str(cause))}", True


def shown(url: str) -> str:
    """Return a URL as messages may have it: without credentials and signatures."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    secret = any(word in parts.query.lower() for word in ("signature", "token", "sig=", "_state"))
    query = f"?{parts.query}" if parts.query and not secret else ""
    return f"{parts.scheme}://{host}{parts.path}{query}"


def one_line(text: str) -> str:
    """Return text of a server as one printable line of bounded length."""
    cleaned = "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_TEXT])
    return " ".join(cleaned.split())


def _first_error(body: bytes) -> _ErrorItem | None:
    try:
        decoded = msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if decoded.errors:
        item = decoded.errors[0]
        return _ErrorItem(one_line(item.code), item.message)
    if decoded.details:
        return _ErrorItem("UNAUTHORIZED", decoded.details)
    return None
