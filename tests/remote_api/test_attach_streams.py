"""Attach as the clients of 2013 did it: early input, half-closes, two at once, and under load."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time

import pytest
from tests.support.remote import read_all, read_until, take_head, until

pytestmark = pytest.mark.root
ONCE = {"OpenStdin": True, "StdinOnce": True}
PARTS = 10
PART_LINES = 625_000  # of eight bytes: 50 MB in all
CLIENTS = 8
LETTERS = bytes.maketrans(b"0123456789\n", b"abcdefghij\r")


def test_input_in_the_segment_of_the_request_arrives(api, containers):
    container = containers.run("cat", **ONCE)
    query = "stream=1&stdin=1&stdout=1"
    with api.attached(container, query, early=b"early ") as client:
        take_head(client)
        client.sendall(b"late")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"early late"


def test_input_and_its_end_may_come_before_the_head_was_read(api, containers):
    container = containers.run("cat", **ONCE)
    sent = bytes(range(256)) * 256
    with api.attached(container, "stream=1&stdin=1&stdout=1", early=sent) as client:
        client.shutdown(socket.SHUT_WR)
        take_head(client)
        assert read_all(client) == sent


def test_output_goes_on_after_the_end_of_the_input(api, containers):
    script = "cat > /dev/null; while [ ! -e /go ]; do usleep 5000; done; echo late; exit 7"
    container = containers.run("sh", "-c", script, **ONCE)
    with api.attached(container, "stream=1&stdin=1&stdout=1&stderr=1") as client:
        take_head(client)
        client.sendall(b"all there is")
        client.shutdown(socket.SHUT_WR)
        containers.touch(container, "go")
        assert read_all(client) == b"late\n"
    assert api.post(f"/containers/{container}/wait").json() == {"StatusCode": 7}


def test_a_client_without_input_may_half_close_at_once(api, containers):
    script = "while [ ! -e /go ]; do usleep 5000; done; echo error >&2"
    container = containers.run("sh", "-c", script, OpenStdin=True)
    with api.attached(container, "stream=1&stderr=1") as client:
        client.shutdown(socket.SHUT_WR)
        take_head(client)
        containers.touch(container, "go")
        assert read_all(client) == b"error\n"


def test_two_attachments_at_once_carry_a_stream_each(api, containers):
    script = "while read line; do echo out $line; echo err $line >&2; done"
    container = containers.run("sh", "-c", script, **ONCE)
    with (
        api.attached(container, "logs=1&stream=1&stdin=1&stdout=1") as first,
        api.attached(container, "logs=1&stream=1&stderr=1") as second,
    ):
        second.shutdown(socket.SHUT_WR)
        take_head(first)
        take_head(second)
        for word in (b"one", b"two"):
            first.sendall(word + b"\n")
            assert read_until(first, b"\n") == b"out " + word + b"\n"
            assert read_until(second, b"\n") == b"err " + word + b"\n"
        first.shutdown(socket.SHUT_WR)
        assert (read_all(first), read_all(second)) == (b"", b"")


@pytest.mark.parametrize("pieces", [(b"\x10\x11",), (b"x\x10", b"\x11"), (b"\x10", b"\x11y")])
def test_detach_keys_are_found_however_they_come(api, containers, pieces):
    container = containers.run("cat", Tty=True, OpenStdin=True)
    with api.attached(container, "stream=1&stdin=1&stdout=1") as client:
        take_head(client)
        for piece in pieces:
            client.sendall(piece)
        read_all(client)
    assert containers.inspect(container)["State"]["Running"]
    with api.attached(container, "stream=1&stdin=1&stdout=1") as client:
        take_head(client)
        client.sendall(b"again\n")
        read_until(client, b"again\r\n")


def test_a_client_that_leaves_takes_nothing_along(api, containers):
    container = containers.run("cat", OpenStdin=True)
    for _ in range(5):
        with api.attached(container, "stream=1&stdin=1&stdout=1") as client:
            take_head(client)
    with api.attached(container, "stream=1&stdin=1&stdout=1") as client:
        take_head(client)
        client.sendall(b"still here\n")
        assert read_until(client, b"\n") == b"still here\n"


def numbers(part):
    first = 1_000_000 + part * PART_LINES
    return "".join(f"{number}\n" for number in range(first, first + PART_LINES)).encode()


def digest_until_end(client):
    found, size = hashlib.sha256(), 0
    while piece := client.recv(1 << 18):
        found.update(piece)
        size += len(piece)
    return size, found.hexdigest()


def test_fifty_megabytes_reach_every_client_once_and_in_order(tcp, containers_of_1_2):
    """Clients come at any moment; each gets the log and then what is new, without a seam."""
    ends = [1_000_000 + part * PART_LINES - 1 for part in range(1, PARTS + 1)]
    parts = [f"seq {end - PART_LINES + 1} {end}; usleep 60000" for end in ends]
    container = containers_of_1_2.run("sh", "-c", "; ".join(parts))
    results = []

    def attend(delay_s, version):
        time.sleep(delay_s)  # the random moment, not a wait for anything
        with tcp.at(version).attached(container, "logs=1&stream=1&stdout=1") as client:
            take_head(client)
            results.append(digest_until_end(client))

    chosen = random.Random(2013)
    threads = [
        threading.Thread(target=attend, args=(chosen.uniform(0, 1.5), f"1.{number % 3}"))
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    wanted, size = hashlib.sha256(), 0
    for part in range(PARTS):
        piece = numbers(part)
        wanted.update(piece)
        size += len(piece)
    for thread in threads:
        thread.join(60)
    assert size == 50_000_000
    assert results == [(size, wanted.hexdigest())] * CLIENTS


def test_both_streams_are_whole_when_clients_come_while_they_are_written(tcp, containers_of_1_2):
    """Each stream's bytes have an alphabet of their own, so that they can be told apart."""
    script = "for i in 1 2 3 4 5; do {0}; {0} | tr '0-9\\n' 'a-j\\r' >&2; usleep 40000; done"
    container = containers_of_1_2.run("sh", "-c", script.format("seq 100000 140000"))
    written = "".join(f"{number}\n" for number in range(100_000, 140_001)).encode() * 5
    lettered = written.translate(LETTERS)
    results = []

    def attend(delay_s):
        time.sleep(delay_s)  # the random moment, not a wait for anything
        with tcp.at("1.2").attached(container, "logs=1&stream=1&stdout=1&stderr=1") as client:
            take_head(client)
            results.append(read_all(client))

    chosen = random.Random(1305)
    threads = [
        threading.Thread(target=attend, args=(chosen.uniform(0, 0.6),)) for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == CLIENTS
    for got in results:
        assert got.translate(None, b"abcdefghij\r") == written
        assert got.translate(None, b"0123456789\n") == lettered
    until(lambda: not containers_of_1_2.inspect(container)["State"]["Running"], "its end")
    after = tcp.at("1.0").post(f"/containers/{container}/attach?logs=1&stdout=1&stderr=1").body
    assert after == written + lettered


@pytest.fixture
def containers_of_1_2(shared):
    return shared
