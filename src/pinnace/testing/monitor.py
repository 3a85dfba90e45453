"""A supervisor in memory: tasks do what a test says, clients are served on their real sockets."""

import asyncio
import contextlib
import json
import os
import signal as signals
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pinnace.contracts.monitor import Exit, Sink, TaskSpec, TaskStatus
from pinnace.errors import (
    AlreadyExists,
    Conflict,
    InvalidParameter,
    NotFound,
    PinnaceError,
    RuntimeFailure,
)
from pinnace.supervisor.clients import DetachKeys
from pinnace.supervisor.logs import STDOUT
from pinnace.supervisor.logwriter import LogWriter

_FIRST_PID = 4_000_001


@dataclass(frozen=True, slots=True)
class Program:
    """What a fake task does once it runs.

    Attributes:
        output: Chunks of (stream, bytes) it writes first.
        code: Exit code right after that; None: it runs until it is signalled.
        echoes: It writes back what it reads, and ends with 0 at the end of its input.
        failure: The runtime fails with these words instead.
    """

    output: Sequence[tuple[int, bytes]] = ()
    code: int | None = None
    echoes: bool = False
    failure: str | None = None


class FakeAttachment:
    """A client of a fake task, served by the event loop on a duplicate of its socket."""

    def __init__(self, client: int, sink: Sink) -> None:
        self.sink = sink
        self.task: _FakeTask | None = None
        self._sock = socket.socket(fileno=os.dup(client))
        self._sock.settimeout(0)
        self._how: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._unsent = bytearray()
        self._finishing = False
        self._keys = DetachKeys(b"")

    async def ended(self) -> str:
        """See `Attachment.ended`."""
        return await asyncio.shield(self._how)

    async def cancel(self) -> None:
        """See `Attachment.cancel`."""
        self.end("gone")

    def join(self, task: "_FakeTask") -> None:
        """Serve the client from the task, which is there now."""
        self.task = task
        if self.sink.replay:
            history = task.history
            if self.sink.stream_by_stream:
                history = sorted(history, key=lambda chunk: chunk[0])
            for stream, data in history:
                self.send(stream, data)
        if task.exit is not None or (self.sink.replay and not self.sink.stream):
            self.finish()
            return
        task.clients.append(self)
        if self.sink.stdin:
            if task.spec.terminal:
                self._keys = DetachKeys(self.sink.detach_keys)
            self._typed(self.sink.early)
            asyncio.get_running_loop().add_reader(self._sock.fileno(), self._readable)

    def send(self, stream: int, data: bytes) -> None:
        """Send output the client wants."""
        if self._how.done() or not (self.sink.stdout if stream == STDOUT else self.sink.stderr):
            return
        if self.sink.framed:
            self._unsent += struct.pack(">BxxxI", stream, len(data))
        self._unsent += data
        self._flush()

    def finish(self) -> None:
        """End with `eof` when everything is sent."""
        self._finishing = True
        self._flush()

    def end(self, how: str) -> None:
        """End now."""
        if self._how.done():
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock.fileno())
        loop.remove_writer(self._sock.fileno())
        if how == "eof":
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        self._sock.close()
        self._how.set_result(how)
        if self.task is not None and self in self.task.clients:
            self.task.clients.remove(self)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            loop.add_writer(self._sock.fileno(), self._flush)
            return
        except OSError:
            self.end("gone")
            return
        loop.remove_writer(self._sock.fileno())
        if self._finishing:
            self.end("eof")

    def _readable(self) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.end("gone")
            return
        if data:
            self._typed(data)
            return
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        assert self.task is not None  # noqa: S101 - it is read from only after `join`
        self.task.input_ended()

    def _typed(self, data: bytes) -> None:
        assert self.task is not None  # noqa: S101 - as above
        passed, detached = self._keys.feed(data)
        self.task.read(passed)
        if detached:
            self.end("detached")


@dataclass(slots=True)
class _FakeTask:
    monitor: "FakeMonitor"
    spec: TaskSpec
    program: Program
    pid: int
    started: bool = False
    exit: Exit | None = None
    size: tuple[int, int] | None = None
    stdin: bytearray = field(default_factory=bytearray)
    signals: list[int] = field(default_factory=list)
    history: list[tuple[int, bytes]] = field(default_factory=list)
    clients: list[FakeAttachment] = field(default_factory=list)
    watchers: list[socket.socket] = field(default_factory=list)

    def run(self) -> None:
        self.started = True
        for stream, data in self.program.output:
            self.write(stream, data)
        if self.program.code is not None:
            self.end(self.program.code)

    def write(self, stream: int, data: bytes) -> None:
        if self.spec.log is not None and not self.spec.log.discard:
            self.history.append((stream, data))
            self._log(stream, data)
        for client in list(self.clients):
            client.send(stream, data)
        for watcher in self.watchers:
            with contextlib.suppress(OSError):
                watcher.send(b"\0")

    def read(self, data: bytes) -> None:
        self.stdin += data
        if data and self.program.echoes and self.exit is None:
            self.write(STDOUT, data)

    def input_ended(self) -> None:
        if self.spec.stdin_once and not self.spec.terminal and self.program.echoes:
            self.end(0)

    def end(self, code: int, *, oom_killed: bool = False) -> None:
        if self.exit is not None:
            return
        self.exit = Exit(self.spec.id, code, time.time_ns(), oom_killed=oom_killed)
        record = Path(self.spec.exit_file)
        if record.parent.is_dir():
            record.write_text(json.dumps(asdict(self.exit)))
        self.close()
        self.monitor.announce(self.exit)

    def close(self) -> None:
        for client in list(self.clients):
            client.finish()
        for watcher in self.watchers:
            watcher.close()
        self.watchers.clear()

    def _log(self, stream: int, data: bytes) -> None:
        log = self.spec.log
        if log is None or not Path(log.directory).is_dir():
            return
        writer = LogWriter(log.directory, max_size=0, max_files=1)
        writer.append(data, stream, time.time_ns())
        writer.close()


class FakeMonitor:
    """`Monitor` without a process, and what a test wants to see and do.

    Attributes:
        programs: What tasks do, by id; others run until they are signalled.
        tasks: Those that are known, by id, with what they were told (`stdin`, `signals`, `size`).
        calls: Names of the methods called, in order.
    """

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {}
        self.tasks: dict[str, _FakeTask] = {}
        self.calls: list[str] = []
        self._pending: dict[str, list[FakeAttachment]] = {}
        self._exits: asyncio.Queue[Exit | None] = asyncio.Queue()
        self._failures: dict[str, deque[PinnaceError]] = {}
        self._next_pid = _FIRST_PID

    def fail_next(self, method: str, error: PinnaceError) -> None:
        """Make the next call of `method` fail, once."""
        self._failures.setdefault(method, deque()).append(error)

    def write(self, task_id: str, stream: int, data: bytes) -> None:
        """Have a task write output."""
        self.tasks[task_id].write(stream, data)

    def end(self, task_id: str, code: int = 0, *, oom_killed: bool = False) -> None:
        """Have a task end."""
        self.tasks[task_id].end(code, oom_killed=oom_killed)

    def announce(self, ended: Exit) -> None:
        """Tell of an exit."""
        self._exits.put_nowait(ended)

    async def connect(self) -> Sequence[TaskStatus]:
        """See `Monitor.connect`."""
        self._enter("connect")
        return [
            TaskStatus(task.spec.id, task.pid, task.exit, task.started)
            for task in self.tasks.values()
        ]

    async def create(self, spec: TaskSpec) -> int:
        """See `Monitor.create`."""
        self._enter("create")
        if spec.id in self.tasks:
            raise AlreadyExists(f"task {spec.id} exists")
        program = self.programs.get(spec.id, Program())
        if program.failure is not None:
            raise RuntimeFailure(program.failure)
        self._next_pid += 1
        task = _FakeTask(self, spec, program, self._next_pid, size=spec.console_size)
        self.tasks[spec.id] = task
        for client in self._pending.pop(spec.id, []):
            client.join(task)
        if spec.start_fifo is None:
            asyncio.get_running_loop().call_soon(task.run)
        return task.pid

    async def start(self, task_id: str) -> None:
        """See `Monitor.start`."""
        self._enter("start")
        task = self._task(task_id)
        if task.exit is not None:
            raise RuntimeFailure("the container ended before it was started")
        if not task.started:
            task.started = True
            asyncio.get_running_loop().call_soon(task.run)

    async def signal(self, task_id: str, signal: int) -> None:
        """See `Monitor.signal`."""
        self._enter("signal")
        task = self._task(task_id)
        if task.exit is not None:
            raise NotFound(f"task {task_id} has ended")
        task.signals.append(signal)
        if signal in (signals.SIGKILL, signals.SIGTERM, signals.SIGINT):
            task.end(128 + signal)

    async def resize(self, task_id: str, *, height: int, width: int) -> None:
        """See `Monitor.resize`."""
        self._enter("resize")
        task = self._task(task_id)
        if not task.spec.terminal:
            raise InvalidParameter(f"task {task_id} has no terminal")
        if task.exit is not None:
            raise NotFound(f"task {task_id} has ended")
        task.size = (height, width)

    async def attach(
        self, task_id: str, client: int, sink: Sink, *, pending: bool = False
    ) -> FakeAttachment:
        """See `Monitor.attach`."""
        self._enter("attach")
        task = self.tasks.get(task_id)
        if task is None and not pending:
            raise NotFound(f"no task {task_id}")
        attachment = FakeAttachment(client, sink)
        if task is None:
            self._pending.setdefault(task_id, []).append(attachment)
        else:
            attachment.join(task)
        return attachment

    async def watch(self, task_id: str) -> int:
        """See `Monitor.watch`."""
        self._enter("watch")
        task = self._task(task_id)
        theirs, ours = socket.socketpair()
        ours.settimeout(0)
        if task.exit is None:
            task.watchers.append(ours)
        else:
            ours.close()
        return theirs.detach()

    async def forget(self, task_id: str, *, kill: bool = False) -> None:
        """See `Monitor.forget`."""
        self._enter("forget")
        for client in self._pending.pop(task_id, []):
            client.end("gone")
        task = self.tasks.get(task_id)
        if task is None:
            return
        if task.exit is None and task.started and not kill:
            raise Conflict(f"task {task_id} is running")
        del self.tasks[task_id]
        task.close()

    async def exits(self) -> AsyncIterator[Exit]:
        """See `Monitor.exits`."""
        while (ended := await self._exits.get()) is not None:
            task = self.tasks.get(ended.id)
            if task is not None and task.exit == ended:  # else it was forgotten meanwhile
                yield ended

    async def close(self) -> None:
        """See `Monitor.close`."""
        self._enter("close")
        self._exits.put_nowait(None)

    def _enter(self, method: str) -> None:
        self.calls.append(method)
        if failures := self._failures.get(method):
            raise failures.popleft()

    def _task(self, task_id: str) -> _FakeTask:
        if task_id not in self.tasks:
            raise NotFound(f"no task {task_id}")
        return self.tasks[task_id]
