"""A client of the first remote API that shows the wire: one socket per request, bytes kept."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.support import pinnaced
from tests.support.api import dechunk
from tests.support.engine import remove_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.engine import Engine

VERSIONS = ("1.0", "1.1", "1.2")
BARE = "bare"  # a path without prefix on a TCP listener: 1.2 where 1.2 has the operation
DEADLINE_S = 30
RAW_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer.

    Attributes:
        headers: By lower-case name; of a repeated one the last.
        head: Status line and fields as sent, without the empty line.
        sent: Every byte of the connection.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    head: bytes
    sent: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def type(self) -> str | None:
        return self.headers.get("content-type")

    def json(self) -> Any:
        return json.loads(self.body)

    def values(self) -> list[Any]:
        """Return JSON values written back to back."""
        decoder, text, found = json.JSONDecoder(), self.text, []
        while text:
            value, end = decoder.raw_decode(text)
            found.append(value)
            text = text[end:]
        return found


def parse(raw: bytes) -> Reply:
    """Return the answer that a connection carried."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head, _, body = body.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = dechunk(body)
    return Reply(int(lines[0].split()[1]), headers, body, head, raw)


@dataclass(frozen=True, slots=True)
class Remote:
    """The API behind one prefix.

    Attributes:
        version: As in the prefix, for instance "1.0"; `BARE` for none.
        address: Port on loopback, or the path of a unix socket.
    """

    version: str
    address: int | Path

    @property
    def is_1_2(self) -> bool:
        return self.version in ("1.2", BARE)

    def at(self, version: str) -> Remote:
        """Return the same listener behind another prefix."""
        return Remote(version, self.address)

    def target(self, path: str, query: Mapping[str, object] | None = None) -> str:
        """Return the request target of a path of the API."""
        prefix = "" if self.version == BARE else f"/v{self.version}"
        return f"{prefix}{path}?{urlencode(query)}" if query else prefix + path

    def connect(self) -> socket.socket:
        if isinstance(self.address, int):
            return socket.create_connection(("127.0.0.1", self.address), timeout=DEADLINE_S)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(DEADLINE_S)
        made.connect(str(self.address))
        return made

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request and read until the server closes.

        Args:
            method: As sent.
            path: Without prefix.
            body: Bytes as they are, anything else as JSON; None: neither body nor content type.
            query: Appended to the path, encoded.
            headers: In addition, or instead of `Host` and `Connection: close`.
        """
        fields = {"Host": "localhost", "Connection": "close", **(headers or {})}
        content = b""
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            if not isinstance(body, bytes):
                fields.setdefault("Content-Type", "application/json")
        if "Transfer-Encoding" not in fields and (content or method in ("POST", "PUT")):
            fields.setdefault("Content-Length", str(len(content)))
        lines = [f"{method} {self.target(path, query)} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return parse(self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + content))

    def get(self, path: str, **options: Any) -> Reply:
        return self.call("GET", path, **options)

    def post(self, path: str, body: object = None, **options: Any) -> Reply:
        return self.call("POST", path, body, **options)

    def delete(self, path: str, **options: Any) -> Reply:
        return self.call("DELETE", path, **options)

    def raw(self, request: bytes) -> bytes:
        """Send bytes and return everything until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    @contextlib.contextmanager
    def attached(
        self, container: str, query: str = "", *, early: bytes = b"", host: str = ""
    ) -> Iterator[socket.socket]:
        """Attach as the client of the time did; yields the socket, head not yet read.

        Args:
            container: Its id.
            query: Parameters, encoded.
            early: Bytes sent in one segment with the request.
            host: Of the `Host` field, which that client sent empty.
        """
        target = self.target(f"/containers/{container}/attach?{query}")
        head = f"POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
        with self.connect() as connection:
            connection.sendall(head.encode() + early)
            yield connection


def read_all(connection: socket.socket) -> bytes:
    """Return everything until the peer ends its side."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """Read until `mark` came; what follows it in the same segment is returned too."""
    got = b""
    while mark not in got:
        piece = connection.recv(1 << 16)
        assert piece, f"the connection ended before {mark!r}: {got!r}"
        got += piece
    return got


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """Read `count` bytes and not one more."""
    got = b""
    while len(got) < count:
        piece = connection.recv(count - len(got))
        assert piece, f"the connection ended after {len(got)} of {count} bytes"
        got += piece
    return got


def take_head(connection: socket.socket) -> None:
    """Read the head of the attach answer, exactly."""
    assert read_exactly(connection, len(RAW_STREAM_HEAD)) == RAW_STREAM_HEAD


def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll until a condition gives something true, and return that."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not happen in {deadline_s} s"
        time.sleep(0.01)
    return found


@contextlib.contextmanager
def started(name: str, *arguments: str, **options: Any) -> Iterator[tuple[Engine, int]]:
    """Run a daemon with a TCP listener on loopback; yields it and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(tempfile.mkdtemp(prefix=f"pnt-{name}-", dir="/var/tmp"))
    listen = f"--host=tcp://127.0.0.1:{port}"
    try:
        with pinnaced.start(root, arguments=(listen, *arguments), **options) as engine:
            await_listener(port)
            yield engine, port
    finally:
        remove_root(root)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def await_listener(port: int) -> None:
    """Wait until a port of loopback accepts; the sockets of a daemon open one by one."""
    until(lambda: _accepts(port), "listening on TCP")
