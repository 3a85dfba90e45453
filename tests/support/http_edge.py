"""An application, listeners and raw clients for tests of the HTTP edge."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pinnace.api.http.access import AccessPolicy
from pinnace.api.http.listeners import Listener, ListenSpec, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from pinnace.api.http.exchange import Exchange
    from pinnace.api.http.head import Request
    from pinnace.api.http.limits import Limits

RAW = "application/vnd.docker.raw-stream"
DEADLINE_S = 20.0


@dataclass
class Recorder:
    """An application that answers by path and remembers what it was asked.

    Attributes:
        requests: Every request the application saw.
        routes: Handlers of single tests, by path.
        events: Marks that handlers leave.
    """

    requests: list[Request] = field(default_factory=list)
    routes: dict[str, Callable[[Exchange], object]] = field(default_factory=dict)
    events: dict[str, asyncio.Event] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def event(self, name: str) -> asyncio.Event:
        return self.events.setdefault(name, asyncio.Event())

    async def __call__(self, exchange: Exchange) -> None:
        self.requests.append(exchange.request)
        route = self.routes.get(exchange.request.path)
        if route is not None:
            await route(exchange)
        elif exchange.request.path == "/_ping":
            await exchange.respond(200, b"OK", content_type="text/plain")
        elif exchange.request.path == "/echo":
            body = await exchange.body.read(1 << 20)
            await exchange.respond(200, body)
        elif exchange.request.path == "/hijack":
            await echo_hijacked(exchange)
        else:
            await exchange.respond(404, exchange.request.path.encode())


async def echo_hijacked(exchange: Exchange) -> None:
    """Read a hijacked stream to its end, then answer with all of it."""
    stream = exchange.hijack(RAW)
    parts = [stream.early]
    async for part in stream.reader:
        parts.append(part)
    await stream.write(b"got:" + b"".join(parts))
    stream.close()


@contextlib.asynccontextmanager
async def serving(
    app: object = None, *, spec: ListenSpec | None = None, limits: Limits | None = None
) -> AsyncIterator[tuple[Recorder, Listener]]:
    """Serve an application on a unix socket of its own, or as `spec` says."""
    recorder = Recorder() if app is None else app
    with tempfile.TemporaryDirectory(prefix="pnt-http-") as directory:
        if spec is None:
            spec = ListenSpec(f"unix://{directory}/s", policy=AccessPolicy())
        if limits is not None:
            spec = replace(spec, limits=limits)
        listener = await listen(spec, recorder)
        try:
            yield recorder, listener
        finally:
            await listener.close(grace_s=0)


class Client:
    """A raw client; bytes in, bytes out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write_eof()

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readexactly(size)

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        """Read until the server closes; a reset counts as an end."""
        got = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            async with asyncio.timeout(DEADLINE_S):
                while data := await self.reader.read(65536):
                    got += data
        return got

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer with a Content-Length, or chunked."""
        head = await self.until(b"\r\n\r\n")
        status, fields = parse_answer_head(head)
        if "content-length" in fields:
            return status, fields, await self.read(int(fields["content-length"]))
        body = b""
        if fields.get("transfer-encoding") == "chunked":
            while size := int(await self.until(b"\r\n"), 16):
                body += (await self.read(size + 2))[:-2]
            await self.read(2)
        return status, fields, body

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def parse_answer_head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode().split("\r\n")
    fields = {}
    for line in lines[1:]:
        if line:
            name, _, value = line.partition(": ")
            fields[name.lower()] = value
    return int(lines[0].split(" ")[1]), fields


@contextlib.asynccontextmanager
async def connected(listener: Listener) -> AsyncIterator[Client]:
    """Connect a raw client to a listener."""
    address = listener.addresses[0]
    if isinstance(address, str):
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        reader, writer = await asyncio.open_connection(*address)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        await client.close()


async def talk(listener: Listener, data: bytes, *, end: bool = True) -> bytes:
    """Send bytes, optionally end our side, and return everything until the server closes."""
    async with connected(listener) as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            await client.send(data)
            if end:
                await client.end()
        return await client.rest()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; for facts that announce themselves to nobody."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Certificates:
    """Files of a throw-away authority, a server and a client."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path


def make_certificates(directory: Path) -> Certificates:
    """Make an authority and two certificates signed by it, with openssl."""
    ca = _self_signed(directory, "ca")
    cert = _signed(directory, "server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    client = _signed(directory, "client", "extendedKeyUsage=clientAuth")
    return Certificates(ca, cert, directory / "server.key", client, directory / "client.key")


def _openssl(*arguments: str) -> None:
    program = shutil.which("openssl")
    assert program is not None
    subprocess.run(
        [program, *arguments], check=True, capture_output=True, env={"PATH": os.environ["PATH"]}
    )


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _self_signed(directory: Path, name: str) -> Path:
    cert = directory / f"{name}.pem"
    key = str(directory / f"{name}.key")
    _openssl(
        "req", "-x509", *_KEY, "-keyout", key, "-out", str(cert), "-subj", "/CN=test ca",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-days", "2",
    )  # fmt: skip
    return cert


def _signed(directory: Path, name: str, extension: str) -> Path:
    request, key = directory / f"{name}.csr", str(directory / f"{name}.key")
    cert, extensions = directory / f"{name}.pem", directory / f"{name}.ext"
    extensions.write_text(f"{extension}\nauthorityKeyIdentifier=keyid\n")
    _openssl(
        "req", "-new", *_KEY, "-keyout", key, "-out", str(request), "-subj", f"/CN=test {name}"
    )
    _openssl(
        "x509", "-req", "-in", str(request), "-CA", str(directory / "ca.pem"),
        "-CAkey", str(directory / "ca.key"), "-CAcreateserial", "-days", "2",
        "-extfile", str(extensions), "-out", str(cert),
    )  # fmt: skip
    return cert
