"""Byte streams to an engine, each direction of which can be closed by itself.

asyncio's TLS transport cannot half-close, but the end of standard input is sent that way. TLS
therefore runs here over memory buffers on top of a plain stream.
"""

import asyncio
import contextlib
import socket
import ssl
from typing import Protocol

from pinnace.client.address import Address, TlsFiles
from pinnace.client.errors import Unreachable

CONNECT_DEADLINE_S = 30.0
CHUNK_BYTES = 256 * 1024


class Stream(Protocol):
    """A bidirectional byte stream."""

    async def read(self) -> bytes:
        """Return some bytes, at least one; none mean that the peer closed its direction."""

    async def write(self, data: bytes) -> None:
        """Send everything, waiting while the peer is slow."""

    async def write_eof(self) -> None:
        """Close our direction; reading goes on."""

    async def close(self) -> None:
        """Drop the connection. Idempotent; never raises for a connection that is gone."""


class PlainStream:
    """A unix or TCP connection.

    The socket is used directly: when sending fails because the engine answered early and closed,
    an asyncio transport would drop the answer that has already arrived.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    async def read(self) -> bytes:
        """Return some bytes; none at the end. See `Stream`."""
        return await asyncio.get_running_loop().sock_recv(self._socket, CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        """Send everything. See `Stream`."""
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def write_eof(self) -> None:
        """Close our direction. See `Stream`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        """Drop the connection. See `Stream`."""
        loop = asyncio.get_running_loop()
        if self._socket.fileno() >= 0:
            # A cancelled read or write takes its watch off only in the loop's next turn.
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
        self._socket.close()


class TlsStream:
    """TLS over another stream; `close_notify` ends only the direction it is sent in."""

    def __init__(self, below: Stream, context: ssl.SSLContext, server_name: str) -> None:
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_name or None
        )

    async def handshake(self) -> None:
        """Agree on keys and check the peer.

        Raises:
            ssl.SSLError: The peer is not what it should be.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            else:
                await self._flush()
                return

    async def read(self) -> bytes:
        """Return some bytes; none at the end. See `Stream`."""
        while True:
            try:
                return self._tls.read(CHUNK_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def write(self, data: bytes) -> None:
        """Send everything. See `Stream`."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
            await self._flush()

    async def write_eof(self) -> None:
        """Close our direction. See `Stream`."""
        # unwrap() queues close_notify and then wants the peer's; that one comes with read().
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()

    async def close(self) -> None:
        """Drop the connection. See `Stream`."""
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.write_eof()
        await self._below.close()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._below.write(data)

    async def _feed(self) -> None:
        if data := await self._below.read():
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


async def connect(address: Address) -> Stream:
    """Open a connection.

    Raises:
        Unreachable: Nothing listens, it takes over 30 s, or TLS fails.
    """
    try:
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            if address.path is not None:
                return await _open(socket.AF_UNIX, str(address.path))
            stream = await _open_tcp(address.host, address.port)
            if address.tls is None:
                return stream
            return await _secure(stream, address.tls, address.host)
    except TimeoutError as exc:
        raise Unreachable(address.text, "no answer in time") from exc
    except OSError as exc:
        raise Unreachable(address.text, exc.strerror or str(exc)) from exc


async def _open(family: int, target: str | tuple[str, int]) -> PlainStream:
    connected = socket.socket(family, socket.SOCK_STREAM)
    connected.settimeout(0)
    try:
        await asyncio.get_running_loop().sock_connect(connected, target)
    except BaseException:
        connected.close()
        raise
    return PlainStream(connected)


async def _open_tcp(host: str, port: int) -> PlainStream:
    """Connect to the first address of a host that answers."""
    loop = asyncio.get_running_loop()
    failed = OSError(f"no address for {host}")
    for found in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        family, target = found[0], found[4]
        try:
            return await _open(family, (str(target[0]), int(target[1])))
        except OSError as exc:
            failed = exc
    raise failed


async def _secure(below: Stream, files: TlsFiles, server_name: str) -> Stream:
    try:
        stream = TlsStream(below, tls_context(files), server_name)
        await stream.handshake()
    except BaseException:
        await below.close()
        raise
    return stream


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a client context for the files.

    Raises:
        OSError: A file is missing or not a certificate; `ssl.SSLError` is one too.
    """
    context = ssl.create_default_context(cafile=None if files.ca is None else str(files.ca))
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if files.cert is not None:
        context.load_cert_chain(files.cert, files.key)
    return context
