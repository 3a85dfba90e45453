"""Execs: additional processes in running containers.

An exec is known from `create` until its container is removed; it is never stored, since it cannot
outlive the container. Attached clients are handed to the supervisor before the process is made, so
that no output is lost.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from pinnace.contracts.exec_runtime import ExecRuntime
from pinnace.contracts.monitor import Exit, Monitor, Sink
from pinnace.engine.containers.attach import parse_detach_keys, until_ended
from pinnace.engine.containers.hijacked import HijackedClient
from pinnace.engine.containers.lifecycle import check
from pinnace.engine.containers.lookup import ContainerLookup, Publish, container_attributes
from pinnace.errors import (
    Conflict,
    ExecNotFound,
    InvalidParameter,
    NotFound,
    PinnaceError,
    RuntimeFailure,
    StartFailed,
    Unavailable,
)
from pinnace.model.container import Container
from pinnace.model.exec import Exec, ExecConfig, ExecInspect, ExecProcess
from pinnace.model.record import ContainerId, ExecId

log = logging.getLogger(__name__)

MAX_ENDED = 1000  # ended execs remembered per container; probes run for years
RESIZE_WAIT_S = 10.0
SETTLE_WAIT_S = 5.0
NOT_EXECUTABLE, NOT_FOUND = 126, 127
_NOT_RUNNABLE = ("not found in $path", "permission denied", "no such file or directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecStartParams:
    """What `POST /exec/{id}/start` asks for.

    Attributes:
        detach: Run without a client.
        tty: The client treats the stream as a terminal's.
        console_size: (height, width) at start; wins over the one given at create.
        framed: The client understands stdcopy frames (without a terminal).
    """

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None
    framed: bool = True


@dataclass(slots=True, eq=False)
class _Entry:
    """An exec and what waits for it."""

    record: Exec
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ExecPlan:
    """An exec that may start, ready to serve its connection.

    Attributes:
        content_framed: The stream carries stdcopy frames; False with a terminal.
        failure: Why the command could not be run; set by `run`.
    """

    def __init__(
        self, service: "ExecService", exec_id: ExecId, params: ExecStartParams, sink: Sink
    ) -> None:
        self._service = service
        self._exec_id = exec_id
        self._params = params
        self._sink = sink
        self.content_framed = sink.framed
        self.failure: PinnaceError | None = None

    async def run(self, client_fd: int, early: bytes = b"") -> None:
        """Start the exec and serve the hijacked socket until its output is over.

        A command that cannot be run is told to the client as text on standard output; the exit
        code of `inspect` is then 126 or 127.

        Args:
            client_fd: Stream socket; stays the caller's, who closes it afterwards.
            early: Bytes that the client sent before the hand-over.

        Cancelled: the client is detached; the process runs on.
        """
        self.failure = await self._service.serve(
            self._exec_id, client_fd, self._params, replace(self._sink, early=early)
        )


class ExecService:
    """Creates, starts and remembers execs."""

    def __init__(
        self,
        containers: ContainerLookup,
        monitor: Monitor,
        runtime: ExecRuntime,
        publish: Publish,
        *,
        new_id: Callable[[], str] = lambda: secrets.token_hex(32),
    ) -> None:
        self._containers = containers
        self._monitor = monitor
        self._runtime = runtime
        self._publish = publish
        self._new_id = new_id
        self._entries: dict[ExecId, _Entry] = {}
        self._dropped: dict[ExecId, ContainerId] = {}  # their processes have not ended yet

    async def create(self, ref: str, config: ExecConfig) -> ExecId:
        """Remember what to run; nothing runs yet.

        Raises:
            ContainerNotFound: No such container.
            Conflict: It does not run, is paused or restarts.
            InvalidParameter: There is no command, or the detach keys are bad.
        """
        if not config.cmd:
            raise InvalidParameter("No exec command specified")
        container = self._containers.get(ref)
        check(container.state.status, "exec", id=container.id, name=container.name)
        parse_detach_keys(config.detach_keys, called="escape")
        exec_id = ExecId(self._new_id())
        self._entries[exec_id] = _Entry(Exec(id=exec_id, container_id=container.id, config=config))
        self._tell(container, exec_id, f"exec_create: {_command(config)}")
        return exec_id

    async def start(self, exec_id: str, params: ExecStartParams) -> ExecPlan | None:
        """Start a detached exec, or return the plan that starts an attached one.

        Raises:
            ExecNotFound: No such exec.
            Conflict: It was started before; its container does not run or is paused.
            StartFailed: The command cannot be run (detached).
            RuntimeFailure: The runtime failed otherwise (detached).
        """
        entry = self._entry(exec_id)
        record = entry.record
        if record.exit_code is not None:
            raise Conflict(f"Error: Exec command {exec_id} has already run")
        if record.started:
            raise Conflict(f"Error: Exec command {exec_id} is already running")
        container = self._containers.by_id(record.container_id)
        check(container.state.status, "exec", id=container.id, name=container.name)
        entry.record = msgspec.structs.replace(record, started=True)
        if params.detach:
            await self._run(entry, params, open_stdin=False)
            return None
        config = record.config
        sink = Sink(
            stdin=config.attach_stdin,
            stdout=config.attach_stdout,
            stderr=config.attach_stderr,
            framed=params.framed and not params.tty,
            detach_keys=parse_detach_keys(config.detach_keys),
        )
        return ExecPlan(self, record.id, params, sink)

    async def serve(
        self, exec_id: ExecId, client_fd: int, params: ExecStartParams, sink: Sink
    ) -> PinnaceError | None:
        """Start the exec for an attached client and return why it failed; see `ExecPlan.run`."""
        entry = self._entry(exec_id)
        attachment = await self._monitor.attach(exec_id, client_fd, sink, pending=True)
        try:
            await self._run(entry, params, open_stdin=sink.stdin)
        except PinnaceError as exc:
            await attachment.cancel()
            await _say(client_fd, f"{exc.message}\r\n".encode(), framed=sink.framed)
            return exc
        except asyncio.CancelledError:
            await asyncio.shield(attachment.cancel())
            raise
        if await until_ended(attachment) == "detached":
            container = self._containers.by_id(entry.record.container_id)
            self._tell(container, exec_id, "exec_detach")
        return None

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        """Set the terminal's size; waits a while for an exec that is just being started.

        Raises:
            ExecNotFound: No such exec.
            Unavailable: It was not started in time.
            NotFound: It has ended.
            InvalidParameter: It has no terminal.
        """
        entry = self._entry(exec_id)
        try:
            async with asyncio.timeout(RESIZE_WAIT_S):
                await entry.started.wait()
        except TimeoutError as exc:
            raise Unavailable("timeout waiting for exec session ready") from exc
        await self._monitor.resize(exec_id, height=height, width=width)

    async def inspect(self, exec_id: str) -> ExecInspect:
        """Describe an exec, also after its end.

        A client that has seen the end of the output is shown the exit code, although the news of
        the exit may still be on its way through the daemon.

        Raises:
            ExecNotFound: No such exec.
        """
        entry = self._entry(exec_id)
        if entry.record.running:
            await self._settle(entry)
        record = entry.record
        config = record.config
        command = config.cmd or [""]
        return ExecInspect(
            id=record.id,
            running=record.running,
            exit_code=record.exit_code,
            process_config=ExecProcess(
                arguments=command[1:],
                entrypoint=command[0],
                privileged=config.privileged,
                tty=config.tty,
                user=config.user,
            ),
            open_stdin=config.attach_stdin,
            open_stderr=config.attach_stderr,
            open_stdout=config.attach_stdout,
            can_remove=record.exit_code is not None,
            container_id=record.container_id,
            detach_keys=config.detach_keys,
            pid=record.pid,
        )

    async def _settle(self, entry: _Entry) -> None:
        """Wait for the exit's record if the supervisor says that the process has ended."""
        try:
            await self._monitor.signal(entry.record.id, 0)
        except NotFound:
            try:
                async with asyncio.timeout(SETTLE_WAIT_S):
                    await entry.ended.wait()
            except TimeoutError:
                log.warning("exec ended, but not its record", extra={"exec": entry.record.id})

    async def wait_started(self, exec_id: ExecId) -> None:
        """Wait until the process runs or could not be made.

        Raises:
            ExecNotFound: No such exec.
        """
        await self._entry(exec_id).started.wait()

    async def wait(self, exec_id: ExecId) -> int:
        """Wait for a started exec's end and return its exit code.

        Raises:
            ExecNotFound: No such exec, or it went with its container.
        """
        entry = self._entry(exec_id)
        await entry.ended.wait()
        code = entry.record.exit_code
        if code is None:
            raise ExecNotFound(exec_id)
        return code

    async def signal(self, exec_id: ExecId, number: int) -> None:
        """Send a signal to the exec's process; nothing happens when it has ended.

        Raises:
            ExecNotFound: No such exec.
        """
        entry = self._entry(exec_id)
        if entry.record.running:
            try:
                await self._monitor.signal(exec_id, number)
            except NotFound:
                log.debug("exec ended before the signal", extra={"exec": exec_id})

    def owns(self, task_id: str) -> bool:
        """Whether an exit of this task is for `on_exit`."""
        return task_id in self._entries or task_id in self._dropped

    async def on_exit(self, exit_: Exit) -> None:
        """Record the end of an exec, tell it, and let its files and its task go."""
        entry = self._entries.get(ExecId(exit_.id))
        if entry is not None and entry.record.exit_code is None:
            record = self._end(entry, exit_.code)
            try:
                container = self._containers.by_id(record.container_id)
            except NotFound:
                log.debug("exec ended after its container", extra={"exec": exit_.id})
            else:
                self._tell(container, record.id, "exec_die", exitCode=str(exit_.code))
            await self._runtime.release(record.container_id, record.id)
        dropped = self._dropped.pop(ExecId(exit_.id), None)
        if dropped is not None:
            await self._runtime.release(dropped, ExecId(exit_.id))
        await self._monitor.forget(exit_.id)

    def ids_of(self, container_id: ContainerId) -> list[str]:
        """Return the ids of the container's execs which have not ended, oldest first."""
        return [
            entry.record.id
            for entry in self._entries.values()
            if entry.record.container_id == container_id and entry.record.exit_code is None
        ]

    def drop(self, container_id: ContainerId) -> None:
        """Forget the execs of a container that ended or was removed."""
        gone = [e for e in self._entries.values() if e.record.container_id == container_id]
        for entry in gone:
            del self._entries[entry.record.id]
            if entry.record.running:
                self._dropped[entry.record.id] = container_id
            entry.ended.set()

    def _entry(self, exec_id: str) -> _Entry:
        entry = self._entries.get(ExecId(exec_id))
        if entry is None:
            raise ExecNotFound(exec_id)
        return entry

    async def _run(self, entry: _Entry, params: ExecStartParams, *, open_stdin: bool) -> None:
        record = entry.record
        container = self._containers.by_id(record.container_id)
        self._tell(container, record.id, f"exec_start: {_command(record.config)}")
        config = record.config
        size = (params.console_size or _console_size(config)) if config.tty else None
        config = msgspec.structs.replace(config, console_size=list(size) if size else None)
        try:
            task = await self._runtime.exec_task(
                container,
                record.id,
                config,
                open_stdin=open_stdin,
                console_size=size,
            )
            pid = await self._monitor.create(task)
        except RuntimeFailure as exc:
            failure = start_failure(record.config, exc)
            await self._failed(entry, failure.exit_code)
            raise failure from exc
        except PinnaceError:
            await self._failed(entry, NOT_EXECUTABLE)
            raise
        if entry.record.exit_code is None:  # else the exit was faster
            entry.record = msgspec.structs.replace(entry.record, running=True, pid=pid)
        entry.started.set()

    async def _failed(self, entry: _Entry, code: int) -> None:
        record = self._end(entry, code)
        await self._runtime.release(record.container_id, record.id)

    def _end(self, entry: _Entry, code: int) -> Exec:
        entry.record = msgspec.structs.replace(
            entry.record, running=False, started=True, pid=0, exit_code=code
        )
        entry.started.set()
        entry.ended.set()
        self._limit_ended(entry.record.container_id)
        return entry.record

    def _limit_ended(self, container_id: ContainerId) -> None:
        ended = [
            e.record.id
            for e in self._entries.values()
            if e.record.container_id == container_id and e.record.exit_code is not None
        ]
        for exec_id in ended[:-MAX_ENDED]:
            del self._entries[exec_id]

    def _tell(self, container: Container, exec_id: ExecId, action: str, **extra: str) -> None:
        attributes = container_attributes(container, execID=exec_id, **extra)
        self._publish("container", action, container.id, attributes)


def start_failure(config: ExecConfig, failure: RuntimeFailure) -> StartFailed | RuntimeFailure:
    """Return the failure in Docker's words, with the exit code that `docker exec` ends with."""
    command = (config.cmd or [""])[0]
    text = failure.message.lower()
    start = "OCI runtime exec failed: exec failed: "
    if text.startswith("chdir"):
        told = (
            "unable to start container process: chdir to cwd "
            f'("{config.working_dir}") set in config.json failed: no such file or directory'
            if config.working_dir.startswith("/") or not config.working_dir
            else "Cwd must be an absolute path"
        )
        return RuntimeFailure(f"{start}{told}: unknown", exit_code=NOT_EXECUTABLE)
    if not any(words in text for words in _NOT_RUNNABLE):
        return RuntimeFailure(f"{start}{failure.message}: unknown", exit_code=NOT_EXECUTABLE)
    if "permission denied" in text:
        reason, code = "permission denied", NOT_EXECUTABLE
    elif "/" in command:
        reason, code = f"stat {command}: no such file or directory", NOT_FOUND
    else:
        reason, code = "executable file not found in $PATH", NOT_FOUND
    told = f'unable to start container process: exec: "{command}": {reason}'
    return StartFailed(f"{start}{told}: unknown", exit_code=code)


def _command(config: ExecConfig) -> str:
    """Return program, blank, arguments; the blank is there without arguments too, as dockerd's."""
    program, *arguments = config.cmd or ("",)
    return f"{program} {' '.join(arguments)}"


def _console_size(config: ExecConfig) -> tuple[int, int] | None:
    size = config.console_size
    if size is None or len(size) != 2:
        return None
    return size[0], size[1]


async def _say(client_fd: int, text: bytes, *, framed: bool) -> None:
    """Send a last text to a client that may be gone."""
    with HijackedClient(client_fd, framed=framed) as client:
        try:
            await client.send(1, text)
        except OSError as exc:
            log.debug("exec client left before its failure was told: %s", exc)
