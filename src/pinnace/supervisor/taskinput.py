"""The writing end of a task's standard input, shared by the clients attached to it."""

from __future__ import annotations

import fcntl
import os
import select

from pinnace.supervisor.loop import WRITE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_F_SETPIPE_SZ = 1031  # linux/fcntl.h
BIG_PIPE_BYTES = 1 << 20


def enlarge_pipe(fd: int) -> None:
    """Give a busy pipe a larger buffer; does nothing when the host's limits forbid it."""
    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, BIG_PIPE_BYTES)
    except OSError:
        return


class TaskInput:
    """A pipe into a task, or its terminal. Owns the descriptor, which does not block."""

    def __init__(self, loop: Loop, fd: int, *, terminal: bool) -> None:
        self._loop = loop
        self.fd = fd
        self.terminal = terminal
        self.closed = False
        self._waiting: list[Callable[[], None]] = []
        self._enlarged = terminal
        os.set_blocking(fd, False)

    def write(self, data: bytes | bytearray) -> int:
        """Write what fits and return how much; 0 when nothing does.

        Raises:
            BrokenPipeError: The task reads no more.
        """
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError as exc:  # a terminal without a process: EIO
            raise BrokenPipeError from exc

    def take(self, sock: int) -> int | None:
        """Move bytes from a socket into the pipe; 0: the client's input ended; None: no room.

        Raises:
            BlockingIOError: The client has sent nothing.
            BrokenPipeError: The task reads no more.
        """
        flags = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
        try:
            return os.splice(sock, self.fd, BIG_PIPE_BYTES, flags=flags)
        except BlockingIOError:
            if self._has_room():
                raise
            return None

    def wait(self, call: Callable[[], None]) -> None:
        """Call once when there is room again, or when the input is closed."""
        if not self._enlarged:
            self._enlarged = True
            enlarge_pipe(self.fd)
        if not self._waiting:
            self._loop.watch(self.fd, WRITE, self._ready)
        self._waiting.append(call)

    def close(self) -> None:
        """Close the task's input; those who wait are called and find it closed."""
        if self.closed:
            return
        self.closed = True
        self._ready(0)
        os.close(self.fd)

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(0))

    def _ready(self, _events: int) -> None:
        self._loop.unwatch(self.fd)
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()
