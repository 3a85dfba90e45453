"""Interactive containers: a person with Docker's or our command line at a pseudo-terminal."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import pinnaced
from tests.support.engine import remove_root
from tests.support.images import busybox_archive
from tests.support.terminal import DEADLINE_S, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.engine import Engine

pytestmark = pytest.mark.root

CLIENTS = {"docker": ("docker",), "pinnace": (sys.executable, "-m", "pinnace.cli.main")}
PROMPT = r"/ # "
DETACH = "\x10\x11"
ESCAPED = r"read escape sequence"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("t")
    with pinnaced.start(root, bridge=None) as started:
        started.load(busybox_archive())
        yield started
    remove_root(root)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return CLIENTS[request.param]


@pytest.fixture
def name(engine: Engine, request: pytest.FixtureRequest) -> Iterator[str]:
    made = f"c{abs(hash(request.node.name)):x}"
    yield made
    engine.request("DELETE", f"/containers/{made}", query={"force": "1"})


def at_terminal(engine: Engine, client: tuple[str, ...], *arguments: str) -> Terminal:
    return Terminal([*client, *arguments], environment_of(engine))


def run_shell(engine: Engine, client: tuple[str, ...], name: str, *options: str) -> Terminal:
    command = ("run", "-it", "--net=none", f"--name={name}", *options, "busybox", "sh")
    return at_terminal(engine, client, *command)


def environment_of(engine: Engine) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(engine.root),
        "DOCKER_CONFIG": str(engine.root / "docker-config"),
        "DOCKER_HOST": engine.host,
        "PINNACE_HOST": engine.host,
        "TERM": "xterm",
    }


def state_of(engine: Engine, name: str) -> Any:
    return engine.request("GET", f"/containers/{name}/json").json()["State"]


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def attached(engine: Engine, name: str) -> socket.socket:
    """Attach standard input and output of a container over a raw connection."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(DEADLINE_S)
    stream.connect(str(engine.socket))
    path = f"/containers/{name}/attach?stream=1&stdin=1&stdout=1"
    stream.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n".encode())
    stream.sendall(b"Upgrade: tcp\r\nContent-Length: 0\r\n\r\n")
    assert b" 101 " in read_until(stream, b"\r\n\r\n")
    return stream


def read_until(stream: socket.socket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        more = stream.recv(4096)
        assert more, f"the connection ended after {data!r}"
        data += more
    return data


def test_the_first_command_of_a_terminal_sees_the_size_of_the_window(engine, client, name):
    options = ("run", "-it", "--rm", "--net=none", f"--name={name}")
    with at_terminal(engine, client, *options, "busybox", "stty", "size") as terminal:
        terminal.expect(r"^31 97$")
        assert terminal.end() == 0


def test_a_shell_follows_the_window_and_its_exit_code_passes(engine, client, name):
    with run_shell(engine, client, name, "--rm") as terminal:
        terminal.expect(PROMPT)
        terminal.type("stty size\n")
        terminal.expect(r"^31 97$")
        terminal.resize(44, 133)
        terminal.type("while [ \"$(stty size)\" != '44 133' ]; do sleep 0.05; done; tty\n")
        terminal.expect(r"^/dev/pts/0$")
        terminal.type("exit 42\n")
        assert terminal.end() == 42


def test_a_process_is_told_of_a_new_window_size(engine, client, name):
    options = ("run", "-it", "--rm", "--net=none", f"--name={name}", "busybox", "sh", "-c")
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    with at_terminal(engine, client, *options, script) as terminal:
        terminal.expect(r"^ready$")

        def told() -> bool:
            # The client may begin to listen for changes only now.
            terminal.resize(44, 100 + len(sizes) % 50)
            sizes.append(terminal.shown)
            terminal.read(0.2)
            return b"\n44 1" in terminal.shown

        sizes: list[bytes] = []
        wait_until(told)


def test_keys_detach_and_a_second_session_shows_what_comes_next(engine, client, name):
    with run_shell(engine, client, name) as terminal:
        terminal.expect(PROMPT)
        terminal.type(DETACH)
        assert terminal.end() == 0
    assert engine.request("GET", f"/containers/{name}/json").json()["State"]["Running"]
    with at_terminal(engine, client, "attach", name) as terminal:
        terminal.type("echo $((6 * 7)) again; stty size\n")
        terminal.expect(r"^42 again$")
        terminal.expect(r"^31 97$")
        terminal.type("exit 3\n")
        assert terminal.end() == 3


def test_other_keys_detach_when_asked_and_the_usual_ones_are_sent(engine, client, name):
    with run_shell(engine, client, name, "--detach-keys=ctrl-a,x") as terminal:
        terminal.expect(PROMPT)
        terminal.type(DETACH)
        terminal.type("\x01x")
        assert terminal.end() == 0


def test_an_interrupt_reaches_the_process_in_the_foreground(engine, client, name):
    with run_shell(engine, client, name, "--rm") as terminal:
        terminal.expect(PROMPT)
        terminal.type("sh -c 'echo be\"\"gun; exec sleep 1000'\n")
        terminal.expect(r"^begun$")
        terminal.type("\x03")
        terminal.expect(PROMPT)
        terminal.type("\x04")
        assert terminal.end() == 130


def test_exec_has_a_terminal_of_its_own_size(engine, client, name):
    running = engine.cli("run", "-d", "--net=none", f"--name={name}", "busybox", "top")
    assert running.returncode == 0, running.stderr
    with at_terminal(engine, client, "exec", "-it", name, "sh") as terminal:
        terminal.expect(PROMPT)
        terminal.type("stty size\n")
        terminal.expect(r"^31 97$")
        terminal.expect(PROMPT)
        terminal.resize(20, 61)
        terminal.type("while [ \"$(stty size)\" != '20 61' ]; do sleep 0.05; done; ps -o args\n")
        terminal.expect(r"^top$")
        terminal.type("exit 9\n")
        assert terminal.end() == 9
    # The runtime gives an exec's terminal its size while the program starts already.
    script = "until [ \"$(stty size)\" = '31 97' ]; do sleep 0.05; done; echo sized"
    with at_terminal(engine, client, "exec", "-it", name, "sh", "-c", script) as terminal:
        terminal.expect(r"^sized$")
        assert terminal.end() == 0


def test_keys_detach_from_exec_and_its_process_goes_on(engine, client, name):
    running = engine.cli("run", "-d", "--net=none", f"--name={name}", "busybox", "top")
    assert running.returncode == 0, running.stderr
    with at_terminal(engine, client, "exec", "-it", name, "sh") as terminal:
        terminal.expect(PROMPT)
        terminal.type(DETACH)
        terminal.expect(ESCAPED)
        terminal.end()
    processes = engine.request("GET", f"/containers/{name}/top").json()["Processes"]
    assert sorted(row[-1] for row in processes) == ["sh", "top"]


def test_two_people_share_one_terminal(engine, client, name):
    with run_shell(engine, client, name) as one:
        one.expect(PROMPT)
        with at_terminal(engine, client, "attach", name) as two:
            two.type("echo from $((1 + 1))\n")
            one.expect(r"^from 2$")
            two.expect(r"^from 2$")
            one.type("exit 5\n")
            assert (one.end(), two.end()) == (5, 5)


def test_a_terminal_survives_the_death_of_the_daemon(engine, name):
    with run_shell(engine, CLIENTS["docker"], name) as terminal:
        terminal.expect(PROMPT)
        terminal.type(DETACH)
        terminal.end()
    engine.kill()
    engine.launch()
    with at_terminal(engine, CLIENTS["docker"], "attach", name) as terminal:
        terminal.type("echo still $((1 + 1)); stty size\n")
        terminal.expect(r"^still 2$")
        terminal.expect(r"^31 97$")
        terminal.type("exit 4\n")
        assert terminal.end() == 4
    state = engine.request("GET", f"/containers/{name}/json").json()["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 4)


def test_without_a_terminal_the_end_of_input_reaches_the_container(engine, client, name):
    done = engine.cli(
        *client[1:],
        *("run", "-i", "--rm", "--net=none", f"--name={name}", "busybox", "sh", "-c"),
        "cat; echo over; exit 6",
        program=client[0],
        stdin=b"typed\n" * 1000,
    )
    assert (done.returncode, done.stdout) == (6, b"typed\n" * 1000 + b"over\n"), done.stderr


def test_standard_input_stays_open_after_a_client_when_it_is_not_once(engine, name):
    body = {
        "Image": "busybox",
        "Cmd": ["cat"],
        "OpenStdin": True,
        "StdinOnce": False,
        "HostConfig": {"NetworkMode": "none"},
    }
    made = engine.request("POST", "/containers/create", body, query={"name": name})
    assert made.status == 201, made.body
    engine.request("POST", f"/containers/{name}/start")
    for text in (b"first\n", b"second\n"):
        with attached(engine, name) as stream:
            stream.sendall(text)
            read_until(stream, text)
    assert engine.request("GET", f"/containers/{name}/json").json()["State"]["Running"]


def test_standard_input_that_is_once_ends_with_the_first_client(engine, name):
    body = {
        "Image": "busybox",
        "Cmd": ["cat"],
        "OpenStdin": True,
        "StdinOnce": True,
        "HostConfig": {"NetworkMode": "none"},
    }
    made = engine.request("POST", "/containers/create", body, query={"name": name})
    assert made.status == 201, made.body
    engine.request("POST", f"/containers/{name}/start")
    with attached(engine, name) as stream:
        stream.sendall(b"only\n")
        read_until(stream, b"only\n")
    answer = engine.request("POST", f"/containers/{name}/wait", timeout=40)
    assert answer.json()["StatusCode"] == 0


def test_a_terminal_outlives_the_client_that_was_killed(engine, client, name):
    with run_shell(engine, client, name) as terminal:
        terminal.expect(PROMPT)
        terminal.process.kill()
        terminal.process.wait()
    assert state_of(engine, name)["Running"]
    with at_terminal(engine, client, "attach", name) as terminal:
        terminal.type("echo still $((1 + 1)); exit 8\n")
        terminal.expect(r"^still 2$")
        assert terminal.end() == 8


def test_a_stopped_container_is_started_again_at_a_terminal(engine, client, name):
    with run_shell(engine, client, name) as terminal:
        terminal.expect(PROMPT)
        terminal.type("exit 2\n")
        assert terminal.end() == 2
    with at_terminal(engine, client, "start", "-ai", name) as terminal:
        terminal.expect(PROMPT)
        terminal.type("stty size; exit 3\n")
        terminal.expect(r"^31 97$")
        assert terminal.end() == 3


def test_much_that_is_pasted_arrives_whole(engine, client, name):
    with run_shell(engine, client, name, "--rm") as terminal:
        terminal.expect(PROMPT)
        terminal.type("stty -echo; cat > /pasted; wc -l < /pasted; md5sum /pasted; exit\n")
        line = "0123456789" * 7 + "\n"
        for _ in range(20):
            terminal.type(line * 25)
        terminal.type("\x04")
        terminal.expect(r"^500$")
        terminal.expect(hashlib.md5((line * 500).encode()).hexdigest())
        assert terminal.end() == 0


def test_a_terminal_without_input_shows_output_and_no_more(engine, client, name):
    words = ("run", "-t", "--rm", "--net=none", f"--name={name}", "busybox", "sh", "-c")
    done = engine.cli(*client[1:], *words, "tty; echo out; echo err >&2", program=client[0])
    assert (done.returncode, done.stdout) == (0, b"/dev/pts/0\r\nout\r\nerr\r\n"), done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 5), (signal.SIGTERM, 6)])
def test_signals_of_a_client_without_terminal_reach_the_container(
    engine, client, name, number, code
):
    script = "trap 'exit 5' INT; trap 'exit 6' TERM; echo ready; while :; do sleep 0.1; done"
    words = ("run", "--rm", "--net=none", f"--name={name}", "busybox", "sh", "-c", script)
    running = subprocess.Popen(
        [*client, *words],
        env=environment_of(engine),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with running:
        try:
            assert running.stdout.readline() == b"ready\n"
            running.send_signal(number)
            assert running.wait(DEADLINE_S) == code
        finally:
            running.kill()


def test_input_ends_when_its_only_client_is_killed(engine, client, name):
    words = ("run", "-i", "--net=none", f"--name={name}", "busybox", "sh", "-c", "cat; exit 3")
    running = subprocess.Popen(
        [*client, *words],
        env=environment_of(engine),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with running:
        running.stdin.write(b"typed\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"typed\n"
        running.kill()
    wait_until(lambda: state_of(engine, name)["Status"] == "exited")
    assert state_of(engine, name)["ExitCode"] == 3


def test_a_slow_reader_of_input_and_output_loses_nothing(engine, client, name):
    data = os.urandom(3 << 20)
    script = "sleep 0.5; cat"
    done = engine.cli(
        *client[1:],
        *("run", "-i", "--rm", "--net=none", f"--name={name}", "busybox", "sh", "-c", script),
        program=client[0],
        stdin=data,
    )
    assert done.returncode == 0
    assert done.stdout == data
