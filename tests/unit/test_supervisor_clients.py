"""Detach keys, messages and task descriptions: the pure parts of the supervisor."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.supervisor.clients import DetachKeys
from pinnace.supervisor.protocol import (
    MAX_MESSAGE_BYTES,
    Channel,
    ProtocolError,
    close_all,
    number,
    text,
)
from pinnace.supervisor.reaper import code_of
from pinnace.supervisor.spec import SinkOptions, Spec

KEYS = b"\x10\x11"
A_SPEC = {"id": "t", "argv": ["true"], "pid_file": "/p", "exit_file": "/e"}


def typed(keys, *parts):
    """Return what is passed on for the parts, and whether the keys were found."""
    finder = DetachKeys(keys)
    passed = b""
    for part in parts:
        more, found = finder.feed(part)
        passed += more
        if found:
            return passed, True
    return passed + finder.rest(), False


@pytest.mark.parametrize(
    ("parts", "passed", "found"),
    [
        ((b"abc",), b"abc", False),
        ((b"ab\x10\x11cd",), b"ab", True),
        ((b"ab\x10", b"\x11"), b"ab", True),
        ((b"\x10", b"x"), b"\x10x", False),
        ((b"\x10\x10", b"\x11"), b"\x10", True),
        ((b"ab\x10",), b"ab\x10", False),
    ],
)
def test_detach_keys_are_found_however_they_are_split(parts, passed, found):
    assert typed(KEYS, *parts) == (passed, found)


def test_a_beginning_of_the_keys_is_held_back():
    finder = DetachKeys(KEYS)
    assert finder.feed(b"a\x10") == (b"a", False)
    assert finder.feed(b"b") == (b"\x10b", False)


def test_without_detach_keys_everything_passes():
    assert typed(b"", b"\x10\x11") == (b"\x10\x11", False)


@given(
    st.lists(st.binary(min_size=1, max_size=4).map(lambda b: bytes(c % 3 for c in b))),
    st.binary(min_size=1, max_size=4).map(lambda b: bytes(c % 3 for c in b)),
)
def test_detach_keys_equal_a_search_in_the_whole_input(parts, keys):
    before, found, _ = b"".join(parts).partition(keys)
    assert typed(keys, *parts) == (before, bool(found))


@pytest.fixture
def channels():
    made = [Channel(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
    yield made
    for channel in made:
        channel.close()


def test_messages_carry_descriptors(channels):
    left, right = channels
    reading, writing = os.pipe()
    left.send({"op": "x", "n": 1}, [writing])
    os.close(writing)
    message, fds = right.receive()
    assert message == {"op": "x", "n": 1}
    assert not os.get_inheritable(fds[0])
    os.write(fds[0], b"!")
    assert os.read(reading, 9) == b"!"
    close_all([reading, *fds])


def test_a_message_may_be_large_but_not_too_large(channels):
    left, right = channels
    left.send({"v": "x" * 900_000})
    assert len(right.receive()[0]["v"]) == 900_000
    with pytest.raises(ProtocolError):
        left.send({"v": "x" * MAX_MESSAGE_BYTES})


def test_messages_wait_for_a_peer_that_does_not_read(channels):
    left, right = channels
    for at in range(5000):
        left.send({"at": at, "pad": "x" * 1000})
    assert left.wants_write
    seen = []
    while len(seen) < 5000:
        try:
            seen.append(right.receive()[0]["at"])
        except BlockingIOError:
            left.flush()
    assert seen == list(range(5000))


@pytest.mark.parametrize("data", [b"no json", b"[1]", b"\xff"])
def test_what_is_no_message_is_refused(channels, data):
    left, right = channels
    left.sock.send(data)
    with pytest.raises(ProtocolError):
        right.receive()


def test_an_empty_read_is_the_end(channels):
    left, right = channels
    left.sock.shutdown(socket.SHUT_WR)
    assert right.receive() is None


def test_fields_are_checked():
    assert text({"a": "x"}, "a") == "x"
    assert number({}, "a", 3) == 3
    for wrong in ({"a": 1}, {}):
        with pytest.raises(ProtocolError):
            text(wrong, "a")
    with pytest.raises(ProtocolError):
        number({"a": "1"}, "a")


def test_a_task_needs_an_id_and_a_command():
    assert Spec(dict(A_SPEC)).keeps_log is False
    assert Spec(A_SPEC | {"console_size": [24, 80]}).console_size == (24, 80)
    for missing in ({"id": ""}, {"argv": []}, {"pid_file": None}):
        with pytest.raises(ProtocolError):
            Spec(A_SPEC | missing)


def test_a_log_that_is_discarded_is_not_kept():
    log = {"directory": "/d", "max_size": 1, "max_files": 1}
    assert Spec(A_SPEC | {"log": log | {"discard": False}}).keeps_log
    assert not Spec(A_SPEC | {"log": log | {"discard": True}}).keeps_log


def test_a_sink_says_which_streams_it_wants():
    options = SinkOptions({"stderr": True, "detach_keys": "EBE=", "early": "aGk="})
    assert options.streams == {2}
    assert (options.detach_keys, options.early, options.stdin) == (KEYS, b"hi", False)


@pytest.mark.parametrize(("status", "code"), [(0, 0), (7 << 8, 7), (9, 137), (139, 139)])
def test_a_wait_status_becomes_an_exit_code(status, code):
    assert code_of(status) == code
