"""Where a task's output goes: to a log and the clients that read it, or to the clients only."""

from __future__ import annotations

import errno
import os
import termios

from pinnace.supervisor.clients import BUFFER_LIMIT, Client
from pinnace.supervisor.logs import LogReader
from pinnace.supervisor.logwriter import LogWriter, NotKept, now_ns
from pinnace.supervisor.loop import READ, Loop
from pinnace.supervisor.override import override
from pinnace.supervisor.taskinput import enlarge_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_READ_BYTES = 64 * 1024
_SMALL_CHUNK = 4096
_BUSY_CHUNKS = 32
_BREATH_S = 0.002


class Source:
    """One pipe or terminal that output comes from. Owns the descriptor, which does not block.

    Args:
        loop: Where readiness comes from.
        fd: Reading end.
        stream: STDOUT or STDERR.
        output: Takes the bytes.
        ended: Called once when the source is over and closed.
        terminal: A pseudo-terminal's master.
    """

    def __init__(
        self,
        loop: Loop,
        fd: int,
        stream: int,
        *,
        output: Output,
        ended: Callable[[], None],
        terminal: bool,
    ) -> None:
        self._loop = loop
        self.fd = fd
        self.stream = stream
        self.terminal = terminal
        self._output = output
        self._ended = ended
        self._enlarged = terminal
        self._small_chunks = 0
        self._breathing = False
        self.paused = False
        self.closed = False
        self._watched = False
        os.set_blocking(fd, False)
        self._update()

    def read(self) -> bytes:
        """Read some bytes; empty at the end.

        Raises:
            BlockingIOError: Nothing is there.
        """
        try:
            return os.read(self.fd, _READ_BYTES)
        except OSError as exc:
            if exc.errno == errno.EIO:  # the last process left the terminal
                return b""
            raise

    def drain(self) -> None:
        """Take everything that is there now; at most what a pipe can hold, and a little more."""
        for _ in range(64):
            if self.closed or self.paused or self._move() <= 0:
                return

    def pause(self) -> None:
        """Read no more until `resume`; the task blocks when the pipe is full."""
        self.paused = True
        self._update()

    def resume(self) -> None:
        """Read again."""
        if self.paused:
            self.paused = False
            self._update()

    def close(self) -> None:
        """Stop reading."""
        if self.closed:
            return
        self.closed = True
        self._update()
        os.close(self.fd)
        self._ended()

    def _ready(self, _events: int) -> None:
        moved = self._move()
        if moved >= _READ_BYTES and not self._enlarged:
            self._enlarged = True
            enlarge_pipe(self.fd)
        if moved >= _SMALL_CHUNK:
            self._small_chunks = 0
            return
        # A writer of tiny pieces costs several system calls per piece; let them gather a little.
        self._small_chunks += 1
        if self._small_chunks == 1:
            self._loop.call_later(10 * _BREATH_S, self._forget_small_chunks)
        elif self._small_chunks >= _BUSY_CHUNKS and not self._breathing:
            self._breathing = True
            self._update()
            self._loop.call_later(_BREATH_S, self._breathe_out)

    def _breathe_out(self) -> None:
        self._breathing = False
        self._update()

    def _update(self) -> None:
        """Watch the descriptor unless something says not to (it is unwatched: hang-ups repeat)."""
        wanted = not (self.paused or self._breathing or self.closed)
        if wanted and not self._watched:
            self._loop.watch(self.fd, READ, self._ready)
        elif self._watched and not wanted:
            self._loop.unwatch(self.fd)
        self._watched = wanted

    def _forget_small_chunks(self) -> None:
        self._small_chunks = 0

    def _move(self) -> int:
        """Move one chunk to the output; 0: over (and closed), -1: nothing there or not now."""
        try:
            moved = self._output.move(self)
        except BlockingIOError:
            return -1
        if moved == 0:
            self.close()
        return moved


class Output:
    """Takes bytes from sources and brings them to clients."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.sources: list[Source] = []
        self.watchers: list[int] = []

    def move(self, source: Source) -> int:
        """Move one chunk; return its size, 0 at the source's end, -1 when the source was paused.

        Raises:
            BlockingIOError: The source has nothing.
        """
        raise NotImplementedError

    def add(self, client: Client) -> None:
        """Serve a client from now on."""
        client.progress = self._progressed
        self.clients.append(client)

    def remove(self, client: Client) -> None:
        """Forget a client that has ended."""
        if client in self.clients:
            self.clients.remove(client)
        self._progressed()

    def finish(self) -> None:
        """The output is over: let the clients end when they have everything."""
        for client in list(self.clients):
            client.finish()
        for fd in self.watchers:
            os.close(fd)
        self.watchers = []

    def unbound(self) -> None:
        """Take what is left without regard to clients that are behind."""

    def close(self) -> None:
        """Let go of files."""

    def _progressed(self) -> None:
        """Called when a client took bytes or left."""

    def _resume(self) -> None:
        for source in self.sources:
            source.resume()


class LiveOutput(Output):
    """Output that is not kept: clients get it at the pace of the slowest, or it is lost."""

    @override
    def move(self, source: Source) -> int:
        """See `Output.move`."""
        if self._is_behind():
            source.pause()
            return -1
        data = source.read()
        if data:
            for client in list(self.clients):
                client.push(source.stream, data)
        return len(data)

    def _is_behind(self) -> bool:
        return any(client.backlog >= BUFFER_LIMIT for client in self.clients)

    @override
    def _progressed(self) -> None:
        if not self._is_behind():
            self._resume()


class LoggedOutput(Output):
    """Output that is written to a log; every client reads the log at its own pace.

    The task waits for a client only when rotation would remove a generation that the client has
    not begun to read: then the client is a whole log behind.
    """

    def __init__(
        self, directory: str, *, max_size: int, max_files: int, report: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._directory = directory
        self._report = report
        self._writer = LogWriter(directory, max_size=max_size, max_files=max_files)
        self._losing = False

    @override
    def add(self, client: Client) -> None:
        """Serve a client from the log: from its start when it wants a replay, else from now on."""
        super().add(client)
        options = client.options
        if options.replay and options.stream and not options.replays_apart:
            client.follow(LogReader(self._directory, streams=options.streams), None)
            return
        end = LogReader(self._directory, streams=options.streams)
        end.seek_end()
        if options.replay:
            parts = [frozenset({stream}) for stream in sorted(options.streams)]
            for part in parts if options.replays_apart else [options.streams]:
                client.replay(LogReader(self._directory, streams=part), end.position)
        client.follow(end, None if options.stream else end.position)

    @override
    def move(self, source: Source) -> int:
        """See `Output.move`."""
        if self._writer.is_full and not self._rotate():
            source.pause()
            return -1
        try:
            moved = self._append(source)
        except NotKept as exc:
            self._lose(exc)
            return len(exc.data)
        if self._losing and moved:
            self._losing = False
            self._report("the log is being written again")
        if moved:
            self._wake()
        return moved

    @override
    def unbound(self) -> None:
        """See `Output.unbound`."""
        for client in self.clients:
            client.pin()
        self._writer.unbound()
        self._resume()

    @override
    def close(self) -> None:
        """Close the log's files."""
        self._writer.close()

    def _append(self, source: Source) -> int:
        if not source.terminal:
            return self._writer.append_pipe(source.fd, source.stream, now_ns())
        data = source.read()
        if data:
            self._writer.append(data, source.stream, now_ns())
        return len(data)

    def _rotate(self) -> bool:
        """Begin a generation unless a client is a whole log behind."""
        oldest = self._writer.oldest_kept
        for client in self.clients:
            position = client.position
            if position is not None and 0 < position.generation < oldest - 1:
                return False
        try:
            self._writer.rotate()
        except OSError as exc:
            if not self._losing:
                self._report(f"cannot rotate the log: {exc}")
        return True

    def _wake(self) -> None:
        for client in list(self.clients):
            client.pump()
        for fd in self.watchers:
            try:
                os.write(fd, b"\0")
            except OSError:
                continue  # full: the watcher has been told already; gone: closed at the end

    def _lose(self, loss: NotKept) -> None:
        """Give what cannot be kept to the clients that have everything before it."""
        if not self._losing:
            self._losing = True
            self._report(f"output is being dropped, the log cannot be written: {loss}")
        for client in list(self.clients):
            if client.is_caught_up and client.backlog < BUFFER_LIMIT:
                client.push(loss.stream, loss.data)

    @override
    def _progressed(self) -> None:
        if any(source.paused for source in self.sources) and (
            not self._writer.is_full or self._rotate()
        ):
            self._resume()


def set_size(master: int, height: int, width: int) -> None:
    """Set the size of a terminal."""
    termios.tcsetwinsize(master, (height, width))
