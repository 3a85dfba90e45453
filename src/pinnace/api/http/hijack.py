"""Connections that became byte streams: attach, exec, sessions."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from pinnace.api.http.failures import ClientGone

if TYPE_CHECKING:
    from pinnace.api.http.connection import Connection

_RELAY_BYTES = 128 * 1024


class Hijacked:
    """A byte stream to and from a client, after the head of the answer.

    There are two ways to use it, not to be mixed. Either read and write here (`reader`, `write`,
    `write_eof`, `close`), or take a descriptor (`detach_fd`) and let another process do it.

    Attributes:
        early: Bytes the client sent behind its request. They come before everything else and are
            never repeated: neither `reader` nor a descriptor yields them.
    """

    __slots__ = ("_connection", "_relay", "early")

    def __init__(self, connection: "Connection", early: bytes) -> None:
        self.early = early
        self._connection = connection
        self._relay: asyncio.Task[None] | None = None

    @property
    def reader(self) -> AsyncIterator[bytes]:
        """Iterate over the client's bytes until it half-closes.

        Raises:
            ClientGone: While iterating, when the connection is reset.
        """
        return self._read()

    async def write(self, data: bytes) -> None:
        """Send bytes and wait while the client is slower than the source.

        Raises:
            ClientGone: The connection is lost.
        """
        self._connection.write(data)
        await self._connection.drain()

    def write_eof(self) -> None:
        """End our side; the client may go on sending."""
        if not self._connection.lost:
            self._connection.transport.write_eof()

    def close(self) -> None:
        """End the conversation in both directions, after what was written is delivered."""
        if self._relay is not None and not self._relay.done():
            self._relay.cancel()
        self._connection.close_hijacked()

    def socket_fd(self) -> int | None:
        """Return the kernel socket's descriptor, for use by another process until `close`.

        It stays ours; duplicate or send it. Reading is paused for good and everything written was
        flushed. The socket is non-blocking.

        Returns:
            The descriptor; None under TLS, where the bytes of the socket are not the stream.

        Raises:
            RuntimeError: Output is still queued; await `flush` first.
            ClientGone: The connection is lost.
        """
        if self._connection.lost:
            raise ClientGone("the client closed the connection")
        kernel_socket = self._connection.kernel_socket
        if kernel_socket is None:
            return None
        if self._connection.transport.get_write_buffer_size():
            raise RuntimeError("output is still queued")
        return kernel_socket.fileno()

    async def flush(self) -> None:
        """Wait until everything written was handed to the kernel.

        Raises:
            ClientGone: The connection is lost.
        """
        await self._connection.flush()

    async def detach_fd(self) -> int:
        """Return a descriptor of the stream that another process may own.

        For plain sockets it is a duplicate of the connection; under TLS it is one end of a socket
        pair whose other end is pumped to and from the client, with half-close in both directions.
        The caller closes it after passing it on; it is non-blocking.

        Raises:
            ClientGone: The connection is lost.
            OSError: No descriptor is left.
        """
        await self.flush()
        own = self.socket_fd()
        return await self.relay_fd() if own is None else os.dup(own)

    async def relay_fd(self) -> int:
        """Return one end of a socket pair; the other is pumped to and from the client.

        Raises:
            RuntimeError: There is a relay already.
            OSError: No descriptor is left.
        """
        if self._relay is not None:
            raise RuntimeError("the stream is already relayed")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        theirs.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._relay = self._connection.loop.create_task(
            self._pump(ours), name=f"relay {self._connection.name}"
        )
        self._connection.own(self._relay)
        return theirs.detach()

    async def finish(self) -> None:
        """Let go of the connection after a descriptor was taken.

        A duplicate given away lives on and the conversation with it. A relay is waited for until
        its output is delivered; then the connection is closed.
        """
        if self._relay is None:
            self._connection.release()
            return
        # The task belongs to the connection: the caller's cancellation does not end it.
        await asyncio.wait([self._relay])

    def handover(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """Give the transport to another protocol, for instance an HTTP/2 implementation.

        Returns:
            The new protocol; it has got `connection_made` and the early bytes.

        Raises:
            ClientGone: The connection is lost.
        """
        return self._connection.handover(factory, self.early)

    async def _read(self) -> AsyncIterator[bytes]:
        while chunk := await self._connection.receive():
            yield chunk

    async def _pump(self, ours: socket.socket) -> None:
        """Carry bytes both ways until the output ends or the client is lost."""
        inward = self._connection.loop.create_task(
            self._pump_in(ours), name=f"relay input {self._connection.name}"
        )
        try:
            await self._pump_out(ours)
        finally:
            inward.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await inward
            ours.close()
            self._connection.close_hijacked()

    async def _pump_in(self, ours: socket.socket) -> None:
        loop = self._connection.loop
        # The other end may be closed before the client stops sending: not an error.
        with contextlib.suppress(OSError):
            async for chunk in self._read():
                await loop.sock_sendall(ours, chunk)
            ours.shutdown(socket.SHUT_WR)
            return
        # The client was lost, or nobody reads: the output side will notice by itself.
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)

    async def _pump_out(self, ours: socket.socket) -> None:
        loop = self._connection.loop
        with contextlib.suppress(OSError):
            while chunk := await loop.sock_recv(ours, _RELAY_BYTES):
                await self.write(chunk)
