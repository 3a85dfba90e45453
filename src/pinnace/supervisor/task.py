"""A task: a process the runtime made, its streams, its clients, and its end."""

from __future__ import annotations

import errno
import os
import signal

from pinnace.supervisor.ending import kill_cgroup, oom_killed, read_record, write_record
from pinnace.supervisor.logs import STDERR, STDOUT
from pinnace.supervisor.logwriter import now_ns
from pinnace.supervisor.loop import READ, Loop
from pinnace.supervisor.outputs import LiveOutput, LoggedOutput, Output, Source, set_size
from pinnace.supervisor.protocol import Message, nested, number, text
from pinnace.supervisor.reaper import LOST_CODE, Reaper, code_of, status_by_pidfd
from pinnace.supervisor.runtime import Launch, Streams, spawn
from pinnace.supervisor.spare import SpareShell
from pinnace.supervisor.taskinput import TaskInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinnace.supervisor.clients import Client
    from pinnace.supervisor.spec import Spec

# How long descendants that keep the output open are listened to after the main process ended.
LINGER_S = 0.5
_FIFO_RETRY_S = 0.001
_BEING_STARTED = ".starting"
_FIFO_DEADLINE_S = 10.0


class Refused(Exception):
    """A request that cannot be served; `kind` names an error class of the daemon."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Surroundings:
    """What tasks share.

    Attributes:
        loop: Readiness and timers.
        reaper: Exit statuses of children.
        null: /dev/null.
        spare: A shell to start the next runtime from.
        report: Writes a line to the supervisor's log.
        emit: Tells the daemon something, if one is connected.
    """

    def __init__(
        self,
        loop: Loop,
        reaper: Reaper,
        *,
        directory: str,
        null: int,
        report: Callable[[str], None],
        emit: Callable[[Message], None],
    ) -> None:
        self.loop = loop
        self.reaper = reaper
        self.null = null
        self.spare = SpareShell(loop, reaper, null=null, name=directory, spawn=spawn)
        self.report = report
        self.emit = emit
        self._directory = directory
        self._consoles = 0

    def console_path(self) -> str:
        """Return a fresh, short path for a console socket."""
        self._consoles += 1
        return f"{self._directory}/c{self._consoles}"


class Task:
    """A process with its streams. Made by `launch` or `adopt`."""

    def __init__(self, around: Surroundings, spec: Spec) -> None:
        self._around = around
        self.spec = spec
        self.pid = 0
        self.pidfd = -1
        self.started = False
        self.exit: Message | None = None
        self.stdin_closed = False
        self._input: TaskInput | None = None
        self._output: Output | None = None
        self._early: Output | None = None
        self._wanted_start: Callable[[str], None] | None = None
        self._master = -1
        self._over = False
        self._adopted = False
        self._dropped: Callable[[], None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the runtime has made the process."""
        return self._output is not None

    def launch(self, clients: Callable[[], Sequence[Client]], done: Callable[[str], None]) -> None:
        """Run the runtime; `done` gets an empty string, or why it failed.

        Args:
            clients: Gives those who wait for the task; called when its process is there, and
                before its first byte is read.
            done: Called before an exit of the process is announced.
        """

        def made(pid: int, streams: Streams | None, message: str) -> None:
            failure = self._made(pid, streams, message, clients)
            done(failure)
            if not failure:
                self._await_end()
            self._start_if_wanted(failure)

        Launch(
            self._around.loop,
            self._around.reaper,
            self.spec,
            console_path=self._around.console_path(),
            null=self._around.null,
            spare=self._around.spare,
            done=made,
        )
        self._open_log_early()

    def _made(
        self,
        pid: int,
        streams: Streams | None,
        message: str,
        clients: Callable[[], Sequence[Client]],
    ) -> str:
        """Take over what the runtime made; return an empty string, or why there is nothing."""
        if streams is None:
            if self._early is not None:
                self._early.close()
            return message
        try:
            self._take(pid, streams, clients())
        except OSError as exc:
            os.kill(pid, signal.SIGKILL)
            streams.close()
            return f"cannot keep the output: {exc}"
        self.started = self.spec.start_fifo is None
        return ""

    def _open_log_early(self) -> None:
        """Open the log while the runtime works; a failure is told when the log is needed."""
        try:
            self._early = self._make_output()
        except OSError:
            self._early = None

    def adopt(self, state: Message, streams: Streams, pidfd: int) -> None:
        """Take over a task of a supervisor that died; we are not its parent."""
        self._adopted = True
        self.stdin_closed = bool(state.get("stdin_closed"))
        self.started = bool(state.get("started"))
        self._take(number(state, "pid"), streams, (), pidfd=pidfd)
        if state.get("exit"):
            self.exit = nested(state, "exit")
            self._finish()
            return
        self._await_end()

    def describe(self) -> tuple[Message, list[int]]:
        """Return what a daemon needs to know, and the descriptors it holds for us."""
        named: dict[str, int] = {}
        if self.exit is None and self._output is not None:
            if self._input is not None and not self._input.closed and self._master < 0:
                named["stdin"] = self._input.fd
            for source in self._output.sources:
                if not source.closed:
                    name = "stdout" if source.stream == STDOUT else "stderr"
                    named["master" if source.terminal else name] = source.fd
            if self.pidfd >= 0:
                named["pidfd"] = self.pidfd
        message: Message = {
            "spec": self.spec.raw,
            "pid": self.pid,
            "exit": self.exit,
            "started": self.started,
            "stdin_closed": self.stdin_closed,
            "fds": list(named),
        }
        return message, list(named.values())

    def add(self, client: Client) -> None:
        """Serve a client, from now on or from the log."""
        output = self._output
        assert output is not None  # noqa: S101 - the server holds clients back until is_ready
        client.input_ended = self._client_input_ended
        output.add(client)
        client.accept_input(self._input)
        if self._over:
            client.finish()

    def remove(self, client: Client) -> None:
        """Forget a client that has ended."""
        if client.options.stdin:  # it left while it could still type
            client.options.stdin = False
            self._client_input_ended()
        if self._output is not None:
            self._output.remove(client)

    def watch(self, fd: int) -> None:
        """Write a byte to a socket whenever output came; close it when the output is over."""
        if self._over or self._output is None:
            os.close(fd)
        else:
            self._output.watchers.append(fd)

    def start(self, done: Callable[[str], None]) -> None:
        """Let the created process run its command; `done` gets "" or what is wrong.

        While the runtime is still making the process, that waits for it.
        """
        if not self.is_ready:
            self._wanted_start = done
            return
        if self.started:
            done("")
            return
        self._open_fifo(done, round(_FIFO_DEADLINE_S / _FIFO_RETRY_S))

    def stay_put(self) -> None:
        """Forget a start that has not come about yet: who wanted it has gone."""
        self._wanted_start = None

    def signal(self, value: int) -> None:
        """Send a signal to the main process; raise Refused when it has ended."""
        if self.exit is not None or self.pidfd < 0:
            raise Refused("NotFound", f"task {self.spec.id} has ended")
        try:
            signal.pidfd_send_signal(self.pidfd, value)
        except ProcessLookupError as exc:
            raise Refused("NotFound", f"task {self.spec.id} has ended") from exc
        except OSError as exc:
            raise Refused("InvalidParameter", f"signal {value}: {exc.strerror}") from exc

    def resize(self, height: int, width: int) -> None:
        """Set the terminal's size; raise Refused when there is none."""
        if not self.spec.terminal:
            raise Refused("InvalidParameter", f"task {self.spec.id} has no terminal")
        terminals = [s.fd for s in self._sources() if s.terminal and not s.closed]
        if self.exit is not None or not terminals:
            raise Refused("NotFound", f"task {self.spec.id} has ended")
        try:
            set_size(terminals[0], height & 0xFFFF, width & 0xFFFF)
        except OSError as exc:
            raise Refused("NotFound", f"terminal of {self.spec.id}: {exc.strerror}") from exc

    def forget(self, done: Callable[[], None], *, kill: bool) -> None:
        """Let go of an ended task; one that never started is killed first, without a word.

        So is a running one with `kill`.
        """
        if self.exit is None:
            if self.started and not kill:
                raise Refused("Conflict", f"task {self.spec.id} is running")
            self._dropped = done
            try:
                self.signal(signal.SIGKILL)
            except Refused:
                return  # it has just ended; the news is on its way
            return
        if isinstance(self._output, LoggedOutput):
            # the log may be removed now, or taken over by the next run
            self._output.unbound()
            self._close_sources()
        done()

    def _take(
        self, pid: int, streams: Streams, clients: Sequence[Client], *, pidfd: int = -1
    ) -> None:
        """Begin to serve the process's streams."""
        output, self._early = self._early or self._make_output(), None
        self.pid = pid
        self.pidfd = pidfd if pidfd >= 0 else self._open_pidfd(pid)
        self._master = streams.master
        self._output = output
        if streams.master >= 0:
            if self.spec.open_stdin:
                duplicate = os.dup(streams.master)
                self._input = TaskInput(self._around.loop, duplicate, terminal=True)
        elif streams.stdin >= 0:
            self._input = TaskInput(self._around.loop, streams.stdin, terminal=False)
        for client in clients:
            self.add(client)
        for fd, stream in (
            (streams.master, STDOUT),
            (streams.stdout, STDOUT),
            (streams.stderr, STDERR),
        ):
            if fd >= 0:
                output.sources.append(self._source(fd, stream, output))

    def _make_output(self) -> Output:
        log = self.spec.log
        if log is None or not self.spec.keeps_log:
            return LiveOutput()

        def report(what: str) -> None:
            self._around.report(f"{self.spec.id}: {what}")
            self._around.emit({"event": "warning", "task": self.spec.id, "message": what})

        return LoggedOutput(
            text(log, "directory"),
            max_size=number(log, "max_size", 0),
            max_files=number(log, "max_files", 1),
            report=report,
        )

    def _open_pidfd(self, pid: int) -> int:
        if self._around.reaper.has_ended(pid):
            return -1
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            return -1

    def _source(self, fd: int, stream: int, output: Output) -> Source:
        return Source(
            self._around.loop,
            fd,
            stream,
            output=output,
            ended=self._source_ended,
            terminal=fd == self._master,
        )

    def _open_fifo(self, done: Callable[[str], None], tries: int) -> None:
        """Write the byte the created process waits for; it may not have opened its end yet."""
        path = self.spec.start_fifo
        if self.exit is not None or path is None:
            done("the container ended before it was started")
            return
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as exc:
            if exc.errno == errno.ENOENT and self._adopted:
                _finish_start(f"{path}{_BEING_STARTED}")
                self.started = True
                done("")
                return
            if exc.errno != errno.ENXIO or tries <= 0:
                done(f"cannot start the container: {exc.strerror}")
                return
            self._around.loop.call_later(_FIFO_RETRY_S, lambda: self._open_fifo(done, tries - 1))
            return
        try:
            # Now the process reads; whoever finds the new name knows how far this has come.
            os.rename(path, f"{path}{_BEING_STARTED}")  # noqa: PTH104
            os.write(fd, b"\0")
            os.unlink(f"{path}{_BEING_STARTED}")  # noqa: PTH108
        except OSError as exc:
            done(f"cannot start the container: {exc.strerror}")
            return
        finally:
            os.close(fd)
        self.started = True
        done("")

    def _start_if_wanted(self, failure: str) -> None:
        wanted, self._wanted_start = self._wanted_start, None
        if wanted is None:
            return
        if failure:
            wanted(failure)
        else:
            self.start(wanted)

    def _client_input_ended(self) -> None:
        if self.spec.stdin_once and not self.spec.terminal:
            self._close_input()

    def _close_input(self) -> None:
        if self._input is not None and not self._input.closed:
            self.stdin_closed = True
            self._input.close()
            self._around.emit({"event": "stdin_closed", "task": self.spec.id})

    def _await_end(self) -> None:
        """Learn of the main process's end, whoever its parent is."""
        if self._around.reaper.is_ours(self.pid):
            self._around.reaper.expect(self.pid, self._reaped)
        elif self.pidfd >= 0:
            self._around.loop.watch(self.pidfd, READ, self._adopted_ended)
        else:  # somebody else waited for it before we came
            self._ended(LOST_CODE, lost=True)

    def _reaped(self, status: int) -> None:
        self._ended(code_of(status), lost=False)

    def _adopted_ended(self, _events: int) -> None:
        self._around.loop.unwatch(self.pidfd)
        recorded = read_record(self.spec.exit_file)
        if recorded is not None:  # our predecessor saw the end and could not tell any more
            self._ended(
                number(recorded, "code"), lost=False, finished_ns=recorded.get("finished_ns")
            )
            return
        status = status_by_pidfd(self.pidfd)
        if status is None:
            self._ended(LOST_CODE, lost=True)
        else:
            self._ended(code_of(status), lost=False)

    def _ended(self, code: int, *, lost: bool, finished_ns: object = None) -> None:
        """The main process has ended: take its last output, record the end, then tell."""
        finished = finished_ns if isinstance(finished_ns, int) else now_ns()
        for source in self._sources():
            source.drain()
        if self.spec.kill_cgroup:
            kill_cgroup(self.spec.kill_cgroup)
        self.exit = {
            "id": self.spec.id,
            "code": code,
            "finished_ns": finished,
            "oom_killed": oom_killed(self.spec.oom_file),
            "lost": lost,
        }
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self._dropped is None:
            try:
                write_record(self.spec.exit_file, self.exit)
            except OSError as exc:
                self._around.report(f"{self.spec.id}: exit record: {exc}")
            self._around.emit({"event": "exit", **self.exit})
        if any(not source.closed for source in self._sources()):
            self._around.loop.call_later(LINGER_S, self._linger)
        else:
            self._finish()
        if self._dropped is not None:
            self._close_sources()
            self._dropped()

    def _linger(self) -> None:
        """Close output that descendants of the ended process keep open, once it is taken."""
        for source in self._sources():
            source.drain()
        if any(source.paused and not source.closed for source in self._sources()):
            self._around.loop.call_later(LINGER_S, self._linger)
            return
        self._close_sources()

    def _sources(self) -> list[Source]:
        return list(self._output.sources) if self._output is not None else []

    def _close_sources(self) -> None:
        for source in self._sources():
            source.drain()
            source.close()

    def _source_ended(self) -> None:
        if self.exit is not None and all(source.closed for source in self._sources()):
            self._finish()

    def _finish(self) -> None:
        """All output is there: let the clients end."""
        if self._over or self._output is None:
            return
        self._over = True
        self._output.finish()
        if self._input is not None:
            self._input.close()
        self._output.close()


def _finish_start(fifo: str) -> None:
    """Do what is left of a start in which our predecessor was killed.

    The process read when the fifo was renamed; if it does not read any more, it goes on already.
    """
    try:
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        os.write(fd, b"\0")
        os.unlink(fifo)  # noqa: PTH108
    except OSError:
        return
    finally:
        os.close(fd)
