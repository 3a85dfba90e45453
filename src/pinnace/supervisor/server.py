"""Serves the daemon: requests come over one connection, the newest wins; tasks outlive it."""

from __future__ import annotations

import os
import socket
import struct

from pinnace.supervisor.clients import GONE, Client
from pinnace.supervisor.loop import READ, WRITE, Loop
from pinnace.supervisor.protocol import (
    VERSION,
    Channel,
    Message,
    ProtocolError,
    close_all,
    flag,
    nested,
    number,
    text,
    texts,
)
from pinnace.supervisor.runtime import Streams
from pinnace.supervisor.spec import SinkOptions, Spec
from pinnace.supervisor.task import Refused, Surroundings, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pinnace.supervisor.reaper import Reaper

GRACE_S = 10.0  # how long an idle supervisor waits for a daemon
HELLO_WAIT_S = 5.0  # how long a daemon waits for what the one before had begun to make

Answer = Message | None  # None: the answer follows later


class Server:
    """The requests the daemon may make, and the tasks they are about."""

    def __init__(
        self,
        loop: Loop,
        reaper: Reaper,
        listener: socket.socket,
        *,
        directory: str,
        null: int,
        report: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._report = report
        self._channel: Channel | None = None
        self._tasks: dict[str, Task] = {}
        self._pending: dict[str, list[Client]] = {}
        self._attachments: dict[int, Client] = {}
        self._launching: set[str] = set()
        self._greeting: tuple[Channel, int] | None = None
        self._around = Surroundings(
            loop, reaper, directory=directory, null=null, report=report, emit=self._emit
        )
        self._operations: dict[str, Callable[[Message, list[int]], Answer]] = {
            "hello": self._hello,
            "create": self._create,
            "adopt": self._adopt,
            "start": self._start,
            "signal": self._signal,
            "resize": self._resize,
            "attach": self._attach,
            "detach": self._detach,
            "watch": self._watch,
            "forget": self._forget,
        }
        loop.watch(listener.fileno(), READ, self._accept)
        loop.call_later(GRACE_S, self._end_if_idle)

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] != os.getuid():
            sock.close()
            return
        if self._channel is not None:
            self._emit({"event": "superseded"})
            self._disconnect()
        self._channel = Channel(sock)
        self._attachments = {}  # those of the daemon before are still served, but nobody is told
        self._loop.watch(sock.fileno(), READ, self._ready)

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._loop.unwatch(self._channel.sock.fileno())
            self._channel.close()
            self._channel = None
            for clients in list(self._pending.values()):
                for client in list(clients):  # nobody is left who would make their task
                    client.end(GONE)
            self._pending.clear()
            for task in self._tasks.values():
                task.stay_put()
            self._loop.call_later(GRACE_S, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self._channel is None and not self._tasks:
            self._loop.running = False

    def _ready(self, events: int) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            if events & WRITE:
                channel.flush()
                self._update()
            received = channel.receive()
        except BlockingIOError:
            return
        except ProtocolError as exc:
            self._report(f"bad message: {exc}")
            return
        except OSError as exc:
            self._report(f"connection: {exc}")
            received = None
        if received is None:
            self._disconnect()
            return
        self._serve(*received)

    def _serve(self, message: Message, fds: list[int]) -> None:
        """Carry out one request; descriptors it does not take are closed."""
        try:
            request = number(message, "request")
            answer = self._operation(message)(message, fds)
            if answer is not None:
                self._answer(request, answer)
        except Refused as exc:
            self._refuse(number(message, "request", 0), exc.kind, str(exc))
        except (ProtocolError, OSError, ValueError) as exc:
            self._refuse(number(message, "request", 0), "Internal", str(exc))
        finally:
            close_all(fds)

    def _operation(self, message: Message) -> Callable[[Message, list[int]], Answer]:
        operation = self._operations.get(text(message, "op"))
        if operation is None:
            raise Refused("NotSupported", f"no operation {text(message, 'op')}")
        return operation

    def _answer(self, request: int, answer: Message, fds: list[int] | None = None) -> None:
        self._emit({"answer": request, **answer}, fds)

    def _refuse(self, request: int, kind: str, message: str) -> None:
        self._emit({"answer": request, "error": kind, "message": message})

    def _emit(self, message: Message, fds: list[int] | None = None) -> None:
        """Tell the daemon; what it must not miss is told again when it connects."""
        if self._channel is None:
            return
        try:
            self._channel.send(message, fds or ())
        except OSError as exc:
            self._report(f"connection lost: {exc}")
            self._disconnect()
            return
        self._update()

    def _update(self) -> None:
        if self._channel is not None:
            events = READ | (WRITE if self._channel.wants_write else 0)
            self._loop.change(self._channel.sock.fileno(), events)

    def _hello(self, message: Message, _fds: list[int]) -> Answer:
        if number(message, "version") != VERSION:
            raise Refused("Unavailable", f"this supervisor speaks protocol version {VERSION}")
        if self._channel is not None:
            self._greeting = (self._channel, number(message, "request"))
            self._loop.call_later(HELLO_WAIT_S, self._stop_waiting)
            self._greet()
        return None

    def _stop_waiting(self) -> None:
        """Greet without what takes too long to make."""
        if self._greeting is not None:
            self._launching.clear()
            self._greet()

    def _greet(self) -> None:
        """Answer a daemon's hello, once all that its predecessor had begun to make is known."""
        if self._greeting is None or self._launching:
            return
        (channel, request), self._greeting = self._greeting, None
        if channel is not self._channel:
            return
        for task in self._tasks.values():
            if task.is_ready:
                state, fds = task.describe()
                self._emit({"event": "task", **state}, fds)
        self._answer(request, {"pid": os.getpid(), "version": VERSION})

    def _create(self, message: Message, _fds: list[int]) -> Answer:
        request = number(message, "request")
        spec = Spec(nested(message, "spec"))
        if spec.id in self._tasks:
            raise Refused("AlreadyExists", f"task {spec.id} exists")
        task = Task(self._around, spec)
        self._tasks[spec.id] = task
        asker = self._channel

        def done(failure: str) -> None:
            if failure:
                del self._tasks[spec.id]
            if self._channel is not asker:  # its number means nothing to another daemon
                self._made_for_nobody(task, failure)
            elif failure:
                self._refuse(request, "RuntimeFailure", failure)
            else:
                state, descriptors = task.describe()
                self._answer(request, state, descriptors)
            self._launching.discard(spec.id)
            self._greet()

        try:
            task.launch(lambda: self._pending.pop(spec.id, []), done)
        except OSError as exc:
            del self._tasks[spec.id]
            raise Refused("RuntimeFailure", str(exc)) from exc
        if not task.is_ready and spec.log is not None:
            self._launching.add(spec.id)
        return None

    def _made_for_nobody(self, task: Task, failure: str) -> None:
        """Deal with a task whose daemon has gone while the runtime made it.

        An exec runs on. A container is told of with the answer to the next daemon's hello; one
        that came too late for that is ended, since nobody knows where its network is.
        """
        if failure or task.spec.id in self._launching or self._channel is None:
            return
        if task.spec.log is None:
            state, descriptors = task.describe()
            self._emit({"event": "task", **state}, descriptors)
        else:

            def ended() -> None:
                self._tasks.pop(task.spec.id, None)

            task.forget(ended, kill=True)

    def _adopt(self, message: Message, fds: list[int]) -> Answer:
        spec = Spec(nested(message, "spec"))
        if spec.id in self._tasks:
            raise Refused("AlreadyExists", f"task {spec.id} exists")
        named = dict(zip(texts(message, "fds"), fds, strict=False))
        fds.clear()
        task = Task(self._around, spec)
        self._tasks[spec.id] = task
        streams = Streams(
            stdin=named.get("stdin", -1),
            stdout=named.get("stdout", -1),
            stderr=named.get("stderr", -1),
            master=named.get("master", -1),
        )
        try:
            task.adopt(message, streams, named.get("pidfd", -1))
        except OSError:
            del self._tasks[spec.id]
            raise
        return {}

    def _start(self, message: Message, _fds: list[int]) -> Answer:
        request, asker = number(message, "request"), self._channel

        def done(failure: str) -> None:
            if self._channel is not asker:
                return
            if failure:
                self._refuse(request, "RuntimeFailure", failure)
            else:
                self._answer(request, {})

        task = self._tasks.get(text(message, "task"))
        if task is None:
            raise Refused("NotFound", f"no task {text(message, 'task')}")
        task.start(done)
        return None

    def _signal(self, message: Message, _fds: list[int]) -> Answer:
        self._task(message).signal(number(message, "signal"))
        return {}

    def _resize(self, message: Message, _fds: list[int]) -> Answer:
        self._task(message).resize(number(message, "height"), number(message, "width"))
        return {}

    def _attach(self, message: Message, fds: list[int]) -> Answer:
        task_id = text(message, "task")
        task = self._tasks.get(task_id)
        if (task is None or not task.is_ready) and not flag(message, "pending"):
            raise Refused("NotFound", f"no task {task_id}")
        client = self._client(task_id, message, fds.pop(0))
        if task is not None and task.is_ready:
            # the answer must come before the news of an end
            self._answer(number(message, "request"), {})
            task.add(client)
            return None
        self._pending.setdefault(task_id, []).append(client)
        return {}

    def _client(self, task_id: str, message: Message, fd: int) -> Client:
        """Make a client; its end is told under the number the daemon chose."""
        options = SinkOptions(nested(message, "sink"))
        attachment = number(message, "attachment")
        attachments = self._attachments

        def ended(how: str) -> None:
            waiting = self._pending.get(task_id)
            if waiting is not None and client in waiting:
                waiting.remove(client)
            task = self._tasks.get(task_id)
            if task is not None:
                task.remove(client)
            if attachments.pop(attachment, None) is not None and attachments is self._attachments:
                self._emit({"event": "ended", "attachment": attachment, "how": how})

        client = Client(self._loop, fd, options, ended)
        attachments[attachment] = client
        return client

    def _detach(self, message: Message, _fds: list[int]) -> Answer:
        client = self._attachments.get(number(message, "attachment"))
        if client is not None:
            client.end(GONE)
        return {}

    def _watch(self, message: Message, _fds: list[int]) -> Answer:
        task = self._task(message)
        theirs, ours = socket.socketpair()
        ours.settimeout(0)
        with theirs:
            self._answer(number(message, "request"), {}, [theirs.fileno()])
        task.watch(ours.detach())
        return None

    def _forget(self, message: Message, _fds: list[int]) -> Answer:
        request, asker = number(message, "request"), self._channel
        task_id = text(message, "task")
        for client in self._pending.pop(task_id, []):
            client.end(GONE)
        task = self._tasks.get(task_id)
        if task is None:
            return {}

        def done() -> None:
            self._tasks.pop(task_id, None)
            if self._channel is asker:
                self._answer(request, {})

        task.forget(done, kill=flag(message, "kill"))
        return None

    def _task(self, message: Message) -> Task:
        task_id = text(message, "task")
        task = self._tasks.get(task_id)
        if task is None or not task.is_ready:
            raise Refused("NotFound", f"no task {task_id}")
        return task
