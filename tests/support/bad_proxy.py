"""An HTTP server in front of a registry that misbehaves on purpose.

    with registry.start(root) as server, BadProxy(server.address) as proxy:
        proxy.fail(Cut(after=1000), path="/blobs/", times=3)
        engine.cli("pull", f"{proxy.address}/team/app:1")
        assert proxy.count("GET", "/blobs/") == 4

Without a fault it passes on what it is asked, byte by byte. Faults are used up in the order they
were given; each concerns the requests whose method and path fit.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_CHUNK = 16 << 10
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "te", "upgrade"))


class Fault:
    """What goes wrong with one exchange; the methods are called in their order."""

    def answer(self) -> tuple[int, Mapping[str, str], bytes] | None:
        """Return an answer instead of the registry's; None: it is asked."""
        return None

    def request_headers(self, headers: dict[str, str]) -> None:
        """Change the request's head on its way to the registry."""

    def request_limit(self) -> int | None:
        """Return after how many bytes of the request's body both sides are cut off."""
        return None

    def head(self, status: int, headers: dict[str, str]) -> int:
        """Change the answer's head; return its status."""
        return status

    def body(self, chunks: Iterator[bytes], wait: Callable[[float], object]) -> Iterator[bytes]:
        """Return the answer's body; `CutOff` ends the connection, `wait` lets time pass."""
        return chunks


class CutOff(Exception):
    """Ends the connection at once."""


@dataclass(slots=True)
class Cut(Fault):
    """The connection ends after so many bytes of the answer's body."""

    after: int

    def body(self, chunks, wait):
        yield from _first(chunks, self.after)
        raise CutOff


@dataclass(slots=True)
class Drop(Fault):
    """The connection ends without an answer."""

    def head(self, status, headers):
        raise CutOff


@dataclass(slots=True)
class CutRequest(Fault):
    """Both sides are cut off after so many bytes of the request's body."""

    after: int

    def request_limit(self):
        return self.after


@dataclass(slots=True)
class Corrupt(Fault):
    """One bit of the body is wrong."""

    at: int = 0

    def body(self, chunks, wait):
        position = 0
        for chunk in chunks:
            if position <= self.at < position + len(chunk):
                changed = bytearray(chunk)
                changed[self.at - position] ^= 1
                chunk = bytes(changed)
            position += len(chunk)
            yield chunk


@dataclass(slots=True)
class Short(Fault):
    """The body, and its announced length, lack the last bytes."""

    by: int = 1

    def head(self, status, headers):
        self._left = int(headers["Content-Length"]) - self.by
        headers["Content-Length"] = str(self._left)
        return status

    def body(self, chunks, wait):
        return _first(chunks, self._left)

    _left: int = 0


@dataclass(slots=True)
class Long(Fault):
    """More comes than there is; the length is not announced if `silent`."""

    by: int = 1
    silent: bool = False

    def head(self, status, headers):
        length = int(headers.pop("Content-Length"))
        if not self.silent:
            headers["Content-Length"] = str(length + self.by)
        return status

    def body(self, chunks, wait):
        yield from chunks
        yield b"x" * self.by


@dataclass(slots=True)
class Status(Fault):
    """Another answer than the registry's, which is not asked."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    def answer(self):
        return self.status, self.headers, self.content


def redirect(url: str, status: int = 307) -> Status:
    """Return the fault that sends the client elsewhere."""
    return Status(status, {"Location": url})


@dataclass(slots=True)
class Header(Fault):
    """The answer has other values in its head; None: the field is missing."""

    values: Mapping[str, str | None]

    def head(self, status, headers):
        for name, value in self.values.items():
            headers.pop(name, None)
            if value is not None:
                headers[name] = value
        return status


@dataclass(slots=True)
class NoRanges(Fault):
    """The server does not know ranges: it answers 200 with everything."""

    def request_headers(self, headers):
        headers.pop("Range", None)


@dataclass(slots=True)
class Slow(Fault):
    """So many bytes come at a time, with a pause after each piece."""

    piece: int = 1
    every_s: float = 0.05

    def body(self, chunks, wait):
        for chunk in chunks:
            for start in range(0, len(chunk), self.piece):
                yield chunk[start : start + self.piece]
                if wait(self.every_s):
                    raise CutOff


@dataclass(slots=True)
class Silence(Fault):
    """So many bytes of the body come, and then nothing until the client leaves."""

    after: int = 0

    def body(self, chunks, wait):
        yield from _first(chunks, self.after)
        wait(3600)
        raise CutOff


class Seen(NamedTuple):
    """A request as it came, with the status it was answered with (0: none)."""

    method: str
    path: str
    headers: dict[str, str]
    status: int


@dataclass(slots=True)
class _Rule:
    fault: Fault
    method: str
    path: str
    left: int
    skip: int

    def take(self, method: str, path: str) -> bool:
        if self.left == 0 or self.method not in ("", method) or self.path not in path:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.left -= 1
        return True


class BadProxy:
    """The server.

    Args:
        upstream: `host:port` of the registry; "": there is none, every request needs a fault.
        address: IPv4 address to listen on.
    """

    def __init__(self, upstream: str = "", *, address: str = "127.0.0.1") -> None:
        self.upstream = upstream
        self.requests: list[Seen] = []
        self._rules: list[_Rule] = []
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer((address, 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"{address}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.daemon = True
        self._thread.start()

    def fail(
        self, fault: Fault, *, method: str = "", path: str = "", times: int = 1, skip: int = 0
    ) -> None:
        """Let a fault happen.

        Args:
            fault: What goes wrong; see the classes.
            method: Of the requests it concerns; "": any.
            path: Must be part of the target.
            times: How often; -1: always.
            skip: How many such requests are served well before.
        """
        with self._guard:
            self._rules.append(_Rule(fault, method, path, times, skip))

    def heal(self) -> None:
        """Forget all faults."""
        with self._guard:
            self._rules.clear()

    def fault_for(self, method: str, path: str) -> Fault:
        """Return the next fault for a request."""
        with self._guard:
            for rule in self._rules:
                if rule.take(method, path):
                    return rule.fault
        return Fault()

    def count(self, method: str, part: str = "") -> int:
        """Return how many requests of a method had `part` in their target."""
        return sum(seen.method == method and part in seen.path for seen in list(self.requests))

    def wait(self, seconds: float) -> bool:
        """Let time pass; return whether the proxy is closing."""
        return self._closing.wait(seconds)

    def close(self) -> None:
        """End it."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> BadProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _handler(proxy: BadProxy) -> type[BaseHTTPRequestHandler]:
    verbs = {f"do_{method}": _Handler.serve for method in _METHODS}
    return type("Handler", (_Handler,), {"owner": proxy, **verbs})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: BadProxy

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (CutOff, OSError, http.client.HTTPException):
            self.close_connection = True

    def serve(self) -> None:
        fault = self.owner.fault_for(self.command, self.path)
        self._note(0)
        fixed = fault.answer()
        if fixed is not None:
            status, headers, content = fixed
            self._read_body(None)
            self._send(status, {"Content-Length": str(len(content)), **headers}, [content])
            return
        self._forward(fault)

    def _forward(self, fault: Fault) -> None:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
        fault.request_headers(headers)
        upstream = http.client.HTTPConnection(self.owner.upstream, timeout=60)
        with contextlib.closing(upstream):
            upstream.putrequest(
                self.command, self.path, skip_host="Host" in headers, skip_accept_encoding=True
            )
            for name, value in headers.items():
                upstream.putheader(name, value)
            upstream.endheaders()
            self._read_body(upstream, fault.request_limit())
            answer = upstream.getresponse()
            fields = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}
            status = fault.head(answer.status, fields)
            chunks = iter(lambda: answer.read(_CHUNK), b"")
            self._send(status, fields, fault.body(chunks, self.owner.wait))

    def _read_body(
        self, upstream: http.client.HTTPConnection | None, limit: int | None = None
    ) -> None:
        left = int(self.headers.get("Content-Length", "0"))
        if limit is not None and limit < left:
            left, cut = limit, True
        else:
            cut = False
        while left:
            chunk = self.rfile.read(min(left, _CHUNK))
            if not chunk:
                raise CutOff
            left -= len(chunk)
            if upstream is not None:
                upstream.send(chunk)
        if cut:
            raise CutOff

    def _send(self, status: int, headers: Mapping[str, str], chunks) -> None:
        self._note(status)
        bodyless = self.command == "HEAD" or status in (204, 304)
        chunked = "content-length" not in {name.lower() for name in headers} and not bodyless
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if bodyless:
            return
        for chunk in chunks:
            if chunk and chunked:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            elif chunk:
                self.wfile.write(chunk)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _note(self, status: int) -> None:
        seen = Seen(self.command, self.path, dict(self.headers.items()), status)
        if status:
            self.owner.requests[self._place] = seen
        else:
            with self.owner._guard:
                self._place = len(self.owner.requests)
                self.owner.requests.append(seen)

    def log_message(self, *_: object) -> None:
        pass


def _first(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    for chunk in chunks:
        if count <= 0:
            return
        yield chunk[:count]
        count -= len(chunk)
