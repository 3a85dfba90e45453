"""The daemon's side of the supervisor: starts it, speaks to it, and outlives its crashes."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pinnace
from pinnace.contracts.monitor import Exit, Sink, TaskSpec, TaskStatus
from pinnace.errors import (
    AlreadyExists,
    Conflict,
    Internal,
    InvalidParameter,
    NotFound,
    NotSupported,
    PinnaceError,
    RuntimeFailure,
    Unavailable,
)
from pinnace.host import process
from pinnace.host.runtime.task_messages import KnownTask, exit_of, sink_message, spec_message
from pinnace.supervisor.protocol import (
    SOCKET_NAME,
    VERSION,
    Channel,
    Message,
    ProtocolError,
    close_all,
    number,
    text,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

log = logging.getLogger(__name__)

_START_DEADLINE_S = 20.0
_START_TRIES = 5
_REVIVAL_PAUSE_S, _REVIVAL_PAUSE_MAX_S = 0.05, 5.0
_CALL_TRIES, _CALL_PAUSE_S = 10, 0.02
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from pinnace.supervisor.main import start; sys.exit(start(sys.argv[2]))"
)
_KINDS: dict[str, type[PinnaceError]] = {
    kind.__name__: kind
    for kind in (
        AlreadyExists,
        Conflict,
        Internal,
        InvalidParameter,
        NotFound,
        NotSupported,
        RuntimeFailure,
        Unavailable,
    )
}


class SupervisorAttachment:
    """A client the supervisor serves; implements `contracts.monitor.Attachment`."""

    def __init__(self, monitor: SupervisorMonitor, key: int, how: asyncio.Future[str]) -> None:
        self._monitor = monitor
        self._key = key
        self._how = how

    async def ended(self) -> str:
        """See `Attachment.ended`."""
        return await asyncio.shield(self._how)

    async def cancel(self) -> None:
        """See `Attachment.cancel`."""
        if not self._how.done():
            await self._monitor.detach(self._key)


class SupervisorMonitor:
    """Implements `contracts.monitor.Monitor` with one resident process per exec root.

    Args:
        exec_root: Directory of the supervisor's socket, lock and log; made when missing, 0711.
        python: Interpreter of the supervisor.
    """

    def __init__(self, exec_root: Path, *, python: str = sys.executable) -> None:
        self._exec_root = exec_root
        self._python = python
        self._channel: Channel | None = None
        self._ready = asyncio.Event()
        self._closed = False
        self._superseded = False
        self._numbers = 0
        self._calls: dict[int, asyncio.Future[tuple[Message, list[int]]]] = {}
        self._attachments: dict[int, asyncio.Future[str]] = {}
        self._unsent: dict[str, asyncio.Event] = {}  # creates that wait for a supervisor
        self._tasks: dict[str, KnownTask] = {}
        self._exits: asyncio.Queue[Exit | None] = asyncio.Queue()
        self._told: set[tuple[str, int]] = set()
        self._revival: asyncio.Task[None] | None = None
        self.supervisor_pid = 0

    async def connect(self) -> Sequence[TaskStatus]:
        """See `Monitor.connect`."""
        if self._channel is None:
            await self._open()
            self._ready.set()
        return [
            TaskStatus(task.id, task.pid, task.exit, task.started) for task in self._tasks.values()
        ]

    async def create(self, spec: TaskSpec) -> int:
        """See `Monitor.create`."""
        sent = self._unsent[spec.id] = asyncio.Event()
        try:
            await self._ready.wait()
            self._unsent.pop(spec.id)
            sent.set()  # whoever waits goes on after the message has gone, in this very step
            state, _ = await self._send_call({"op": "create", "spec": spec_message(spec)}, ())
        finally:
            if self._unsent.get(spec.id) is sent:
                del self._unsent[spec.id]
            sent.set()
        return number(state, "pid")

    async def start(self, task_id: str) -> None:
        """See `Monitor.start`."""
        creating = self._unsent.get(task_id)
        if creating is not None:
            await creating.wait()
        await self._call_again({"op": "start", "task": task_id})
        task = self._tasks.get(task_id)
        if task is not None:
            task.started = True

    async def signal(self, task_id: str, signal: int) -> None:
        """See `Monitor.signal`."""
        await self._call_again({"op": "signal", "task": task_id, "signal": signal})

    async def resize(self, task_id: str, *, height: int, width: int) -> None:
        """See `Monitor.resize`."""
        message: Message = {"op": "resize", "task": task_id, "height": height, "width": width}
        await self._call_again(message)

    async def attach(
        self, task_id: str, client: int, sink: Sink, *, pending: bool = False
    ) -> SupervisorAttachment:
        """See `Monitor.attach`."""
        key, attachment = self._new_attachment()
        message: Message = {
            "op": "attach",
            "task": task_id,
            "pending": pending,
            "attachment": key,
            "sink": sink_message(sink),
        }
        try:
            await self._call(message, (client,))
        except asyncio.CancelledError:
            self._post({"op": "detach", "attachment": key})
            raise
        except PinnaceError:
            self._attachments.pop(key, None)
            raise
        return attachment

    async def detach(self, key: int) -> None:
        """End an attachment by its number; unknown ones are ended already."""
        if key in self._attachments:
            await self._call({"op": "detach", "attachment": key})

    async def watch(self, task_id: str) -> int:
        """See `Monitor.watch`."""
        _, fds = await self._call_again({"op": "watch", "task": task_id})
        return fds[0]

    async def forget(self, task_id: str, *, kill: bool = False) -> None:
        """See `Monitor.forget`."""
        await self._call_again({"op": "forget", "task": task_id, "kill": kill})
        task = self._tasks.pop(task_id, None)
        if task is not None:
            task.drop()
            if task.exit is not None:
                self._told.discard((task_id, task.exit.finished_ns))

    async def exits(self) -> AsyncIterator[Exit]:
        """See `Monitor.exits`."""
        while (ended := await self._exits.get()) is not None:
            if (ended.id, ended.finished_ns) in self._told:  # else it was forgotten meanwhile
                yield ended

    async def close(self) -> None:
        """See `Monitor.close`."""
        self._closed = True
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.gather(self._revival, return_exceptions=True)
        self._drop_channel("the daemon lets go of the supervisor")
        self._ready.set()
        for task in self._tasks.values():
            task.drop()
        self._tasks.clear()
        self._exits.put_nowait(None)

    async def _open(self) -> None:
        """Connect, starting the supervisor when there is none."""
        for _ in range(_START_TRIES):
            sock = self._try_connect()
            if sock is None:
                await self._start_program()
                sock = self._try_connect()
            if sock is not None:
                await self._greet(sock)
                return
        raise Unavailable("the supervisor does not listen")

    def _try_connect(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        directory = (
            os.open(self._exec_root, os.O_PATH | os.O_DIRECTORY)
            if (self._exec_root.is_dir())
            else -1
        )
        try:
            # by descriptor: the path may be longer than a socket address holds
            sock.connect(f"/proc/self/fd/{directory}/{SOCKET_NAME}")
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        finally:
            if directory >= 0:
                os.close(directory)
        return sock

    async def _start_program(self) -> None:
        self._exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
        source = str(Path(pinnace.__file__).parent.parent)
        ended = await process.run(
            [self._python, "-I", "-S", "-c", _PROGRAM, source, str(self._exec_root)],
            timeout_s=_START_DEADLINE_S,
        )
        if ended.returncode != 0:
            said = ended.stderr.decode("utf-8", "replace").strip()
            raise Unavailable(f"the supervisor cannot be started: {said}")

    async def _greet(self, sock: socket.socket) -> None:
        channel = Channel(sock)
        self._channel = channel
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable, channel)
        answer, _ = await self._send_call({"op": "hello", "version": VERSION}, ())
        self.supervisor_pid = number(answer, "pid")

    async def _call(self, message: Message, fds: Sequence[int] = ()) -> tuple[Message, list[int]]:
        """Make a request and return its answer; waits while the supervisor is being restarted."""
        await self._ready.wait()
        return await self._send_call(message, fds)

    async def _call_again(
        self, message: Message, fds: Sequence[int] = ()
    ) -> tuple[Message, list[int]]:
        """Make a request that may be repeated when the supervisor dies under it."""
        for _ in range(_CALL_TRIES):
            try:
                return await self._call(message, fds)
            except Unavailable:
                if self._closed:
                    raise
            await asyncio.sleep(_CALL_PAUSE_S)
        return await self._call(message, fds)

    async def _send_call(self, message: Message, fds: Sequence[int]) -> tuple[Message, list[int]]:
        channel = self._channel
        if channel is None:
            raise Unavailable("there is no connection to the supervisor")
        self._numbers += 1
        request = self._numbers
        future: asyncio.Future[tuple[Message, list[int]]]
        future = asyncio.get_running_loop().create_future()
        self._calls[request] = future
        try:
            channel.send(message | {"request": request}, fds)
            self._update_writer(channel)
            return await future
        except ProtocolError as exc:
            raise InvalidParameter(str(exc)) from exc
        except OSError as exc:
            raise Unavailable(f"the supervisor cannot be reached: {exc.strerror}") from exc
        finally:
            self._calls.pop(request, None)

    def _post(self, message: Message) -> None:
        """Send a request nobody waits for."""
        if self._channel is not None:
            self._numbers += 1
            self._channel.send(message | {"request": self._numbers})

    def _new_attachment(self) -> tuple[int, SupervisorAttachment]:
        self._numbers += 1
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._attachments[self._numbers] = future
        return self._numbers, SupervisorAttachment(self, self._numbers, future)

    def _update_writer(self, channel: Channel) -> None:
        loop = asyncio.get_running_loop()
        if channel.wants_write:
            loop.add_writer(channel.sock.fileno(), self._writable, channel)
        else:
            loop.remove_writer(channel.sock.fileno())

    def _writable(self, channel: Channel) -> None:
        try:
            channel.flush()
        except OSError:
            return  # the reader learns that the peer is gone
        self._update_writer(channel)

    def _readable(self, channel: Channel) -> None:
        """Take every message that is there."""
        while self._channel is channel:
            try:
                received = channel.receive()
            except BlockingIOError:
                return
            except ProtocolError:
                log.exception("bad message from the supervisor")
                continue
            if received is None:
                self._lost()
                return
            self._take(*received)

    def _take(self, message: Message, fds: list[int]) -> None:
        request = message.get("answer")
        if not isinstance(request, int):
            self._take_event(message, fds)
            return
        if "spec" in message:  # a task was made; known before the news of its exit is read
            self._know(KnownTask(message, fds))
            fds = []
        future = self._calls.get(request)
        if future is None or future.done():
            close_all(fds)  # the caller was cancelled
            return
        if "error" in message:
            kind = _KINDS.get(text(message, "error"), Internal)
            future.set_exception(kind(text(message, "message", "")))
        else:
            future.set_result((message, fds))

    def _take_event(self, message: Message, fds: list[int]) -> None:
        match message.get("event"):
            case "task":
                self._take_task(KnownTask(message, fds))
            case "exit":
                self._take_exit(exit_of(message))
            case "ended":
                future = self._attachments.pop(number(message, "attachment"), None)
                if future is not None and not future.done():
                    future.set_result(text(message, "how"))
            case "stdin_closed":
                task = self._tasks.get(text(message, "task"))
                if task is not None:
                    task.stdin_closed = True
                    task.drop("stdin")
            case "warning":
                log.warning("%s", text(message, "message"), extra={"task": message.get("task")})
            case "superseded":
                self._superseded = True
                log.warning("another daemon took the supervisor over")
            case _:
                close_all(fds)

    def _take_task(self, task: KnownTask) -> None:
        self._know(task)
        if task.exit is not None:
            self._take_exit(task.exit)

    def _know(self, task: KnownTask) -> None:
        stale = self._tasks.pop(task.id, None)
        if stale is not None:
            stale.drop()
        self._tasks[task.id] = task

    def _take_exit(self, ended: Exit) -> None:
        task = self._tasks.get(ended.id)
        if task is not None:
            task.exit = ended
            task.drop()
        key = (ended.id, ended.finished_ns)
        if key not in self._told:
            self._told.add(key)
            self._exits.put_nowait(ended)

    def _lost(self) -> None:
        """The supervisor's end of the connection is gone."""
        self._ready.clear()
        self._drop_channel("the supervisor ended during the call")
        if self._superseded:
            self._closed = True
            self._ready.set()
            self._exits.put_nowait(None)
        if not self._closed:
            log.error("the supervisor is gone; starting another")
            if self._revival is not None and not self._revival.done():
                return  # it was the new one; the revival under way learns of it from its calls
            self._revival = asyncio.get_running_loop().create_task(
                self._revive(), name="supervisor revival"
            )

    async def _revive(self) -> None:
        """Start a new supervisor and hand it the tasks that run; as often as it takes."""
        pause_s = _REVIVAL_PAUSE_S
        while not self._closed:
            try:
                await self._reopen()
                if self._channel is not None:  # else it died after its last answer
                    break
            except PinnaceError:
                log.exception("the supervisor cannot be replaced; tasks run on unattended")
                self._drop_channel("the supervisor ended during the call")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _REVIVAL_PAUSE_MAX_S)
        self._ready.set()

    async def _reopen(self) -> None:
        known, self._tasks = self._tasks, {}
        try:
            await self._open()
        finally:
            orphans = [task for task in known.values() if task.id not in self._tasks]
            for task in known.values():
                if task.id in self._tasks:
                    task.drop()  # the supervisor has told of it, with descriptors
            self._tasks |= {task.id: task for task in orphans}
        for task in orphans:
            await self._hand_over(task)

    async def _hand_over(self, task: KnownTask) -> None:
        message: Message = {
            "op": "adopt",
            "spec": task.spec,
            "pid": task.pid,
            "started": task.started,
            "stdin_closed": task.stdin_closed,
            "exit": None if task.exit is None else dataclasses.asdict(task.exit),
            "fds": list(task.fds),
        }
        await self._send_call(message, list(task.fds.values()))

    def _drop_channel(self, why: str) -> None:
        """Close the connection; calls under way fail, attachments are gone."""
        channel, self._channel = self._channel, None
        if channel is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(channel.sock.fileno())
            loop.remove_writer(channel.sock.fileno())
            channel.close()
        for call in self._calls.values():
            if not call.done():
                call.set_exception(Unavailable(why))
        self._calls.clear()
        for attachment in self._attachments.values():
            if not attachment.done():
                attachment.set_result("gone")
        self._attachments.clear()
