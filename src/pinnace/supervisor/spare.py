"""A shell that waits for its script: where the next runtime is started from.

A shell that enters control groups and becomes the runtime costs a millisecond before its first
command. One that has been started in advance is there already, with the pipes the task will have.
It ends with its script, so also with us, who hold the other end of it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pinnace.supervisor.loop import Loop, Timer
    from pinnace.supervisor.reaper import Reaper

_SCRIPT_FD = 3
_QUIET_S = 0.05  # after the last start, so that nothing is made in the middle of the next
_LARGEST_SCRIPT = 4096  # what a pipe takes at once: PIPE_BUF


class Shell:
    """A waiting shell and our ends of its pipes."""

    __slots__ = ("env", "pid", "script", "stderr", "stdout")

    def __init__(
        self, pid: int, env: Mapping[str, str], *, script: int, stdout: int, stderr: int
    ) -> None:
        self.pid = pid
        self.env = env
        self.script = script
        self.stdout = stdout
        self.stderr = stderr

    def become(self, argv: Sequence[str], joined: Sequence[str]) -> bool:
        """Have it enter control groups and become a program; return whether it can.

        Args:
            argv: The program and its arguments.
            joined: Files into which the shell writes its own number first.
        """
        script = script_of(argv, joined)
        try:
            return len(script) <= _LARGEST_SCRIPT and os.write(self.script, script) == len(script)
        except OSError:
            return False
        finally:
            os.close(self.script)
            self.script = -1

    def close(self) -> None:
        """Let it end."""
        for fd in (self.script, self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)


class SpareShell:
    """Keeps one shell waiting, from the first start on.

    Args:
        loop: Timers.
        reaper: Learns of its end.
        null: /dev/null, its input.
        name: Its argument, to be seen in lists of processes.
        spawn: Starts a program with an environment and with descriptors from 0 on; returns its
            process id.
    """

    def __init__(
        self,
        loop: Loop,
        reaper: Reaper,
        *,
        null: int,
        name: str,
        spawn: Callable[[Sequence[str], Mapping[str, str], Sequence[int]], int],
    ) -> None:
        self._loop = loop
        self._reaper = reaper
        self._null = null
        self._name = name
        self._spawn = spawn
        self._shell: Shell | None = None
        self._timer: Timer | None = None
        self._env: Mapping[str, str] = {}

    def take(self, env: Mapping[str, str]) -> Shell | None:
        """Return the shell, which is the caller's now; None: there is none with this environment.

        Another one is made a little later.
        """
        shell, self._shell = self._shell, None
        if self._timer is not None:
            self._timer.cancel()
        self._env = env
        self._timer = self._loop.call_later(_QUIET_S, self._make)
        if shell is not None and shell.env != env:
            shell.close()
            return None
        return shell

    def _make(self) -> None:
        if self._shell is not None:
            return
        ours: list[int] = []
        theirs: list[int] = []
        try:
            for _ in range(2):
                reading, writing = os.pipe()
                ours.append(reading)
                theirs.append(writing)
            script, writing = os.pipe()
            ours.append(writing)
            theirs.append(script)
            argv = ["/bin/sh", f"/proc/self/fd/{_SCRIPT_FD}", self._name]
            pid = self._spawn(argv, self._env, [self._null, *theirs])
        except OSError:
            for fd in ours:
                os.close(fd)
            return  # the next start does without
        finally:
            for fd in theirs:
                os.close(fd)
        self._shell = Shell(pid, self._env, script=ours[2], stdout=ours[0], stderr=ours[1])
        self._reaper.expect(pid, lambda _status: self._lost(pid))

    def _lost(self, pid: int) -> None:
        if self._shell is not None and self._shell.pid == pid:
            self._shell.close()
            self._shell = None


def script_of(argv: Sequence[str], joined: Sequence[str]) -> bytes:
    """Return what makes a waiting shell enter control groups and become a program."""
    lines = [f"exec {_SCRIPT_FD}<&-"]
    lines += [f"echo 0 >{_quoted(path)} || exit 125" for path in joined]
    lines.append(f"exec {' '.join(map(_quoted, argv))}")
    return os.fsencode("\n".join(lines) + "\n")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
