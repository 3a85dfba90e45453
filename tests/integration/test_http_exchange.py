"""Requests and answers over a real socket."""

import asyncio

import pytest
from tests.support.http_edge import DEADLINE_S, Recorder, connected, eventually, serving, talk

from pinnace.api.http.body import BodyReader
from pinnace.api.http.failures import BodyTooLarge, ClientGone
from pinnace.errors import InvalidParameter

PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
PONG = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK"


async def test_a_request_is_answered_in_one_piece_and_the_connection_kept():
    async with serving() as (app, listener), connected(listener) as client:
        for _ in range(3):
            await client.send(PING)
            assert await client.read(len(PONG)) == PONG
        assert app.requests[0].listener.kind == "unix"
        assert app.requests[0].peer.uid == 0


async def test_path_and_query_are_passed_raw():
    async with serving() as (app, listener):
        await talk(listener, b"GET /a/../%2e%2E//b%00?x=%20&y=? HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.requests[0].path == "/a/../%2e%2E//b%00"
        assert app.requests[0].query == "x=%20&y=?"


async def test_unescaped_json_in_a_query_is_accepted_as_dockerd_does():
    async with serving() as (app, listener):
        target = '/images/json?filters={"label":["ü|^`"]}'.encode()
        await talk(listener, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.requests[0].query == 'filters={"label":["ü|^`"]}'


async def test_pipelined_requests_are_answered_one_after_the_other_in_order():
    order = []

    async def slow(exchange):
        order.append(f"begin {exchange.request.query}")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        order.append(f"end {exchange.request.query}")
        await exchange.respond(200, exchange.request.query.encode())

    async with serving() as (app, listener):
        app.routes["/slow"] = slow
        requests = b"".join(b"GET /slow?%d HTTP/1.1\r\n\r\n" % n for n in range(20))
        got = await talk(listener, requests)
        assert [part[-1:] for part in got.split(b"HTTP/1.1 ")[1:]] == [
            str(n)[-1].encode() for n in range(20)
        ]
        assert order == [f"{word} {n}" for n in range(20) for word in ("begin", "end")]


async def test_requests_with_bodies_can_be_pipelined():
    async with serving() as (_, listener), connected(listener) as client:
        length = b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
        chunks = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks += b"1\r\nd\r\n2\r\nef\r\n0\r\n\r\n"
        await client.send(length + chunks + length)
        assert [(await client.answer())[2] for _ in range(3)] == [b"abc", b"def", b"abc"]


async def test_extensions_and_trailers_of_chunks_are_swallowed():
    async with serving() as (_, listener), connected(listener) as client:
        body = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"
        body += b"3;a=b;c\r\nabc\r\n00A\r\n0123456789\r\n0;x\r\nX-Sum: 1\r\n\r\n"
        await client.send(body + PING)
        assert (await client.answer())[2] == b"abc0123456789"
        assert (await client.answer())[2] == b"OK"


async def test_a_client_that_ends_its_side_still_gets_its_answer():
    async def wait_for_end(exchange):
        await exchange.disconnected()
        await exchange.respond(200, b"still here")

    async with serving() as (app, listener):
        app.routes["/wait"] = wait_for_end
        got = await talk(listener, b"GET /wait HTTP/1.1\r\n\r\n")
        assert got.endswith(b"still here")


async def test_head_gets_the_length_but_no_body():
    async with serving() as (_, listener), connected(listener) as client:
        await client.send(b"HEAD /_ping HTTP/1.1\r\n\r\n" + PING)
        assert await client.read(len(PONG) - 2 + len(PONG)) == PONG[:-2] + PONG


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_content_have_neither_body_nor_length(status):
    async def bare(exchange):
        await exchange.respond(status, b"ignored", content_type="text/plain")

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/bare"] = bare
        await client.send(b"GET /bare HTTP/1.1\r\n\r\n" + PING)
        head = await client.until(b"\r\n\r\n")
        assert b"Content-" not in head
        assert await client.read(len(PONG)) == PONG


async def test_http_1_0_is_closed_after_the_answer_unless_it_asks_to_be_kept():
    async with serving() as (_, listener):
        got = await talk(listener, b"GET /_ping HTTP/1.0\r\n\r\n" * 2, end=False)
        assert got.count(b"HTTP/1.1 200") == 1
        assert b"Connection: close\r\n" in got
        async with connected(listener) as client:
            for _ in range(2):
                await client.send(b"GET /_ping HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
                _, fields, _ = await client.answer()
                assert fields["connection"] == "keep-alive"


async def test_connection_close_is_honoured_and_announced():
    async with serving() as (_, listener):
        request = b"GET /_ping HTTP/1.1\r\nConnection: foo, Close\r\n\r\n"
        got = await talk(listener, request + PING, end=False)
        assert got.count(b"HTTP/1.1 200") == 1
        assert b"\r\nConnection: close\r\n" in got


async def test_continue_is_sent_when_the_body_is_first_read():
    async with serving() as (_, listener), connected(listener) as client:
        await client.send(
            b"POST /echo HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n"
        )
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"abc" + PING)
        assert (await client.answer())[2] == b"abc"
        assert (await client.answer())[2] == b"OK"


async def test_a_refused_body_is_never_asked_for_and_the_connection_closes():
    async with serving() as (_, listener):
        request = b"POST /none HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        got = await talk(listener, request, end=False)
        assert got.startswith(b"HTTP/1.1 404 ")
        assert b"\r\nConnection: close\r\n" in got


async def test_continue_is_not_sent_when_the_body_came_without_waiting():
    async with serving() as (_, listener), connected(listener) as client:
        await client.send(
            b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
        )
        assert (await client.answer())[0] == 200


async def test_a_short_unread_body_is_swallowed_and_the_connection_kept():
    async with serving() as (_, listener), connected(listener) as client:
        await client.send(b"POST /none HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
        assert (await client.answer())[0] == 404
        await client.send(b"def" + PING)
        assert (await client.answer())[2] == b"OK"


async def test_a_long_unread_body_does_not_cost_the_client_its_answer():
    async with serving() as (_, listener), connected(listener) as client:
        await client.send(b"POST /none HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n")
        await client.send(b"x" * 1_000_000)
        status, fields, _ = await client.answer()
        assert status == 404
        assert fields["connection"] == "close"
        assert await client.rest() == b""


async def test_a_body_over_the_limit_is_refused_by_the_reader():
    async def limited(exchange):
        with pytest.raises(BodyTooLarge):
            await exchange.body.read(10)
        await exchange.respond(413, b"too much")

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/limited"] = limited
        await client.send(b"POST /limited HTTP/1.1\r\nContent-Length: 11\r\n\r\n01234567890")
        assert (await client.answer())[0] == 413


async def test_body_too_large_is_a_fault_of_the_request():
    assert issubclass(BodyTooLarge, InvalidParameter)
    assert await BodyReader(None).read(0) == b""


async def test_reading_pauses_while_the_application_does_not_take_the_body():
    sizes = []

    async def lazy(exchange):
        await app.event("go").wait()
        async for chunk in exchange.body:
            sizes.append(len(chunk))
        await exchange.respond(200, str(sum(sizes)).encode())

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/lazy"] = lazy
        total = 32 << 20
        await client.send(b"POST /lazy HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % total)
        sending = asyncio.create_task(client.send(b"x" * total))
        await eventually(lambda: bool(app.requests))
        for _ in range(50):
            await asyncio.sleep(0)
        # The kernel and the queue hold some of it; the rest has to wait.
        assert client.writer.transport.get_write_buffer_size() > total // 2
        app.event("go").set()
        await sending
        assert (await client.answer())[2] == str(total).encode()


async def test_a_stream_sends_its_head_at_once_and_each_piece_as_a_chunk():
    async def stream(exchange):
        writer = await exchange.stream(200, content_type="application/json")
        await app.event("one").wait()
        await writer.write(b"one")
        await writer.write(b"")
        await writer.write(b"two!")
        await writer.close()
        await writer.close()

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/stream"] = stream
        await client.send(b"GET /stream HTTP/1.1\r\n\r\n" + PING)
        head = await client.until(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked\r\n" in head
        app.event("one").set()
        body = b"3\r\none\r\n4\r\ntwo!\r\n0\r\n\r\n"
        assert await client.read(len(body)) == body
        assert await client.read(len(PONG)) == PONG


async def test_a_stream_to_http_1_0_ends_with_the_connection():
    async def stream(exchange):
        writer = await exchange.stream(200)
        await writer.write(b"all of it")

    async with serving() as (app, listener):
        app.routes["/stream"] = stream
        request = b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        got = await talk(listener, request, end=False)
        head, _, body = got.partition(b"\r\n\r\n")
        assert body == b"all of it"
        assert b"chunked" not in head
        assert b"Connection: close" in head


async def test_a_stream_waits_for_a_slow_client():
    written = []

    async def flood(exchange):
        writer = await exchange.stream(200)
        for _ in range(1000):
            await writer.write(b"x" * 65536)
            written.append(1)

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/flood"] = flood
        client.writer.transport.pause_reading()
        await client.send(b"GET /flood HTTP/1.1\r\n\r\n")
        await eventually(lambda: len(written) > 0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(written) < 100
        client.writer.transport.resume_reading()
        await client.until(b"\r\n\r\n")
        for _ in range(1000):
            assert len(await client.read(7 + 65536 + 2)) > 0
        assert await client.read(5) == b"0\r\n\r\n"


async def test_a_failing_stream_breaks_the_connection_without_a_last_chunk():
    async def fail(exchange):
        writer = await exchange.stream(200)
        await writer.write(b"begun")
        raise RuntimeError("broken")

    async with serving() as (app, listener):
        app.routes["/fail"] = fail
        got = await talk(listener, b"GET /fail HTTP/1.1\r\n\r\n", end=False)
        assert b"0\r\n\r\n" not in got


@pytest.mark.parametrize("kind", ["raises", "silent"])
async def test_an_application_that_does_not_answer_is_an_internal_error(kind):
    async def handler(_exchange):
        if kind == "raises":
            raise RuntimeError("secret detail")

    async with serving() as (app, listener):
        app.routes["/x"] = handler
        got = await talk(listener, b"GET /x HTTP/1.1\r\n\r\n", end=False)
        assert got.startswith(b"HTTP/1.1 500 ")
        assert b"secret" not in got


async def test_line_breaks_in_answer_fields_are_refused():
    async def inject(exchange):
        for name, value in [("X", "a\r\nSet-Cookie: b"), ("X", "a\nb"), ("X\n", "a"), ("X:", "a")]:
            with pytest.raises(ValueError, match="forbidden"):
                await exchange.respond(200, headers=[(name, value)])
        await exchange.respond(200, b"fine")

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/inject"] = inject
        await client.send(b"GET /inject HTTP/1.1\r\n\r\n")
        assert (await client.answer())[2] == b"fine"


async def test_a_second_answer_is_a_mistake():
    async def twice(exchange):
        await exchange.respond(200, b"first")
        assert exchange.started
        with pytest.raises(RuntimeError):
            await exchange.respond(200, b"second")
        with pytest.raises(RuntimeError):
            exchange.hijack(None)

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/twice"] = twice
        await client.send(b"GET /twice HTTP/1.1\r\n\r\n" + PING)
        assert (await client.answer())[2] == b"first"
        assert (await client.answer())[2] == b"OK"


async def test_a_client_that_leaves_cancels_its_request():
    async def hang(exchange):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            app.event("cancelled").set()
            raise

    async with serving() as (app, listener):
        app.routes["/hang"] = hang
        async with connected(listener) as client:
            await client.send(b"GET /hang HTTP/1.1\r\n\r\n")
            await eventually(lambda: bool(app.requests))
        async with asyncio.timeout(DEADLINE_S):
            await app.event("cancelled").wait()
        await eventually(lambda: listener.connection_count == 0)


async def test_writing_to_a_client_that_left_fails():
    async def persist(exchange):
        writer = await exchange.stream(200)
        try:
            while True:
                await asyncio.shield(asyncio.sleep(0))
                await writer.write(b"x" * 65536)
        except (asyncio.CancelledError, ClientGone):
            with pytest.raises(ClientGone):
                await writer.write(b"more")
            app.event("done").set()

    async with serving() as (app, listener):
        app.routes["/persist"] = persist
        async with connected(listener) as client:
            await client.send(b"GET /persist HTTP/1.1\r\n\r\n")
            await client.until(b"\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            await app.event("done").wait()


async def test_closing_the_listener_lets_a_running_request_finish():
    async def slow(exchange):
        await app.event("go").wait()
        await exchange.respond(200, b"done")

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/slow"] = slow
        await client.send(b"GET /slow HTTP/1.1\r\n\r\n")
        await eventually(lambda: bool(app.requests))
        async with connected(listener) as idle:
            await idle.send(PING)
            await idle.answer()
            closing = asyncio.create_task(listener.close(grace_s=10))
            assert await idle.rest() == b""
        app.event("go").set()
        status, fields, body = await client.answer()
        assert (status, fields["connection"], body) == (200, "close", b"done")
        await client.close()
        await closing


async def test_closing_the_listener_cuts_off_what_does_not_finish():
    async def hang(_exchange):
        await asyncio.Event().wait()

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/hang"] = hang
        await client.send(b"GET /hang HTTP/1.1\r\n\r\n")
        await eventually(lambda: bool(app.requests))
        await listener.close(grace_s=0.05)
        assert await client.rest() == b""
        assert listener.connection_count == 0


class Prompt(Recorder):
    """An application that says of some requests that it need not wait."""

    def is_immediate(self, request):
        return request.path in {"/_ping", "/wrong", "/broken"}


async def test_what_is_at_hand_is_answered_at_once_and_in_its_turn():
    async def slow(exchange):
        await asyncio.sleep(0.01)
        await exchange.respond(200, b"slow")

    app = Prompt()
    app.routes["/slow"] = slow
    async with serving(app) as (_, listener), connected(listener) as client:
        ping = b"GET /_ping HTTP/1.1\r\n\r\n"
        await client.send(ping)
        assert (await client.answer())[2] == b"OK"
        await client.send(ping + b"GET /slow HTTP/1.1\r\n\r\n" + ping * 2000)
        got = [(await client.answer())[2] for _ in range(2002)]
        assert got == [b"OK", b"slow", *[b"OK"] * 2000]


@pytest.mark.parametrize("path", ["/wrong", "/broken"])
async def test_an_answer_that_was_not_at_hand_after_all_is_a_500(path):
    async def wrong(exchange):
        await asyncio.sleep(0)
        await exchange.respond(200)

    async def broken(exchange):
        raise LookupError

    app = Prompt()
    app.routes |= {"/wrong": wrong, "/broken": broken}
    async with serving(app) as (_, listener):
        got = await talk(listener, f"GET {path} HTTP/1.1\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 500 ")
