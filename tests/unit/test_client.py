"""The client of the API against a scripted peer: framing, early answers, hijacks, addresses."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.client.address import DEFAULT_HOST, address_from_environment, parse_address
from pinnace.client.connection import connect
from pinnace.client.engine import Engine, encode_query, error_message
from pinnace.client.errors import ApiError, BadAnswer, ClientError, Unreachable
from pinnace.client.http import encode_head, exchange
from pinnace.client.streams import demultiplex

PING = b"HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: 2\r\n\r\n"


@asynccontextmanager
async def peer(tmp_path: Path, *answers: bytes):
    """Serve one canned answer for each connection; yield the engine and the requests' bytes."""
    requests: list[bytes] = []
    left = list(answers)
    served: list[asyncio.Task] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = left.pop(0)
        served.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(head)
        writer.write(answer)
        writer.write_eof()
        requests[-1] += await reader.read()
        writer.close()

    path = tmp_path / "s"
    server = await asyncio.start_unix_server(serve, str(path))
    async with server:
        yield Engine(parse_address(f"unix://{path}")), requests
        await asyncio.gather(*served)


async def test_the_newest_version_both_know_is_agreed_upon_once(tmp_path):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    async with peer(tmp_path, PING, answer, answer) as (engine, requests):
        await engine.call("GET", "/info")
        await engine.call("GET", "/version")
    assert [r.split(b" HTTP/1.1")[0] for r in requests] == [
        b"HEAD /_ping",
        b"GET /v1.44/info",
        b"GET /v1.44/version",
    ]


@pytest.mark.parametrize(
    ("said", "agreed"),
    [(b"1.56", "1.56"), (b"1.99", "1.56"), (b"2.0", "1.56"), (b"1.12", "1.12"), (None, "1.24")],
)
async def test_never_more_than_either_side_speaks(tmp_path, said, agreed):
    header = b"" if said is None else b"API-Version: " + said + b"\r\n"
    async with peer(tmp_path, b"HTTP/1.1 200 OK\r\n" + header + b"\r\n") as (engine, _):
        assert await engine.ping() == agreed


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: v\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["counted", "chunked", "trailer", "until close", "after 100"],
)
async def test_every_framing_gives_the_same_body(tmp_path, answer):
    async with peer(tmp_path, PING, answer) as (engine, _):
        assert await engine.call("GET", "/x") == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_broken_answers_are_told_and_never_taken_for_whole(tmp_path, answer):
    async with peer(tmp_path, PING, answer) as (engine, _):
        with pytest.raises(BadAnswer):
            await engine.call("GET", "/x")


async def test_an_error_answer_carries_the_engines_text(tmp_path):
    answer = b'HTTP/1.1 404 Not Found\r\nContent-Length: 24\r\n\r\n{"message":"No such it"}\n'
    async with peer(tmp_path, PING, answer) as (engine, _):
        with pytest.raises(ApiError, match="Error response from daemon: No such it") as caught:
            await engine.call("GET", "/x")
    assert (caught.value.status, caught.value.message) == (404, "No such it")


@pytest.mark.parametrize(
    ("body", "text"),
    [(b'{"message":"m"}', "m"), (b"plain\n", "plain"), (b"", "no reason given"), (b"[]", "[]")],
)
def test_error_texts_of_any_form_are_shown(body, text):
    assert error_message(body) == text


async def test_a_refusal_of_head_has_no_body_to_wait_for(tmp_path):
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n"
    async with peer(tmp_path, PING, answer) as (engine, _):
        with pytest.raises(ApiError) as caught:
            await engine.open("HEAD", "/x")
    assert caught.value.status == 404


async def test_an_early_answer_to_a_long_upload_is_heard(tmp_path):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(PING if b"_ping" in head else b"HTTP/1.1 400 Bad\r\n\r\nenough")
        writer.close()

    async def endless():
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"))
    async with server:
        engine = Engine(parse_address(f"unix://{tmp_path}/s"))
        with pytest.raises(ApiError, match="enough"):
            async with asyncio.timeout(10):
                await engine.open("POST", "/x", body=endless())


async def test_a_streamed_body_is_chunked(tmp_path):
    async def parts():
        for part in (b"ab", b"", b"c"):
            yield part

    received = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"_ping" in head:
            writer.write(PING)
        else:
            received.set_result((head, await reader.readuntil(b"0\r\n\r\n")))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"))
    async with server:
        engine = Engine(parse_address(f"unix://{tmp_path}/s"))
        async with await engine.open("POST", "/x", body=parts()) as response:
            assert await response.read() == b""
    head, body = await received
    assert b"\r\nTransfer-Encoding: chunked\r\n" in head
    assert body == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


async def test_lines_of_a_stream_are_whole_wherever_it_was_cut(tmp_path):
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for part in (b'{"a"', b':1}\r\n{"b":2}\n\n', b"{}"):
        answer += b"%x\r\n%b\r\n" % (len(part), part)
    async with peer(tmp_path, PING, answer + b"0\r\n\r\n") as (engine, _):
        async with await engine.open("GET", "/x") as response:
            found = [line.strip() async for line in response.lines()]
    assert found == [b'{"a":1}', b'{"b":2}', b"{}"]


@pytest.mark.parametrize("head", [b"HTTP/1.1 101 UPGRADED\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_both_forms_of_hijack_give_early_bytes_and_half_close(tmp_path, head):
    async with peer(tmp_path, PING, head + b"\r\nearly") as (engine, requests):
        connection = await engine.hijack("/x", query={"stream": True})
        await connection.write(b"input")
        await connection.write_eof()
        assert b"".join([data async for data in connection.chunks()]) == b"early"
        await connection.close()
    # leaving the block has waited for the peer to see our end
    assert b"\r\nUpgrade: tcp\r\n" in requests[1]
    assert requests[1].endswith(b"\r\n\r\ninput")


async def test_nobody_listening_is_told_with_the_address(tmp_path):
    engine = Engine(parse_address(f"unix://{tmp_path}/none"))
    with pytest.raises(Unreachable, match=f"unix://{tmp_path}/none"):
        await engine.ping()


async def test_cancelling_an_exchange_closes_the_connection(tmp_path):
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"))
    async with server:
        stream = await connect(parse_address(f"unix://{tmp_path}/s"))
        task = asyncio.create_task(exchange(stream, "GET", "/x", {}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            await closed.wait()


@pytest.mark.parametrize("target", ["/a\r\nX: y", "/a\nb"])
def test_line_breaks_cannot_be_smuggled_into_a_request(target):
    with pytest.raises(ValueError, match="line break"):
        encode_head("GET", target, {})


def test_queries_leave_out_what_is_not_given():
    assert (
        encode_query({"a": None, "b": True, "c": False, "d": "x y", "e": 3})
        == "?b=1&c=0&d=x+y&e=3"
    )
    assert encode_query({"a": None}) == ""


@pytest.mark.parametrize(
    "text",
    ["", "unix://relative", "ftp://x", "tcp://", "tcp://h:99999", "tcp://h:1/path", "host:1"],
)
def test_unusable_addresses_are_refused(text):
    with pytest.raises(ClientError):
        parse_address(text)


def test_addresses_come_from_the_environment():
    assert address_from_environment({}).text == DEFAULT_HOST
    assert address_from_environment({"PINNACE_HOST": "tcp://h"}).port == 4243
    secure = address_from_environment(
        {"PINNACE_HOST": "tcp://h", "PINNACE_TLS_VERIFY": "1", "PINNACE_CERT_PATH": "/c"}
    )
    assert (secure.port, secure.tls.ca, secure.tls.verify) == (2376, Path("/c/ca.pem"), True)
    assert parse_address("tcp://[::1]:80").host == "::1"


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">B3xI", stream, len(data)) + data


async def in_parts(data: bytes, sizes: list[int]):
    position = 0
    for size in sizes:
        if data[position : position + size]:
            yield data[position : position + size]
        position += size
    if data[position:]:
        yield data[position:]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=8),
    st.lists(st.integers(1, 12), max_size=30),
)
async def test_frames_come_apart_wherever_the_stream_is_cut(frames, sizes):
    data = b"".join(frame(stream, payload) for stream, payload in frames)
    found = {1: b"", 2: b""}
    async for stream, part in demultiplex(in_parts(data, sizes)):
        found[stream] += part
    for stream in found:
        assert found[stream] == b"".join(p for s, p in frames if s == stream)


@pytest.mark.parametrize("data", [frame(1, b"abc")[:-1], frame(1, b"")[:4], frame(9, b"x")])
async def test_broken_frames_are_told(data):
    with pytest.raises(BadAnswer):
        async for _ in demultiplex(in_parts(data, [])):
            pass
