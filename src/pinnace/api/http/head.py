"""Request heads: strict parsing of RFC 9112 messages into records.

One regular expression accepts a whole correct head at C speed. Only when it does not match is the
head looked at line by line, to find the status and the reason of the refusal. What is refused is
everything two parsers could understand differently (request smuggling): bare LF, folded lines,
white space before a colon, control characters, repeated or conflicting framing fields.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from pinnace.api.http.failures import HeadError
from pinnace.api.http.limits import Limits
from pinnace.api.http.overriding import override

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*"
# No fragment in a target (RFC 9112, 3.2); bytes above 0x7f are checked to be UTF-8 later.
_TARGET: Final = rb"[\x21\x22\x24-\x7e\x80-\xff]+"
_HEAD: Final = re.compile(
    rb"(%b) (%b) HTTP/1\.([01])\r\n((?:%b:%b\r\n)*)" % (_TOKEN, _TARGET, _TOKEN, _VALUE)
)
_REQUEST_LINE: Final = re.compile(rb"(%b) (%b) HTTP/([0-9])\.([0-9])" % (_TOKEN, _TARGET))
_FIELD: Final = re.compile(rb"%b:%b" % (_TOKEN, _VALUE))
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_HOST: Final = re.compile(r"[^\s,@?#]*")
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_METHOD_BYTES: Final = 32
_SHORT_BYTES, _MOST_REPEATED = 512, 128
_SECRETS: Final = ("authorization", "cookie", "x-registry-auth", "x-registry-config")


class Headers:
    """Header fields of one request; names compare without letter case."""

    __slots__ = ("_fields", "_first")

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = [(name.lower(), value) for name, value in fields]
        self._first = dict(reversed(self._fields))

    def get(self, name: str) -> str | None:
        """Return the first value of a field, or None when it is absent."""
        return self._first.get(name.lower())

    def get_all(self, name: str) -> list[str]:
        """Return every value of a field in the order received."""
        wanted = name.lower()
        return [value for field, value in self._fields if field == wanted]

    def tokens(self, name: str) -> list[str]:
        """Return the comma-separated members of a list field, in lower case, without blanks."""
        if name.lower() not in self._first:
            return []
        members = ",".join(self.get_all(name)).lower().split(",")
        return [member.strip(" \t") for member in members if member.strip(" \t")]

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._first

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @override
    def __repr__(self) -> str:
        # Values may be credentials (X-Registry-Auth); logs show names only.
        return f"Headers({[name for name, _ in self._fields]})"


@dataclass(frozen=True, slots=True)
class ListenerInfo:
    """Where a request came in.

    Attributes:
        kind: Family of the socket.
        tls: The bytes were encrypted.
        name: Address as configured, for logs.
    """

    kind: Literal["unix", "tcp"]
    tls: bool
    name: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as far as the kernel or a certificate says.

    Attributes:
        uid: User of the client's socket; None when the kernel knows none in our namespace.
        cert_cn: Common name of the verified client certificate.
        address: IP address of a TCP client, without port.
    """

    uid: int | None
    cert_cn: str | None
    address: str | None = None


class Request(msgspec.Struct, frozen=True):
    """One request head.

    Attributes:
        method: As sent; methods are case-sensitive.
        path: Raw and undecoded; `*` for the asterisk form.
        query: Raw, without the question mark.
        headers: Fields in the order received.
        http10: The client spoke HTTP/1.0.
        listener: Where it came in.
        peer: Who sent it.
        authority: Host part of an absolute-form target, which outranks `Host`; else None.
    """

    method: str
    path: str
    query: str
    headers: Headers
    http10: bool
    listener: ListenerInfo
    peer: Peer
    authority: str | None = None


@dataclass(frozen=True, slots=True)
class Framing:
    """How the body of a request ends and whether the connection goes on after it.

    Attributes:
        length: Bytes of the body; None: chunked.
        keep_alive: The client wants to send another request.
        expects_continue: The client waits for `100 Continue` before it sends the body.
    """

    length: int | None
    keep_alive: bool
    expects_continue: bool


# Method, path, query, fields, whether it is HTTP/1.0, authority.
_Parts = tuple[str, str, str, Headers, bool, str | None]
# What was read of short heads: who asks often sends the same bytes again.
_REPEATED: Final[dict[tuple[bytes, Limits, str], tuple[_Parts, Framing]]] = {}


def parse_head(
    head: bytes, limits: Limits, listener: ListenerInfo, peer: Peer
) -> tuple[Request, Framing]:
    """Read one request head.

    Args:
        head: Request line and fields, each with its CRLF, without the empty line.
        limits: Bounds to hold.
        listener: Where the bytes came in; decides whether `Host` may be missing.
        peer: Who sent them.

    Raises:
        HeadError: The head is refused; nothing after it may be read.
    """
    key = (head, limits, listener.kind)
    read = _REPEATED.get(key)
    if read is None:
        read = _read(*key)
        if len(head) <= _SHORT_BYTES and not any(name in read[0][3] for name in _SECRETS):
            if len(_REPEATED) >= _MOST_REPEATED:
                _REPEATED.clear()
            _REPEATED[key] = read
    (method, path, query, headers, http10, authority), framing = read
    return Request(method, path, query, headers, http10, listener, peer, authority), framing


def _read(head: bytes, limits: Limits, kind: str) -> tuple[_Parts, Framing]:
    match = _HEAD.fullmatch(head)
    if match is None or match.end(2) + 9 > limits.request_line_bytes:
        raise diagnose(head, limits)
    block = match.group(4).decode("latin-1")
    fields = []
    for line in block.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        fields.append((name, value.strip(" \t")))
    if len(fields) > limits.header_count:
        raise HeadError(431, "too many header fields")
    headers = Headers(fields)
    http10 = match.group(3) == b"0"
    path, query, authority = _split_target(match.group(1), match.group(2))
    _check_host(headers, required=not http10 and kind == "tcp")
    framing = _framing(headers, http10=http10)
    return (match.group(1).decode("ascii"), path, query, headers, http10, authority), framing


def diagnose(head: bytes, limits: Limits) -> HeadError:
    """Say what is wrong with a head that was not accepted, or with the part received of it."""
    line, _, rest = head.partition(b"\r\n")
    if len(line) > limits.request_line_bytes:
        return HeadError(414, "request line too long")
    if b"\n" in line or b"\r" in line:
        return HeadError(400, "bare CR or LF in the request line")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        return HeadError(400, "malformed request line")
    if match.group(3) != b"1" or match.group(4) not in b"01":
        return HeadError(505, "this server speaks HTTP/1.0 and HTTP/1.1")
    for field in rest.split(b"\r\n")[:-1]:
        if _FIELD.fullmatch(field) is None:
            return HeadError(400, "malformed header field")
    return HeadError(400, "malformed request head")


def early_error(buffer: bytearray, scanned: int, limits: Limits) -> HeadError | None:
    """Find out whether the beginning of a head already deserves a refusal; None: wait on.

    Args:
        buffer: What came so far, without the end of the head; not empty.
        scanned: How much of it was looked at before.
        limits: Bounds to hold.
    """
    if len(buffer) > limits.head_bytes:
        return HeadError(431, "request head too large")
    line_end = buffer.find(b"\n", 0, limits.request_line_bytes + 2)
    if line_end < 0 and len(buffer) > limits.request_line_bytes:
        return HeadError(414, "request line too long")
    first = buffer[0]
    if not (0x21 <= first < 0x7F):
        return HeadError(400, "malformed request line")
    position = buffer.find(b"\n", max(0, scanned - 1))
    while position >= 0:
        if position == 0 or buffer[position - 1] != 0x0D:
            return HeadError(400, "bare LF in the request head")
        position = buffer.find(b"\n", position + 1)
    if line_end > 0 and scanned <= line_end:
        return _line_error(bytes(buffer[: line_end + 1]), limits)
    return None


def _line_error(line: bytes, limits: Limits) -> HeadError | None:
    """Refuse a wrong request line without waiting for the fields behind it."""
    error = diagnose(line, limits)
    return None if error.reason == "malformed request head" else error


def _split_target(method: bytes, target: bytes) -> tuple[str, str, str | None]:
    """Return path, query and authority of a request target (RFC 9112, 3.2)."""
    if len(method) > _METHOD_BYTES:
        raise HeadError(400, "method too long")
    try:
        text = target.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise HeadError(400, "request target is not UTF-8") from exc
    authority = None
    if not text.startswith("/"):
        if text == "*" and method == b"OPTIONS":
            return "*", "", None
        match = _ABSOLUTE.fullmatch(text)
        if match is None:
            raise HeadError(400, "unsupported form of request target")
        authority, text = match.group(1), match.group(2)
        if not authority or _HOST.fullmatch(authority) is None:
            raise HeadError(400, "malformed authority in the request target")
        if not text.startswith("/"):
            text = "/" + text
    path, _, query = text.partition("?")
    return path, query, authority


def _check_host(headers: Headers, *, required: bool) -> None:
    hosts = headers.get_all("host") if "host" in headers else []
    if len(hosts) > 1:
        raise HeadError(400, "more than one Host field")
    if not hosts and required:
        raise HeadError(400, "missing Host field")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise HeadError(400, "malformed Host field")


def _framing(headers: Headers, *, http10: bool) -> Framing:
    connection = headers.tokens("connection")
    keep_alive = "keep-alive" in connection if http10 else True
    if "close" in connection:
        keep_alive = False
    expects = _expects_continue(headers) and not http10
    if "transfer-encoding" in headers:
        _check_transfer_encoding(headers, http10=http10)
        return Framing(None, keep_alive, expects)
    lengths = headers.get_all("content-length") if "content-length" in headers else ["0"]
    if len(lengths) > 1:
        raise HeadError(400, "more than one Content-Length field")
    if _LENGTH.fullmatch(lengths[0]) is None:
        raise HeadError(400, "malformed Content-Length field")
    return Framing(int(lengths[0]), keep_alive, expects)


def _expects_continue(headers: Headers) -> bool:
    expectations = headers.tokens("expect")
    if any(expectation != "100-continue" for expectation in expectations):
        raise HeadError(417, "unknown expectation")
    return bool(expectations)


def _check_transfer_encoding(headers: Headers, *, http10: bool) -> None:
    codings = headers.get_all("transfer-encoding")
    if http10:
        raise HeadError(400, "Transfer-Encoding in an HTTP/1.0 request")
    if "content-length" in headers:
        raise HeadError(400, "both Content-Length and Transfer-Encoding")
    if len(codings) > 1 or codings[0].lower().count("chunked") > 1 or not codings[0]:
        raise HeadError(400, "malformed Transfer-Encoding field")
    if codings[0].lower() != "chunked":
        raise HeadError(501, "unsupported transfer coding")
