"""Contract of 2013, section "Attach": C173 to C192."""

from __future__ import annotations

import socket

import pytest
from tests.support.remote import (
    RAW_STREAM_HEAD,
    parse,
    read_all,
    read_until,
    take_head,
    until,
)

pytestmark = pytest.mark.root
BOTH = "echo out1; echo err1 >&2; echo out2; echo err2 >&2"
ONCE = {"OpenStdin": True, "StdinOnce": True}
NOT_RUNNING = b"Error: Impossible to attach to a stopped container, start it first\n"


@pytest.fixture(scope="module")
def talked(shared):
    """An ended container that wrote to both streams."""
    return shared.finish("sh", "-c", BOTH)


@pytest.fixture
def replayed(api):
    """What an attach, read to its end, gives behind its head."""

    def ask(container, query):
        raw = api.post(f"/containers/{container}/attach?{query}").sent
        assert raw.startswith(RAW_STREAM_HEAD), raw
        return raw[len(RAW_STREAM_HEAD) :]

    return ask


@pytest.fixture
def gated(containers):
    """Run a container whose script can wait for a file; returns its id and how to open it."""

    def run(script, **settings):
        wait = "gate() { while [ ! -e /$1 ]; do usleep 5000; done; }; "
        container = containers.run("sh", "-c", wait + script, **settings)
        return container, lambda name: containers.touch(container, name)

    return run


def test_c173_the_head_is_exactly_68_bytes(api, containers, talked):
    assert len(RAW_STREAM_HEAD) == 68
    for container in (talked, containers.sleeper(), containers.create("true")):
        raw = api.post(f"/containers/{container}/attach?logs=1&stdout=1&stderr=1").sent
        assert raw[:68] == RAW_STREAM_HEAD


def test_c174_logs_replay_stdout_and_close(replayed, talked):
    assert replayed(talked, "logs=1&stdout=1") == b"out1\nout2\n"


def test_c174_logs_of_a_running_container_are_replayed_and_the_connection_closes(
    replayed, containers
):
    container = containers.run("sh", "-c", "echo early; sleep 600")
    until(lambda: replayed(container, "logs=1&stdout=1") == b"early\n", "the replay")


def test_c175_logs_of_stderr_hold_stderr_only(replayed, talked):
    assert replayed(talked, "logs=1&stderr=1") == b"err1\nerr2\n"


def test_c176_logs_of_both_are_stdout_and_then_stderr(replayed, talked):
    assert replayed(talked, "logs=1&stdout=1&stderr=1") == b"out1\nout2\nerr1\nerr2\n"


def test_c176_logs_of_both_of_a_running_container_are_in_that_order_too(replayed, containers):
    container = containers.run("sh", "-c", f"{BOTH}; sleep 600")
    wanted = b"out1\nout2\nerr1\nerr2\n"
    until(lambda: replayed(container, "logs=1&stdout=1&stderr=1") == wanted, "the replay")


def test_c177_output_is_the_bytes_that_the_process_wrote(replayed, containers):
    script = r"printf '\001\000\000\000\000\000\000\005hello\377\r\n\000'; printf 'no newline'"
    container = containers.finish("sh", "-c", script)
    wanted = b"\x01\0\0\0\0\0\0\x05hello\xff\r\n\0no newline"
    assert replayed(container, "logs=1&stdout=1") == wanted


def test_c178_a_stream_delivers_new_output_while_the_container_runs(api, gated):
    container, pass_gate = gated("gate one; echo one; gate two; echo two; sleep 600")
    with api.attached(container, "stream=1&stdout=1") as client:
        take_head(client)
        pass_gate("one")
        assert read_until(client, b"\n") == b"one\n"
        pass_gate("two")
        assert read_until(client, b"\n") == b"two\n"


def test_c179_the_connection_closes_when_the_output_ends(api, gated):
    container, pass_gate = gated("gate go; echo last")
    with api.attached(container, "stream=1&stdout=1&stderr=1") as client:
        take_head(client)
        pass_gate("go")
        assert read_all(client) == b"last\n"


def test_c180_without_logs_earlier_output_does_not_appear(api, gated, replayed):
    container, pass_gate = gated("echo before; gate go; echo after")
    until(lambda: replayed(container, "logs=1&stdout=1") == b"before\n", "its first output")
    with api.attached(container, "stream=1&stdout=1") as client:
        take_head(client)
        pass_gate("go")
        assert read_all(client) == b"after\n"


def test_c181_logs_of_earlier_runs_stay(api, containers, replayed):
    container = containers.finish("echo", "again")
    for _ in range(2):
        containers.start(container)
        api.post(f"/containers/{container}/wait")
    assert replayed(container, "logs=1&stdout=1") == b"again\n" * 3


def test_c182_input_reaches_the_process_and_its_output_comes_back(api, containers):
    container = containers.run("cat", OpenStdin=True)
    with api.attached(container, "stream=1&stdin=1&stdout=1") as client:
        take_head(client)
        for word in (b"one\n", b"two\n"):
            client.sendall(word)
            assert read_until(client, b"\n") == word


def test_c183_with_stdin_once_a_half_close_ends_the_input(api, containers):
    container = containers.run("cat", **ONCE)
    sent = bytes(range(256)) * 2048
    with api.attached(container, "stream=1&stdin=1&stdout=1&stderr=1") as client:
        take_head(client)
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == sent
    assert api.post(f"/containers/{container}/wait").json() == {"StatusCode": 0}


def test_c184_without_stdin_once_a_half_close_leaves_the_input_open(api, containers):
    container = containers.run("cat", OpenStdin=True)
    with api.attached(container, "stream=1&stdin=1&stdout=1") as first:
        take_head(first)
        first.sendall(b"first\n")
        assert read_until(first, b"\n") == b"first\n"
        first.shutdown(socket.SHUT_WR)
        with api.attached(container, "stream=1&stdin=1&stdout=1") as second:
            take_head(second)
            second.sendall(b"second\n")
            assert read_until(second, b"\n") == b"second\n"
        assert read_until(first, b"\n") == b"second\n"
    assert containers.inspect(container)["State"]["Running"]


def test_c185_without_open_stdin_input_reaches_nobody(api, gated):
    container, pass_gate = gated('gate go; read line; echo "read <$line>"')
    with api.attached(container, "stream=1&stdin=1&stdout=1") as client:
        take_head(client)
        client.sendall(b"lost\n" * 100)
        pass_gate("go")
        assert read_all(client) == b"read <>\n"


def test_c186_a_terminal_ends_lines_with_cr_lf_and_has_one_stream(
    api, replayed, containers, gated
):
    container = containers.finish("sh", "-c", BOTH, Tty=True)
    wanted = b"out1\r\nerr1\r\nout2\r\nerr2\r\n"
    assert replayed(container, "logs=1&stdout=1") == wanted
    assert replayed(container, "logs=1&stderr=1") == b""
    live, pass_gate = gated(f"gate go; {BOTH}", Tty=True)
    with api.attached(live, "stream=1&stdout=1") as client:
        take_head(client)
        pass_gate("go")
        assert read_all(client) == wanted


def test_c187_with_a_terminal_two_keys_detach(api, containers):
    container = containers.run("cat", Tty=True, OpenStdin=True)
    with api.attached(container, "stream=1&stdin=1&stdout=1") as client:
        take_head(client)
        client.sendall(b"hello\n")
        assert read_until(client, b"hello\r\nhello\r\n")
        client.sendall(b"\x10")
        client.sendall(b"\x11")
        read_all(client)
    assert containers.inspect(container)["State"]["Running"]


def test_c188_two_clients_both_get_the_output(api, gated):
    container, pass_gate = gated("gate go; for i in 1 2 3; do echo $i; done")
    with (
        api.attached(container, "stream=1&stdout=1") as first,
        api.attached(container, "stream=1&stdout=1") as second,
    ):
        take_head(first)
        take_head(second)
        pass_gate("go")
        assert read_all(first) == read_all(second) == b"1\n2\n3\n"


def test_c189_attach_to_an_unknown_container_is_an_ordinary_404(api):
    head = f"POST {api.target('/containers/nosuch/attach?stream=1&stdout=1')} HTTP/1.1\r\n"
    fields = "Host: localhost\r\nContent-Length: 0\r\n"
    again = f"GET {api.target('/version')} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"
    raw = api.raw((head + fields + "\r\n" + again).encode())
    first, _, rest = raw.partition(b"No such container: nosuch\n")
    reply = parse(first)
    assert reply.status == 404
    assert reply.type == "text/plain; charset=utf-8"
    assert reply.headers["content-length"] == "26"
    # The connection was not taken over: it serves the next request.
    assert parse(rest).status == 200


@pytest.mark.parametrize("streams", ["stdout=1", "stdout=1&stderr=1", "stdin=1&stdout=1"])
def test_c190_a_stream_of_a_stopped_container_is_one_line_of_error(
    replayed, containers, talked, streams
):
    for container in (talked, containers.create("true", OpenStdin=True)):
        assert replayed(container, f"stream=1&{streams}") == NOT_RUNNING


def test_c191_logs_and_stream_of_a_stopped_container_are_its_logs(replayed, talked):
    assert replayed(talked, "logs=1&stream=1&stdout=1") == b"out1\nout2\n"
    assert replayed(talked, "logs=1&stream=1&stdout=1&stderr=1") == b"out1\nout2\nerr1\nerr2\n"


def test_c192_attach_that_asks_for_nothing_gets_the_head_only(api, containers, talked):
    for container in (talked, containers.sleeper(), containers.create("true")):
        assert api.post(f"/containers/{container}/attach").sent == RAW_STREAM_HEAD
