"""Messages between the daemon and the supervisor.

One packet of a SOCK_SEQPACKET unix socket is one JSON object; descriptors travel beside it. A
request carries `op` and `request` (a number), its answer `answer` (that number) and either the
result's fields or `error` (a kind) and `message`. What nobody asked for carries `event`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

Message = dict[str, object]

VERSION = 1
SOCKET_NAME = "supervisor.sock"
LOCK_NAME = "supervisor.lock"
LOG_NAME = "supervisor.log"

MAX_MESSAGE_BYTES = 1 << 20
MAX_DESCRIPTORS = 16
MAX_QUEUED_MESSAGES = 100_000


class ProtocolError(Exception):
    """The peer sent something that is no message of ours."""


def text(message: Message, key: str, default: str | None = None) -> str:
    """Return a string field; raise ProtocolError when it is missing or something else."""
    value = message.get(key, default)
    if isinstance(value, str):
        return value
    raise ProtocolError(f"{key}: no string")


def number(message: Message, key: str, default: int | None = None) -> int:
    """Return an integer field; raise ProtocolError when it is missing or something else."""
    value = message.get(key, default)
    if isinstance(value, int):
        return value
    raise ProtocolError(f"{key}: no integer")


def flag(message: Message, key: str) -> bool:
    """Return a boolean field; absent and null are false."""
    return bool(message.get(key))


def texts(message: Message, key: str) -> list[str]:
    """Return a list of strings; absent and null are empty."""
    value = message.get(key) or []
    if not isinstance(value, list):
        raise ProtocolError(f"{key}: no list")
    return [str(word) for word in value]


def nested(message: Message, key: str) -> Message:
    """Return an object field; absent and null are empty."""
    value = message.get(key) or {}
    if not isinstance(value, dict):
        raise ProtocolError(f"{key}: no object")
    return value


def encode(message: Message) -> bytes:
    """Return the packet of a message; raise ProtocolError when it is too large for one."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"message of {len(data)} bytes is too large")
    return data


def decode(data: bytes) -> Message:
    """Return the message in a packet."""
    try:
        message: object = json.loads(data)
    except ValueError as exc:
        raise ProtocolError("no JSON") from exc
    if not isinstance(message, dict):
        raise ProtocolError("no object")
    return message


class Channel:
    """A non-blocking packet socket with a bounded outgoing queue.

    Owns the socket. Neither `send` nor `receive` ever blocks.
    """

    __slots__ = ("_queue", "sock")

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 2 * MAX_MESSAGE_BYTES)
        # A packet must fit the send buffer; root may exceed net.core.wmem_max. asm/socket.h: 32
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, 32, 2 * MAX_MESSAGE_BYTES)
        self.sock = sock
        self._queue: deque[tuple[bytes, list[int]]] = deque()

    @property
    def wants_write(self) -> bool:
        """Whether messages wait for the peer to read."""
        return bool(self._queue)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a message or queue it; the caller keeps its descriptors.

        Raises:
            OSError: The peer is gone, or has not read for so long that the queue is full
            (ENOBUFS). ProtocolError: The message is too large.
        """
        data = encode(message)
        if not self._queue:
            try:
                socket.send_fds(self.sock, [data], list(fds))
            except BlockingIOError:
                pass
            else:
                return
        if len(self._queue) >= MAX_QUEUED_MESSAGES:
            raise OSError(105, "the peer does not read its messages")
        self._queue.append((data, [os.dup(fd) for fd in fds]))

    def flush(self) -> None:
        """Send what is queued, as far as the peer takes it."""
        while self._queue:
            data, fds = self._queue[0]
            try:
                socket.send_fds(self.sock, [data], fds)
            except BlockingIOError:
                return
            self._queue.popleft()
            close_all(fds)

    def receive(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its descriptors (now the caller's); None: the peer is gone.

        Raises:
            BlockingIOError: Nothing is there.
            ProtocolError: The packet was no message.
        """
        try:
            data, fds, flags = receive_descriptors(self.sock, MAX_MESSAGE_BYTES)
        except ConnectionError:
            return None
        if not data:
            return None
        try:
            return decode(b"" if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) else data), fds
        except ProtocolError:
            close_all(fds)
            raise

    def close(self) -> None:
        """Close the socket and drop what is queued."""
        while self._queue:
            close_all(self._queue.popleft()[1])
        self.sock.close()


def receive_descriptors(sock: socket.socket, size: int) -> tuple[bytes, list[int], int]:
    """Receive at most `size` bytes, the descriptors with them (close-on-exec), and message flags.

    `socket.recv_fds` does not pass its flags on, so its descriptors would leak into every program
    we run.
    """
    width = struct.calcsize("i")
    space = socket.CMSG_LEN(MAX_DESCRIPTORS * width)
    data, ancillary, flags, _ = sock.recvmsg(size, space, socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, body in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            count = len(body) // width
            fds += struct.unpack(f"{count}i", body[: count * width])
    return data, fds, flags


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)
