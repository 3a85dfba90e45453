"""The shell that waits for the next runtime: it becomes it as if it had just been started."""

from __future__ import annotations

import os
import signal
import time

import pytest

from pinnace.supervisor.loop import Loop
from pinnace.supervisor.reaper import Reaper
from pinnace.supervisor.runtime import spawn
from pinnace.supervisor.spare import Shell, SpareShell, script_of

ENV = {"PATH": "/usr/bin:/bin", "GREETING": "it's $HOME"}


class Bench:
    """A supervisor's loop and reaper without the rest."""

    def __init__(self, null: int) -> None:
        self.null = null
        self.loop = Loop(lambda what: pytest.fail(what))
        self.reaper = Reaper()
        self.spare = SpareShell(self.loop, self.reaper, null=null, name="a name", spawn=spawn)

    def take(self, env: dict[str, str] = ENV) -> Shell:
        """Wait for the shell and take it."""
        deadline = time.monotonic() + 20
        while (shell := self.spare.take(env)) is None:
            assert time.monotonic() < deadline
            self.loop.run_once(0.2)
        return shell


@pytest.fixture
def bench():
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    made = Bench(null)
    yield made
    if (shell := made.spare.take(ENV)) is not None:
        shell.close()
        os.waitpid(shell.pid, 0)
    made.loop.close()
    os.close(null)


def finished(shell: Shell) -> tuple[int, bytes, bytes]:
    """Return the exit code of what the shell became, and what it wrote."""
    with os.fdopen(shell.stdout, "rb") as out, os.fdopen(shell.stderr, "rb") as err:
        written = out.read(), err.read()
    _, status = os.waitpid(shell.pid, 0)
    return os.waitstatus_to_exitcode(status), *written


def test_it_joins_the_groups_and_becomes_the_program_with_its_pipes_and_environment(
    bench, tmp_path
):
    groups = [tmp_path / name for name in ("one", "it's $two", "-n `three`")]
    shell = bench.take()
    program = 'printf "%s|%s" "$GREETING" "$1"; echo problem >&2; exit 7'
    argv = ["/bin/sh", "-c", program, "sh", "a \"quoted\"\n'word' $HOME"]
    assert shell.become(argv, [str(path) for path in groups])
    code, out, err = finished(shell)
    assert code == 7
    assert out == b"it's $HOME|a \"quoted\"\n'word' $HOME"
    assert err == b"problem\n"
    assert [path.read_text() for path in groups] == ["0\n"] * 3


def test_the_program_has_no_descriptor_that_one_started_directly_has_not(bench):
    listing = ["/bin/ls", "/proc/self/fd"]
    shell = bench.take()
    assert shell.become(listing, [])
    _, out, _ = finished(shell)
    reading, writing = os.pipe()
    pid = spawn(listing, ENV, [bench.null, writing, writing])
    os.close(writing)
    with os.fdopen(reading, "rb") as direct:
        assert {*out.split()} <= {*direct.read().split()}
    os.waitpid(pid, 0)


def test_a_group_that_cannot_be_joined_keeps_the_program_from_running(bench, tmp_path):
    shell = bench.take()
    assert shell.become(["/bin/echo", "ran"], [str(tmp_path / "no" / "such")])
    code, out, err = finished(shell)
    assert (code, out) == (125, b"")
    assert b"no/such" in err


def test_it_ends_when_nobody_can_tell_it_anything_any_more(bench):
    shell = bench.take()
    os.close(shell.script)
    shell.script = -1
    assert finished(shell)[0] == 0


def test_it_is_not_used_with_another_environment(bench):
    shell = bench.take()
    assert shell.become(["/bin/true"], [])
    finished(shell)
    bench.loop.run_once(0.2)
    assert bench.spare.take({"PATH": "/bin"}) is None
    os.waitpid(-1, 0)


def test_one_that_was_killed_is_noticed(bench):
    killed = bench.take()
    os.kill(killed.pid, signal.SIGKILL)
    os.waitpid(killed.pid, 0)
    assert not killed.become(["/bin/true"], [])
    killed.close()
    bench.loop.run_once(0.2)
    waiting = bench.spare._shell
    assert waiting is not None
    os.kill(waiting.pid, signal.SIGKILL)
    os.waitid(os.P_PID, waiting.pid, os.WEXITED | os.WNOWAIT)
    bench.reaper.reap()
    assert bench.spare.take(ENV) is None


def test_a_script_too_long_for_the_pipe_is_refused(bench):
    shell = bench.take()
    assert not shell.become(["/bin/echo", "x" * 5000], [])
    shell.close()
    os.waitpid(shell.pid, 0)
    assert script_of(["a b"], []) == b"exec 3<&-\nexec 'a b'\n"
