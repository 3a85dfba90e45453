"""Runs the OCI runtime and takes over the process it makes."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import termios

from pinnace.supervisor.loop import READ, Loop
from pinnace.supervisor.protocol import close_all, receive_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pinnace.supervisor.reaper import Reaper
    from pinnace.supervisor.spare import SpareShell
    from pinnace.supervisor.spec import Spec

# Enters cgroup v1 hierarchies, then becomes the runtime: `0` stands for the writing process
# itself.
_LAUNCHER = (
    'n=$1; shift; while [ $n -gt 0 ]; do echo 0 > "$1" || exit 125; shift; n=$((n-1)); done; '
    'exec "$@"'
)
# Ignored signals (ours, and the interpreter's own) survive an exec; containers must not inherit
# them.
_DEFAULTED = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
# The limit tasks inherit: ours is raised, and a huge one makes programs that close all slow.
_INHERITED = resource.getrlimit(resource.RLIMIT_NOFILE)
_MESSAGE_BYTES = 64 * 1024
_DEADLINE_S = 120.0


class Streams:
    """Our ends of a task's standard streams; -1 where there is none. Owned by the holder."""

    __slots__ = ("master", "stderr", "stdin", "stdout")

    def __init__(
        self, *, stdin: int = -1, stdout: int = -1, stderr: int = -1, master: int = -1
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.master = master

    def close(self) -> None:
        """Close all that are open."""
        close_all(list(self.named().values()))
        self.stdin = self.stdout = self.stderr = self.master = -1

    def named(self) -> dict[str, int]:
        """Return the open ones by name."""
        named = {
            "stdin": self.stdin,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "master": self.master,
        }
        return {name: fd for name, fd in named.items() if fd >= 0}


class Launch:
    """One run of the runtime.

    Calls `done` once: with (process id, streams, "") or, after a failure, (0, None, message).
    Until then it holds the reaper, so that a process that ends at once is not missed; `done` is
    called before the hold ends.
    """

    def __init__(
        self,
        loop: Loop,
        reaper: Reaper,
        spec: Spec,
        *,
        console_path: str,
        null: int,
        spare: SpareShell,
        done: Callable[[int, Streams | None, str], None],
    ) -> None:
        self._loop = loop
        self._reaper = reaper
        self._spec = spec
        self._console_path = console_path
        self._done = done
        self._streams = Streams()
        self._errors = -1
        self._listener: socket.socket | None = None
        self._log_start = _size_of(spec.runtime_log)
        _unlink(spec.pid_file)
        _unlink(spec.exit_file)
        reaper.hold()
        try:
            self._pid = self._start(spare, null)
        except OSError:
            reaper.release()
            raise
        self._timer = loop.call_later(_DEADLINE_S, self._kill)
        reaper.expect(self._pid, self._ended)

    def _prepare(self, null: int) -> tuple[int, int, int]:
        """Make pipes or the console socket; return the runtime's standard streams."""
        if self._spec.terminal:
            self._listener = _listen(self._console_path)
            self._loop.watch(self._listener.fileno(), READ, self._console)
            self._errors, theirs = os.pipe()
            return null, theirs, theirs
        stdin = null
        if self._spec.open_stdin:
            stdin, self._streams.stdin = os.pipe()
        self._streams.stdout, stdout = os.pipe()
        self._streams.stderr, stderr = os.pipe()
        self._errors = self._streams.stderr
        return stdin, stdout, stderr

    def _spawn(self, theirs: tuple[int, int, int]) -> int:
        spec = self._spec
        argv = list(spec.argv)
        if spec.terminal:
            at = len(argv) - spec.argv_tail
            argv[at:at] = ["--console-socket", self._console_path]
        if spec.cgroup_files:
            count = str(len(spec.cgroup_files))
            argv = ["/bin/sh", "-c", _LAUNCHER, "sh", count, *spec.cgroup_files, *argv]
        return spawn(argv, spec.env, theirs)

    def _use_spare(self, spare: SpareShell) -> int:
        """Let the waiting shell become the runtime; return its process id, 0: it cannot."""
        spec = self._spec
        if spec.terminal or spec.open_stdin or not spec.cgroup_files:
            return 0
        shell = spare.take(spec.env)
        if shell is None:
            return 0
        if not shell.become(spec.argv, spec.cgroup_files):
            shell.close()
            return 0
        self._streams.stdout, self._streams.stderr = shell.stdout, shell.stderr
        self._errors = shell.stderr
        return shell.pid

    def _start(self, spare: SpareShell, null: int) -> int:
        """Start the runtime; return its process id."""
        pid = self._use_spare(spare)
        if pid:
            return pid
        theirs = self._prepare(null)
        try:
            return self._spawn(theirs)
        except OSError as exc:
            self._clean()
            raise OSError(exc.errno, f"cannot run {self._spec.argv[0]}: {exc.strerror}") from exc
        finally:
            close_all([fd for fd in set(theirs) if fd != null])

    def _console(self, _events: int) -> None:
        """Take the terminal's master from the runtime and give it its first size."""
        if self._listener is None or self._streams.master >= 0:
            return
        try:
            peer, _ = self._listener.accept()
        except BlockingIOError:
            return
        with peer:
            peer.settimeout(1.0)
            try:
                _, fds, _ = receive_descriptors(peer, 4096)
            except OSError:
                return
        if fds:
            self._streams.master = fds[0]
            close_all(fds[1:])
            if self._spec.console_size is not None:
                height, width = self._spec.console_size
                termios.tcsetwinsize(fds[0], (height, width))

    def _ended(self, status: int) -> None:
        """The runtime has ended: find its process, or its message."""
        self._timer.cancel()
        self._console(0)
        streams, self._streams = self._streams, Streams()
        message = ""
        pid = 0
        if status == 0:
            pid, message = self._read_pid()
            if pid and self._spec.terminal and streams.master < 0:
                pid, message = 0, "the runtime sent no terminal"
        else:
            message = self._message(status)
        self._clean()
        if pid:
            self._done(pid, streams, "")
        else:
            streams.close()
            self._done(0, None, message)
        self._reaper.release()

    def _read_pid(self) -> tuple[int, str]:
        try:
            with open(self._spec.pid_file, encoding="ascii") as file:  # noqa: PTH123
                return int(file.read()), ""
        except (OSError, ValueError) as exc:
            return 0, f"the runtime left no process id: {exc}"

    def _message(self, status: int) -> str:
        """Return what the runtime said about its failure."""
        logged = _logged_message(self._spec.runtime_log, self._log_start)
        if logged:
            return logged
        printed = b""
        os.set_blocking(self._errors, False)
        with contextlib.suppress(BlockingIOError):
            printed = os.read(self._errors, _MESSAGE_BYTES)
        said = printed.decode("utf-8", "replace").strip()
        if said:
            return _plain(said)
        return f"the runtime ended with status {os.waitstatus_to_exitcode(status)}"

    def _clean(self) -> None:
        self._streams.close()
        if self._spec.terminal and self._errors >= 0:
            os.close(self._errors)
        self._errors = -1
        if self._listener is not None:
            self._loop.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
            _unlink(self._console_path)

    def _kill(self) -> None:
        """The runtime hangs; its end is reported like any other failure."""
        os.kill(self._pid, signal.SIGKILL)


def spawn(argv: Sequence[str], env: Mapping[str, str], fds: Sequence[int]) -> int:
    """Start a program in a session of its own, with nothing of ours but descriptors from 0 on.

    Raises:
        OSError: It cannot be executed.
    """
    actions = [(os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate(fds)]
    resource.setrlimit(resource.RLIMIT_NOFILE, _INHERITED)
    try:
        return os.posix_spawnp(
            argv[0],
            list(argv),
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTED,
        )
    finally:
        raise_limit()


def raise_limit() -> None:
    """Let the supervisor itself have as many descriptors as it may."""
    hard = _INHERITED[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(path: str) -> socket.socket:
    _unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    listener.settimeout(0)
    return listener


def _size_of(path: str | None) -> int:
    try:
        return os.stat(path).st_size if path else 0  # noqa: PTH116
    except FileNotFoundError:
        return 0


def _logged_message(path: str | None, start: int) -> str:
    """Return what the runtime's JSON log says behind an offset."""
    if not path:
        return ""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            file.seek(start)
            data = file.read(_MESSAGE_BYTES)
    except OSError:
        return ""
    return _plain(data.decode("utf-8", "replace").strip())


def _plain(said: str) -> str:
    """Return the messages in JSON log lines; text that is none stays as it is."""
    lines = []
    for line in said.splitlines():
        if not line.strip():
            continue
        try:
            record: object = json.loads(line)
        except ValueError:
            lines.append(line)
            continue
        message = record.get("msg") if isinstance(record, dict) else None
        lines.append(message if isinstance(message, str) else line)
    return "\n".join(lines)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return
