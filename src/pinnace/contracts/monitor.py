"""What the engine needs from the supervisor: adopted processes with stdio, tty, logs and exits."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LogFiles:
    """Where a task's output is kept.

    Attributes:
        directory: Holds the log generations; exists, mode 0700.
        max_size: Bytes of output per generation before rotation; 0: never rotate.
        max_files: Generations kept, the current one included; at least 1.
        discard: Log driver `none`: output only reaches attached clients.
    """

    directory: str
    max_size: int = 100 * 1024 * 1024
    max_files: int = 5
    discard: bool = False


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A process to be made by the OCI runtime and owned by the supervisor.

    Attributes:
        id: Container id, or exec id.
        argv: Runtime command line (`crun create …` or `crun exec --detach …`); the supervisor
            adds `--console-socket` before the last `argv_tail` words when `terminal`.
        argv_tail: How many words at the end of argv are positional.
        env: Environment of the runtime.
        pid_file: The runtime writes the process id here.
        exit_file: The supervisor writes the exit record here (temporary name, then rename)
            before it announces the exit.
        terminal: One pseudo-terminal instead of three pipes.
        open_stdin: A stdin exists; without it stdin is /dev/null.
        stdin_once: The first attached client's end of input closes stdin.
        console_size: (height, width) of the terminal at start.
        log: None for an exec: output only reaches attached clients, held back until one is there
            when `hold_output`.
        start_fifo: crun's exec.fifo: `start` is one byte written into it. None: runs at once.
        cgroup_files: Files of cgroup v1 hierarchies into which the launcher writes `0` before it
            becomes the runtime.
        oom_file: `memory.oom_control` or `memory.events`, read for `oom_kill N` at exit.
        kill_cgroup: Directory whose `cgroup.procs` are killed after the main process ended
            (shared pid namespace).
        runtime_log: File the runtime's `--log` names (`--log-format json`); what it gained is the
            message of a failure. None: the message is what the runtime printed.
    """

    id: str
    argv: Sequence[str]
    env: Mapping[str, str]
    pid_file: str
    exit_file: str
    argv_tail: int = 1
    terminal: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    console_size: tuple[int, int] | None = None
    log: LogFiles | None = None
    start_fifo: str | None = None
    cgroup_files: Sequence[str] = ()
    oom_file: str | None = None
    kill_cgroup: str | None = None
    runtime_log: str | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How a task ended.

    Attributes:
        id: Container or exec id.
        code: 0..255; 128 + n for signal n; 255 with `lost` when nobody saw it.
        finished_ns: Unix time in nanoseconds.
        oom_killed: The kernel killed a process of the task's cgroup for memory.
        lost: The status could not be learnt (host older than Linux 6.15 and a supervisor crash).
    """

    id: str
    code: int
    finished_ns: int
    oom_killed: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Sink:
    """What an attached client wants.

    Attributes:
        stdin: Bytes read from the client go to the task.
        stdout: Send standard output (and the terminal).
        stderr: Send standard error.
        framed: 8-byte stdcopy headers (no terminal, API 1.6 and later).
        replay: Send what the log holds first, then go on live, without gap or repetition.
        stream: Go on live; without it the sink ends after the replay.
        stream_by_stream: Replay all of standard output, then all of standard error.
        detach_keys: Byte sequence that ends the attachment; empty: none. Only used on terminals.
        early: Bytes the client sent before the hand-over.
    """

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    framed: bool = True
    replay: bool = False
    stream: bool = True
    stream_by_stream: bool = False
    detach_keys: bytes = b"\x10\x11"
    early: bytes = b""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """A task the supervisor knows: running (`exit` is None), or ended and not yet forgotten.

    Attributes:
        started: Its command was let go; False: created, and waiting for `start`.
    """

    id: str
    pid: int
    exit: Exit | None
    started: bool = True


class Attachment(Protocol):
    """A client attached to a task."""

    async def ended(self) -> str:
        """Wait for the end: `eof` (output over), `detached` (keys), or `gone`.

        `gone`: the client left, the attachment was cancelled, or the supervisor died.
        """
        ...

    async def cancel(self) -> None:
        """Detach the client at once; its socket is left open and no longer used."""
        ...


class Monitor(Protocol):
    """The supervisor, seen from the daemon.

    It outlives the daemon. If it dies, the implementation starts a new one and hands it the
    descriptors of every running task; calls made meanwhile wait.
    """

    async def connect(self) -> Sequence[TaskStatus]:
        """Start or find the supervisor; return the tasks it owns.

        Raises:
            Unavailable: It cannot be started.
        """
        ...

    async def create(self, spec: TaskSpec) -> int:
        """Run the runtime and adopt the process it makes; return its pid on the host.

        With `start_fifo` the process waits for `start`; without it is running. Clients attached
        with `pending` before get its output from the first byte.

        Raises:
            AlreadyExists: `spec.id` is in use.
            RuntimeFailure: The runtime failed; the message is what it said. Clients attached with
                `pending` go on waiting.
            Unavailable: The supervisor died meanwhile; whether the process exists is not known.

        Cancelled: the runtime still runs to its end; `forget` ends what it made.
        """
        ...

    async def start(self, task_id: str) -> None:
        """Let a task run its command as soon as it is made.

        May be called once `create` has been, before it returns.

        Raises:
            NotFound: No such task.
            RuntimeFailure: The task ended, or the command could not be executed.
        """
        ...

    async def signal(self, task_id: str, signal: int) -> None:
        """Send a signal to the task's main process.

        Raises:
            NotFound: No such task, or it has ended.
        """
        ...

    async def resize(self, task_id: str, *, height: int, width: int) -> None:
        """Set the terminal's size.

        Raises:
            NotFound: No such running task.
            InvalidParameter: It has no terminal.
        """
        ...

    async def attach(
        self, task_id: str, client: int, sink: Sink, *, pending: bool = False
    ) -> Attachment:
        """Hand a duplicate of the socket `client` to the supervisor, which serves it directly.

        The caller must not read or write the socket until the attachment has ended; the socket
        becomes non-blocking. At the end of the output the supervisor shuts the socket down for
        writing; closing the connection is the caller's.

        Args:
            task_id: A created, running or ended task.
            client: A connected stream socket.
            sink: What the client wants. With `replay` it gets the log from its beginning, else
                what comes from now on.
            pending: Accept an unknown task; the client waits until one with this id is created, or
                until `forget` (then the attachment ends as `gone`).

        Raises:
            NotFound: No such task, and not `pending`.
        """
        ...

    async def watch(self, task_id: str) -> int:
        """Return a descriptor (socket) that becomes readable when the log grew, EOF at the end.

        The caller owns the descriptor.

        Raises:
            NotFound: No such task.
        """
        ...

    async def forget(self, task_id: str, *, kill: bool = False) -> None:
        """Drop an ended task (or one that was created and never started, which is killed).

        Its exit is not announced any more.

        Args:
            task_id: Unknown ones are forgotten already.
            kill: Also kill and drop a running task.

        Raises:
            Conflict: It is running, and `kill` was not given.
        """
        ...

    def exits(self) -> AsyncIterator[Exit]:
        """Yield every exit once per daemon life, also those that happened while it was away."""
        ...

    async def close(self) -> None:
        """Let go of the supervisor; it and the tasks live on."""
        ...
