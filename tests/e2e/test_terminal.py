"""Interactive containers: a person with Docker's or our command line at a pseudo-terminal."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support import pinnaced
from tests.support.engine import remove_root
from tests.support.images import busybox_archive
from tests.support.terminal import DEADLINE_S, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(engine.root),
        "DOCKER_CONFIG": str(engine.root / "docker-config"),
        "DOCKER_HOST": engine.host,
        "PINNACE_HOST": engine.host,
        "TERM": "xterm",
    }
    return Terminal([*client, *arguments], environment)


def run_shell(engine: Engine, client: tuple[str, ...], name: str, *options: str) -> Terminal:
    command = ("run", "-it", "--net=none", f"--name={name}", *options, "busybox", "sh")
    return at_terminal(engine, client, *command)


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
        terminal.resize(44, 133)
        terminal.expect(r"^44 133$")


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
        terminal.type("echo be''gun; sleep 1000; echo en''ded\n")
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
        terminal.resize(20, 61)
        terminal.type("while [ \"$(stty size)\" != '20 61' ]; do sleep 0.05; done; ps -o args\n")
        terminal.expect(r"^top$")
        terminal.type("exit 9\n")
        assert terminal.end() == 9
    with at_terminal(engine, client, "exec", "-it", name, "stty", "size") as terminal:
        terminal.expect(r"^31 97$")
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
    assert [row[-1] for row in processes] == ["top", "sh"]


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
