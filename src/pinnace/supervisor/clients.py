"""A client attached to a task: what it gets, what it types, and when it is over."""

from __future__ import annotations

import os
import socket
import struct

from pinnace.supervisor.logs import MAX_CHUNK, LogReader, Position
from pinnace.supervisor.loop import ERROR, READ, WRITE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pinnace.supervisor.spec import SinkOptions
    from pinnace.supervisor.taskinput import TaskInput

BUFFER_LIMIT = 1 << 20
_SMALL_RUN = 64 * 1024  # below this a copy is cheaper than two system calls
_ROUND_BYTES = 4 << 20  # most bytes one client is sent before others get their turn
_TYPED_BYTES = 4096

EOF = "eof"
DETACHED = "detached"
GONE = "gone"


class DetachKeys:
    """Looks for a byte sequence in what is typed, also when it comes in pieces."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return the bytes to pass on, and whether the sequence is complete.

        A beginning of the sequence is held back until it completes or does not.
        """
        if not self._keys:
            return data, False
        passed = bytearray()
        for value in data:
            self._held += bytes((value,))
            if self._held == self._keys:
                return bytes(passed), True
            while self._held and not self._keys.startswith(self._held):
                passed += self._held[:1]
                self._held = self._held[1:]
        return bytes(passed), False

    def rest(self) -> bytes:
        """Return what was held back, at the end of the input."""
        held, self._held = self._held, b""
        return held


class Client:
    """Serves one attached socket, in both directions, without ever blocking.

    Output comes from a log (`follow`), pulled when the socket takes it, or is pushed (`push`) by a
    source that looks at `backlog` and pauses. Owns its descriptor of the socket, not the
    connection.

    Args:
        loop: Where readiness comes from.
        fd: The socket; becomes non-blocking.
        options: What the client wants.
        ended: Called once with EOF, DETACHED or GONE.
    """

    def __init__(
        self, loop: Loop, fd: int, options: SinkOptions, ended: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._sock = socket.socket(fileno=fd)
        self._sock.settimeout(0)
        self.options = options
        self._ended = ended
        self.over = False
        self.progress: Callable[[], None] = _nothing
        self.input_ended: Callable[[], None] = _nothing
        self._reader: LogReader | None = None
        self._limit: Position | None = None
        self._later: list[tuple[LogReader, Position | None]] = []
        self._buffer = bytearray()
        self._file = (-1, 0, 0)  # descriptor, offset, bytes left
        self._finishing = False
        self._blocked = False
        self._hung_up = False
        self._input: TaskInput | None = None
        self._typed = bytearray()
        self._keys: DetachKeys | None = None
        self._waits_for_input = False
        self._reads = False  # not before the task is there
        self._events = 0
        loop.watch(fd, 0, self._ready)

    @property
    def backlog(self) -> int:
        """Bytes pushed that the socket has not taken."""
        return len(self._buffer)

    @property
    def position(self) -> Position | None:
        """Where in the log the client is, or will go back to; None when it does not read one."""
        return min((reader.position for reader in self._readers()), default=None)

    @property
    def is_caught_up(self) -> bool:
        """Whether everything in the log has been sent or is in the buffer."""
        return not self._file[2] and all(reader.run(1) is None for reader in self._readers())

    def replay(self, reader: LogReader, limit: Position) -> None:
        """Have what the reader gives up to `limit` sent first; takes the reader over.

        `follow` has to come next, after any number of replays.
        """
        self._later.append((reader, limit))

    def follow(self, reader: LogReader, limit: Position | None) -> None:
        """Send what the reader gives, until `finish`, or up to `limit`; takes the reader over."""
        self._later.append((reader, limit))
        self._reader, self._limit = self._later.pop(0)
        self.pump()

    def accept_input(self, task_input: TaskInput | None) -> None:
        """Pass on what the client types; None: the task has no input, what is typed is dropped."""
        if self.over or not self.options.stdin:
            return
        self._reads = True
        self._input = task_input
        early = self.options.early
        if task_input is not None and task_input.terminal:
            self._keys = DetachKeys(self.options.detach_keys)
            self._type(early)
        else:
            self._typed += early
        if not self.over:
            self._pull()

    def push(self, stream: int, data: bytes) -> None:
        """Send bytes of a stream if the client wants it; queued when the socket is full."""
        if self.over or stream not in self.options.streams:
            return
        if self.options.framed:
            self._buffer += _header(stream, len(data))
        self._buffer += data
        self.pump()

    def pin(self) -> None:
        """Hold on to the log that is written so far."""
        for reader in self._readers():
            reader.pin()

    def finish(self) -> None:
        """The output is over: end the attachment when everything is sent."""
        self._finishing = True
        self.pin()
        self.pump()

    def end(self, how: str) -> None:
        """End the attachment now and close our descriptor of the socket."""
        if self.over:
            return
        self.over = True
        self._loop.unwatch(self._sock.fileno())
        if how == EOF:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                how = GONE
        self._sock.close()
        for reader in self._readers():
            reader.close()
        self._buffer.clear()
        self._ended(how)
        self.progress()

    def pump(self) -> None:
        """Send as much as the socket takes."""
        if self.over:
            return
        self._blocked = False
        sent = 0
        try:
            while sent < _ROUND_BYTES:
                step = self._send()
                if step < 0:
                    break
                sent += step
            else:
                self._blocked = True  # the loop calls again at once
        except BlockingIOError:
            self._blocked = True
        except OSError:
            self.end(GONE)
            return
        if self._finishing and not self._blocked:
            self.end(EOF)
            return
        self._update()
        if sent:
            self.progress()

    def _send(self) -> int:
        """Send something and return how much; -1 when nothing is left."""
        if self._buffer:
            sent = self._sock.send(self._buffer)
            del self._buffer[:sent]
            return sent
        fd, offset, left = self._file
        if left:
            sent = os.sendfile(self._sock.fileno(), fd, offset, left)
            if sent == 0:  # the file lost its end in a host crash; frames must stay whole
                self._buffer += bytes(left)
                sent = left
            self._file = (fd, offset + sent, left - sent)
            return sent
        return 0 if self._take_run() else -1

    def _take_run(self) -> bool:
        """Make the next bytes of the log the ones being sent."""
        reader = self._reader
        if reader is None:
            return False
        limit = self._limit
        # What is merged must not reach over the limit.
        merge = limit is None or reader.position.generation != limit.generation
        run = reader.run(MAX_CHUNK, merge=merge)
        if limit is not None and (run is None or not reader.position < limit):
            return self._next_reader()
        if run is None:
            return False
        if self.options.framed:
            self._buffer += _header(run.stream, run.length)
        if run.length <= _SMALL_RUN:
            self._buffer += os.pread(run.fd, run.length, run.offset).ljust(run.length, b"\0")
        else:
            self._file = (run.fd, run.offset, run.length)
        reader.advance(run.length)
        return True

    def _next_reader(self) -> bool:
        """Go on with the next part of the log; False: there is none."""
        if not self._later:
            self._finishing = True
            return False
        if self._reader is not None:
            self._reader.close()
        self._reader, self._limit = self._later.pop(0)
        return True

    def _readers(self) -> list[LogReader]:
        """Return what is read now and later."""
        now = [] if self._reader is None else [self._reader]
        return [*now, *(reader for reader, _ in self._later)]

    def _ready(self, events: int) -> None:
        if self.over:
            return
        if events & ERROR:
            self._hung_up = True
        if events & WRITE:
            self.pump()
        if self.options.stdin and events & (READ | ERROR):
            self._pull()
        if self._hung_up:
            self._hang_up()

    def _hang_up(self) -> None:
        """The client closed its socket; what it typed before still counts."""
        if self.over:
            return
        if self._waits_for_input:
            self._loop.unwatch(self._sock.fileno())
        elif not self.options.stdin:
            self.end(GONE)

    def _update(self) -> None:
        reads = self.options.stdin and self._reads and not self._waits_for_input
        events = (READ if reads else 0) | (WRITE if self._blocked else 0)
        if events != self._events:
            self._events = events
            self._loop.change(self._sock.fileno(), events)

    def _pull(self) -> None:
        """Move what the client typed towards the task."""
        if self.over:
            return
        self._waits_for_input = False
        try:
            if not self._flush_typed():
                self._wait_for_input()
            elif self._input is None or self._input.closed:
                self._drop()
            elif self._keys is not None:
                self._type(self._sock.recv(_TYPED_BYTES) or None)
            else:
                self._splice(self._input)
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._input = None
            self._typed.clear()
        except OSError:
            self.end(GONE)
        if not self.over:
            self._update()

    def _flush_typed(self) -> bool:
        """Write what is waiting for the task; False when some is left."""
        if self._input is None or self._input.closed:
            self._typed.clear()
        elif self._typed:
            del self._typed[: self._input.write(self._typed)]
        return not self._typed

    def _wait_for_input(self) -> None:
        assert self._input is not None  # noqa: S101 - something is left to be written to it
        self._waits_for_input = True
        self._input.wait(self._input_ready)

    def _input_ready(self) -> None:
        self._pull()
        if self._hung_up and not self._waits_for_input:
            if self.over:
                return
            # it was not watched while it waited: a hang-up is reported again and again
            self._events = READ
            self._loop.unwatch(self._sock.fileno())
            self._loop.watch(self._sock.fileno(), READ, self._ready)

    def _type(self, data: bytes | None) -> None:
        """Feed a terminal; None: the client's input ended."""
        assert self._keys is not None  # noqa: S101 - only called for terminals
        if data is None:
            self._typed += self._keys.rest()
            self._flush_typed()
            self._end_input()
            return
        passed, detached = self._keys.feed(data)
        self._typed += passed
        complete = self._flush_typed()
        if detached:
            self.end(DETACHED)
        elif not complete:
            self._wait_for_input()

    def _splice(self, task_input: TaskInput) -> None:
        moved = task_input.take(self._sock.fileno())
        if moved is None:
            self._wait_for_input()
        elif moved == 0:
            self._end_input()

    def _drop(self) -> None:
        """Read and forget: unread bytes would make the kernel reset the connection at close."""
        if not self._sock.recv(65536):
            self._end_input()

    def _end_input(self) -> None:
        self.options.stdin = False
        self.input_ended()
        if self._hung_up and not self.over:
            self.end(GONE)


def _header(stream: int, length: int) -> bytes:
    """Return the 8-byte header of a multiplexed stream's frame."""
    return struct.pack(">BxxxI", stream, length)


def _nothing() -> None:
    return
