"""The client's end of a hijacked connection, where the engine itself has something to say."""

import asyncio
import socket
import struct
from types import TracebackType
from typing import Self

MAX_FRAME_BYTES = 1 << 20


def frame(stream: int, payload: bytes) -> bytes:
    """Return `payload` with the 8-byte stdcopy header of stream 1 (stdout) or 2 (stderr)."""
    return struct.pack(">BxxxL", stream, len(payload)) + payload


class HijackedClient:
    """Sends output to a socket that belongs to somebody else; a context manager."""

    def __init__(self, client_fd: int, *, framed: bool) -> None:
        """Use a duplicate of `client_fd`; the original stays the caller's."""
        self._socket = socket.socket(fileno=socket.dup(client_fd))
        self._socket.settimeout(0)
        self._framed = framed

    async def send(self, stream: int, data: bytes) -> None:
        """Send all of `data`, waiting for a slow client.

        Raises:
            OSError: The client is gone.
        """
        loop = asyncio.get_running_loop()
        for offset in range(0, len(data), MAX_FRAME_BYTES):
            part = data[offset : offset + MAX_FRAME_BYTES]
            await loop.sock_sendall(self._socket, frame(stream, part) if self._framed else part)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
