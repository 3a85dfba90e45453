"""The pinnace program against living engines: ours, and Debian's dockerd as a peer."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support import dockerd, images, pinnaced
from tests.support.engine import remove_root

pytestmark = pytest.mark.root

DAEMON_EXISTS = importlib.util.find_spec("pinnace.daemon.main") is not None
ENGINES = {"dockerd": dockerd.start} | ({"pinnace": pinnaced.start} if DAEMON_EXISTS else {})
PINNACE = [sys.executable, "-m", "pinnace.cli.main"]
DEADLINE_S = 30


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request):
    root = Path(tempfile.mkdtemp(prefix="pnt-cli-", dir="/var/tmp"))
    try:
        with ENGINES[request.param](root) as running:
            running.load(images.busybox_archive())
            yield running
    finally:
        remove_root(root)


@pytest.fixture
def pinnace(engine):
    """Run the program against the engine; remove the containers it leaves."""

    def run(*arguments, stdin=b"", **more):
        return subprocess.run(
            [*PINNACE, "--host", engine.host, *arguments],
            input=stdin,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
            **more,
        )

    yield run
    for one in engine.request("GET", "/containers/json", query={"all": "1"}).json():
        engine.request("DELETE", f"/containers/{one['Id']}", query={"force": "1", "v": "1"})


def test_output_and_error_arrive_on_their_own_streams_with_the_exit_status(pinnace):
    done = pinnace("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_run_rm_leaves_no_container(pinnace):
    pinnace("run", "--rm", "busybox", "true")
    assert pinnace("ps", "-aq").stdout == b""


def test_input_is_copied_in_and_its_end_reaches_the_container(pinnace):
    done = pinnace(
        "run", "-i", "--rm", "busybox", "sh", "-c", "wc -c; echo end", stdin=b"x" * 700_001
    )
    assert done.stdout.split() == [b"700001", b"end"]


def test_a_regular_file_can_be_the_input(pinnace, engine):
    with open("/bin/busybox", "rb") as source:
        done = subprocess.run(
            [*PINNACE, "-H", engine.host, "run", "-i", "--rm", "busybox", "wc", "-c"],
            stdin=source,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert int(done.stdout) == os.path.getsize("/bin/busybox")


def test_without_interactive_the_container_gets_no_input(pinnace):
    assert pinnace("run", "--rm", "busybox", "cat", stdin=b"secret").stdout == b""


def test_a_missing_program_gives_127_and_a_directory_126(pinnace):
    missing = pinnace("run", "--rm", "busybox", "no-such-program")
    assert missing.returncode == 127
    assert b"no-such-program" in missing.stderr
    assert pinnace("run", "--rm", "busybox", "/etc").returncode == 126


def test_a_failure_of_the_daemon_gives_125(pinnace):
    done = pinnace("run", "--pull", "never", "no-such-image", "true")
    assert done.returncode == 125
    assert b"no-such-image" in done.stderr


def test_detached_container_is_listed_logged_executed_in_stopped_and_removed(pinnace):
    started = pinnace(
        "run", "-d", "--name", "web", "busybox", "sh", "-c", "echo up; exec sleep 99"
    )
    container = started.stdout.decode().strip()
    assert re.fullmatch("[0-9a-f]{64}", container)
    assert container[:12] in pinnace("ps").stdout.decode()
    assert until(lambda: pinnace("logs", "web").stdout) == b"up\n"
    assert pinnace("exec", "web", "sh", "-c", "echo in; exit 3").returncode == 3
    assert pinnace("exec", "-i", "web", "cat", stdin=b"through").stdout == b"through"
    assert pinnace("rm", "web").returncode == 1
    assert pinnace("stop", "-t", "0", "web").stdout == b"web\n"
    assert pinnace("wait", "web").stdout == b"137\n"
    assert pinnace("rm", "web").stdout == b"web\n"
    assert pinnace("inspect", "web").returncode == 1


def test_options_reach_the_container(pinnace):
    script = "id -u; pwd; ulimit -n; hostname; echo $A$B; grep NoNewPrivs /proc/self/status"
    done = pinnace(
        *("run", "--rm", "-u", "1000:1000", "-w", "/tmp", "--ulimit", "nofile=77"),
        *("-h", "harbour", "-e", "A=1", "-e", "B", "--security-opt", "no-new-privileges"),
        *("--entrypoint", "sh", "busybox", "-c", script),
        env={**os.environ, "B": "2"},
    )
    lines = done.stdout.decode().split("\n")
    assert lines[:6] == ["1000", "/tmp", "77", "harbour", "12", "NoNewPrivs:\t1"]


def test_mounts_of_every_notation_reach_the_container(pinnace, tmp_path):
    (tmp_path / "file").write_text("from the host")
    done = pinnace(
        *("run", "--rm", "-v", "./file:/one:ro", "--tmpfs", "/scratch:size=1m"),
        *("--mount", f"type=bind,src={tmp_path},dst=/two,ro"),
        *("busybox", "sh", "-c", "cat /one /two/file; mount | grep -c ' /scratch type tmpfs'"),
        cwd=tmp_path,
    )
    assert done.stdout == b"from the hostfrom the host1\n", done.stderr


def test_the_id_file_holds_the_id_and_is_never_overwritten(pinnace, tmp_path):
    name = str(tmp_path / "id")
    pinnace("run", "--rm", "--cidfile", name, "busybox", "true")
    assert re.fullmatch("[0-9a-f]{64}", Path(name).read_text())
    assert pinnace("run", "--rm", "--cidfile", name, "busybox", "true").returncode == 125


def test_json_prints_one_object_a_line(pinnace):
    for name in ("one", "two"):
        pinnace("create", "--name", name, "busybox")
    lines = pinnace("--json", "ps", "-a").stdout.splitlines()
    assert {json.loads(line)["Names"][0] for line in lines} == {"/one", "/two"}


def test_a_signal_reaches_the_container_and_its_status_comes_back(engine, pinnace):
    script = 'trap "echo caught; exit 5" TERM; echo ready; while :; do sleep 0.05; done'
    with started(engine, "run", "--rm", "busybox", "sh", "-c", script) as program:
        assert program.stdout.readline() == b"ready\n"
        program.send_signal(signal.SIGTERM)
        output, _ = program.communicate(timeout=DEADLINE_S)
    assert (output, program.returncode) == (b"caught\n", 5)


def test_a_reader_that_leaves_does_not_hide_the_exit_status(engine, pinnace):
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 4"
    with started(engine, "run", "--rm", "busybox", "sh", "-c", script) as program:
        program.stdout.readline()
        program.stdout.close()
        assert program.wait(DEADLINE_S) == 4


def test_a_terminal_is_given_its_size_and_follows_it(engine, pinnace):
    with terminal(engine, "run", "-it", "--rm", "busybox", "sh", size=(33, 101)) as shell:
        shell.expect(b"/ # ")
        shell.send(b"stty size\n")
        shell.expect(b"33 101")
        shell.resize(44, 122)
        shell.send(b"while [ \"$(stty size)\" != '44 122' ]; do :; done; echo re''sized\n")
        shell.expect(b"resized")
        shell.send(b"exit 6\n")
        assert shell.wait() == 6


def test_control_c_on_a_terminal_interrupts_the_command_inside(engine, pinnace):
    with terminal(engine, "run", "-it", "--rm", "busybox", "sh") as shell:
        shell.expect(b"/ # ")
        # The shell may redraw the line in the middle; what runs is what counts.
        shell.send(b"sleep 99; echo status $?\n")
        until(lambda: b"sleep 99" in pinnace("top", newest(pinnace)).stdout)
        shell.send(b"\x03")
        shell.expect(b"/ # ")
        shell.send(b"exit\n")
        shell.wait()


def test_detach_keys_leave_the_container_running(engine, pinnace):
    with terminal(engine, "run", "-it", "--name", "bg", "busybox", "sh") as shell:
        shell.expect(b"/ # ")
        shell.send(b"\x10\x11")
        shell.expect(b"read escape sequence")
        assert shell.wait() == 0
    state = json.loads(pinnace("inspect", "bg").stdout)[0]["State"]
    assert state["Running"] is True
    with terminal(engine, "attach", "bg") as shell:
        shell.send(b"exit 9\n")
        assert shell.wait() == 9


def test_exec_gives_a_terminal(engine, pinnace):
    pinnace("run", "-d", "--name", "host", "busybox", "sleep", "99")
    with terminal(engine, "exec", "-it", "host", "sh", size=(21, 81)) as shell:
        shell.expect(b"/ # ")
        shell.send(b"tty && stty size; exit 8\n")
        shell.expect(b"/dev/pts/")
        shell.expect(b"21 81")
        assert shell.wait() == 8


def test_interactive_terminal_without_a_terminal_is_refused(pinnace):
    done = pinnace("run", "-it", "--rm", "busybox", "sh", stdin=b"true\n")
    assert done.returncode == 125
    assert b"not a TTY" in done.stderr


def test_copy_goes_both_ways(pinnace, tmp_path):
    pinnace("create", "--name", "box", "busybox")
    (tmp_path / "in").write_text("cargo")
    assert pinnace("cp", str(tmp_path / "in"), "box:/tmp/renamed").returncode == 0
    assert pinnace("cp", "box:/tmp/renamed", str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out").read_text() == "cargo"
    assert pinnace("cp", "box:/etc", str(tmp_path / "etc")).returncode == 0
    assert (tmp_path / "etc/passwd").read_text().startswith("root:")


def test_images_are_saved_removed_and_loaded(pinnace, tmp_path):
    archive = str(tmp_path / "image.tar")
    pinnace("tag", "busybox", "copy:1")
    assert pinnace("save", "-o", archive, "copy:1").returncode == 0
    assert pinnace("rmi", "copy:1").returncode == 0
    assert b"copy" not in pinnace("images").stdout
    loaded = pinnace("load", "-i", archive)
    assert b"Loaded image: copy:1" in loaded.stdout
    assert b"copy" in pinnace("images").stdout
    assert pinnace("rmi", "copy:1").returncode == 0


def test_seed_makes_the_first_image_once(pinnace):
    assert pinnace("rmi", "-f", "busybox").returncode == 0
    assert pinnace("system", "seed").returncode == 0
    assert pinnace("run", "--rm", "busybox", "echo", "seeded").stdout == b"seeded\n"
    assert pinnace("system", "seed").stdout == b""


def test_events_between_two_moments_are_listed(pinnace):
    pinnace("run", "--rm", "--name", "eventful", "busybox", "true")
    lines = pinnace("--json", "events", "--since", "1m", "--until", "0s").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    actions = [
        event["Action"]
        for event in events
        if event["Actor"].get("Attributes", {}).get("name") == "eventful"
    ]
    assert [a for a in actions if a in ("create", "start", "die", "destroy")] == [
        "create",
        "start",
        "die",
        "destroy",
    ]


def test_published_ports_are_listed(pinnace):
    pinnace("run", "-d", "--name", "web", "-p", "127.0.0.1:18099:80", "busybox", "sleep", "99")
    assert pinnace("port", "web").stdout == b"80/tcp -> 127.0.0.1:18099\n"
    assert b"127.0.0.1:18099->80/tcp" in pinnace("ps").stdout


def test_the_engine_describes_itself(pinnace):
    info = json.loads(pinnace("--json", "info").stdout)
    assert info["Images"] >= 1
    assert b"Version" in pinnace("version").stdout
    (about,) = [json.loads(line) for line in pinnace("--json", "version").stdout.splitlines()]
    assert "ApiVersion" in json.dumps(about)
    used = pinnace("system", "df")
    assert used.returncode == 0
    assert b"Images" in used.stdout


def test_prune_removes_stopped_containers_only(pinnace):
    stopped = pinnace("run", "-d", "busybox", "true").stdout.decode().strip()
    kept = pinnace("run", "-d", "busybox", "sleep", "99").stdout.decode().strip()
    assert pinnace("wait", stopped).stdout == b"0\n"
    pruned = pinnace("system", "prune", "--force")
    assert pruned.returncode == 0
    assert stopped.encode() in pruned.stdout
    assert pinnace("ps", "-aq", "--no-trunc").stdout.decode().split() == [kept]


def until(check):
    """Return the first true value of a check."""
    end = time.monotonic() + DEADLINE_S
    while not (value := check()):
        assert time.monotonic() < end, "deadline"
        time.sleep(0.05)
    return value


def newest(pinnace) -> str:
    return pinnace("ps", "-lq").stdout.decode().strip()


@contextmanager
def started(engine, *arguments):
    program = subprocess.Popen(
        [*PINNACE, "-H", engine.host, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield program
    finally:
        program.kill()
        program.wait()


class Terminal:
    """The user's side of a pseudo terminal on which the program runs."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid, self.fd, self.seen = pid, fd, b""

    def expect(self, text: bytes) -> None:
        """Read until the text appears, and forget everything up to its end."""
        end = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            try:
                self.seen += os.read(self.fd, 65536)
            except OSError as exc:
                raise AssertionError(f"ended without {text!r}: {self.seen!r}") from exc
        self.seen = self.seen.partition(text)[2]

    def send(self, data: bytes) -> None:
        os.write(self.fd, data)

    def resize(self, rows: int, columns: int) -> None:
        pty_size(self.fd, rows, columns)

    def wait(self) -> int:
        """Wait for the program's end and return its status; output is drained."""
        while True:
            try:
                if not os.read(self.fd, 65536):
                    break
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def pty_size(fd: int, rows: int, columns: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextmanager
def terminal(engine, *arguments, size=(24, 80)):
    command = [*PINNACE, "-H", engine.host, *arguments]
    pid, fd = pty.fork()
    if pid == 0:
        # A new program at once; nothing of this process is touched in between.
        os.execvp(command[0], command)
    pty_size(fd, *size)
    try:
        yield Terminal(pid, fd)
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(fd)
