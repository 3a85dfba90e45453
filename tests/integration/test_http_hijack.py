"""Connections that become byte streams: early bytes, half-close, descriptors, handover."""

import asyncio
import os
import socket

import pytest
from tests.support.http_edge import DEADLINE_S, RAW, connected, eventually, serving, talk

from pinnace.api.http.failures import BodyIncomplete, ClientGone

LEGACY = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
UPGRADED = (
    b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    b"Content-Type: application/vnd.docker.raw-stream\r\n\r\n"
)
PLAIN_REQUEST = b"POST /hijack HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE_REQUEST = (
    b"POST /hijack HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: TCP\r\n\r\n"
)
BOTH = pytest.mark.parametrize(
    ("request_", "head"), [(PLAIN_REQUEST, LEGACY), (UPGRADE_REQUEST, UPGRADED)]
)


async def test_the_legacy_head_is_the_68_bytes_old_clients_expect():
    assert len(LEGACY) == 68
    async with serving() as (_, listener):
        assert (await talk(listener, PLAIN_REQUEST)).startswith(LEGACY)


@BOTH
async def test_early_bytes_in_the_segment_of_the_head_are_not_lost(request_, head):
    async with serving() as (_, listener):
        assert await talk(listener, request_ + b"early") == head + b"got:early"


@BOTH
async def test_output_arrives_after_the_client_ended_its_input(request_, head):
    async with serving() as (_, listener), connected(listener) as client:
        await client.send(request_)
        assert await client.read(len(head)) == head
        await client.send(b"some ")
        await client.send(b"input")
        await client.end()
        assert await client.rest() == b"got:some input"


async def test_bytes_behind_the_body_of_the_request_are_early_bytes():
    async def attach(exchange):
        assert await exchange.body.read(100) == b"{}"
        stream = exchange.hijack(RAW)
        await stream.write(stream.early)

    async with serving() as (app, listener):
        app.routes["/exec"] = attach
        request = b"POST /exec HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET /_ping HTTP/1.1\r\n\r\n"
        got = await talk(listener, request)
        assert got == LEGACY + b"GET /_ping HTTP/1.1\r\n\r\n"
        assert app.paths == ["/exec"]


async def test_a_hijack_before_the_end_of_the_body_is_refused():
    async def hasty(exchange):
        with pytest.raises(BodyIncomplete):
            exchange.hijack(RAW)
        await exchange.respond(400)

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/hasty"] = hasty
        await client.send(b"POST /hasty HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
        assert (await client.answer())[0] == 400


async def test_extra_fields_and_another_protocol_can_be_named():
    async def session(exchange):
        stream = exchange.hijack(None, [("X-A", "b")], upgrade="h2c")
        stream.close()

    async with serving() as (app, listener):
        app.routes["/session"] = session
        request = b"POST /session HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        assert await talk(listener, request) == (
            b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-A: b\r\n\r\n"
        )


async def test_a_stream_is_closed_when_the_application_forgets_to():
    async def forgetful(exchange):
        exchange.hijack(RAW)

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/f"] = forgetful
        await client.send(b"POST /f HTTP/1.1\r\n\r\n")
        assert await client.rest() == LEGACY


async def test_our_end_can_be_closed_before_the_clients():
    async def half(exchange):
        stream = exchange.hijack(RAW)
        await stream.write(b"all output")
        stream.write_eof()
        app.received = b"".join([part async for part in stream.reader])
        stream.close()

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/half"] = half
        await client.send(b"POST /half HTTP/1.1\r\n\r\n")
        assert await client.rest() == LEGACY + b"all output"
        await client.send(b"late input")
        await client.end()
        await eventually(lambda: listener.connection_count == 0)
        assert app.received == b"late input"


async def test_a_reset_ends_the_reader_but_does_not_cancel_the_application():
    async def attach(exchange):
        stream = exchange.hijack(RAW)
        try:
            while True:
                await stream.write(b"x" * 65536)
        except ClientGone:
            with pytest.raises(ClientGone):
                stream.socket_fd()
            await asyncio.sleep(0)
            app.event("survived").set()

    async with serving() as (app, listener):
        app.routes["/attach"] = attach
        async with connected(listener) as client:
            await client.send(b"POST /attach HTTP/1.1\r\n\r\n")
            await client.read(len(LEGACY))
        async with asyncio.timeout(DEADLINE_S):
            await app.event("survived").wait()


async def test_the_application_goes_on_after_it_closed_a_stream():
    async def attach(exchange):
        stream = exchange.hijack(RAW)
        stream.close()
        await eventually(lambda: listener.connection_count == 0)
        app.event("cleaned up").set()

    async with serving() as (app, listener):
        app.routes["/attach"] = attach
        await talk(listener, b"POST /attach HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            await app.event("cleaned up").wait()


async def test_no_byte_is_lost_between_the_early_bytes_and_the_descriptor():
    """Input arrives in every phase: with the head, while hijacking, after the handover."""

    async def attach(exchange):
        await app.event("hijack").wait()
        stream = exchange.hijack(RAW)
        app.early = stream.early
        await app.event("detach").wait()
        app.descriptor = await stream.detach_fd()
        await stream.finish()

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/attach"] = attach
        await client.send(b"POST /attach HTTP/1.1\r\n\r\none,")
        await eventually(lambda: bool(app.requests))
        await client.send(b"two,")
        for _ in range(20):
            await asyncio.sleep(0)
        app.event("hijack").set()
        await client.until(b"\r\n\r\n")
        await client.send(b"three,")
        for _ in range(20):
            await asyncio.sleep(0)
        app.event("detach").set()
        await eventually(lambda: hasattr(app, "descriptor"))
        await eventually(lambda: listener.connection_count == 0)
        await client.send(b"four")
        await client.end()
        with socket.socket(fileno=app.descriptor) as taken:
            rest = await asyncio.to_thread(read_all, taken)
            assert app.early + rest == b"one,two,three,four"
            taken.sendall(b"output")
        assert await client.rest() == b"output"


async def test_no_byte_is_lost_at_any_moment_of_a_handover():
    """Forty clients send without a pause while their connections change hands."""
    wanted = b"".join(b"%d," % number for number in range(2000))

    async def attach(exchange):
        client = int(exchange.request.query)
        for _ in range(client % 8):
            await asyncio.sleep(0)
        stream = exchange.hijack(RAW)
        for _ in range(client // 8):
            await asyncio.sleep(0)
        descriptor = await stream.detach_fd()
        await stream.finish()
        with socket.socket(fileno=descriptor) as taken:
            got[client] = stream.early + await asyncio.to_thread(read_all, taken)

    async def feed(listener, client):
        async with connected(listener) as peer:
            await peer.send(b"POST /attach?%d HTTP/1.1\r\n\r\n" % client)
            for start in range(0, len(wanted), 97 + client):
                await peer.send(wanted[start : start + 97 + client])
                await asyncio.sleep(0)
            await peer.end()
            assert await peer.rest() == LEGACY

    got = {}
    async with serving() as (app, listener):
        app.routes["/attach"] = attach
        await asyncio.gather(*(feed(listener, client) for client in range(40)))
        await eventually(lambda: len(got) == 40)
    assert set(got.values()) == {wanted}


def read_all(taken: socket.socket) -> bytes:
    taken.settimeout(DEADLINE_S)
    got = b""
    while data := taken.recv(65536):
        got += data
    return got


async def test_a_descriptor_is_given_only_after_the_output_is_flushed():
    async def attach(exchange):
        stream = exchange.hijack(RAW)
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0):
                await stream.write(b"x" * 5_000_000)
        with pytest.raises(RuntimeError):
            stream.socket_fd()
        app.descriptor = await stream.detach_fd()
        os.write(app.descriptor, b"end")
        os.close(app.descriptor)
        await stream.finish()

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/attach"] = attach
        await client.send(b"POST /attach HTTP/1.1\r\n\r\n")
        got = await client.rest()
        assert len(got) == len(LEGACY) + 5_000_000 + 3
        assert got.endswith(b"xend")


async def test_a_relay_carries_both_directions_and_both_half_closes():
    async def attach(exchange):
        stream = exchange.hijack(RAW)
        app.descriptor = await stream.relay_fd()
        await stream.finish()
        app.event("finished").set()

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/attach"] = attach
        await client.send(b"POST /attach HTTP/1.1\r\n\r\n")
        await client.read(len(LEGACY))
        await eventually(lambda: hasattr(app, "descriptor"))
        with socket.socket(fileno=app.descriptor) as taken:
            size = 3_000_000
            reading = asyncio.create_task(asyncio.to_thread(read_all, taken))
            await client.send(b"i" * size)
            await client.end()
            assert await reading == b"i" * size
            writing = asyncio.create_task(asyncio.to_thread(taken.sendall, b"o" * size))
            assert await client.read(size) == b"o" * size
            await writing
        assert await client.rest() == b""
        async with asyncio.timeout(DEADLINE_S):
            await app.event("finished").wait()


async def test_a_relay_tells_the_other_process_when_the_client_is_lost():
    async def attach(exchange):
        stream = exchange.hijack(RAW)
        app.descriptor = await stream.relay_fd()
        await stream.finish()
        app.event("finished").set()

    async with serving() as (app, listener):
        app.routes["/attach"] = attach
        async with connected(listener) as client:
            await client.send(b"POST /attach HTTP/1.1\r\n\r\n")
            await client.read(len(LEGACY))
            await eventually(lambda: hasattr(app, "descriptor"))
        with socket.socket(fileno=app.descriptor) as taken:
            assert await asyncio.to_thread(read_all, taken) == b""
            taken.settimeout(DEADLINE_S)
            with pytest.raises(BrokenPipeError):
                await asyncio.to_thread(taken.sendall, b"x" * 100_000_000)
        async with asyncio.timeout(DEADLINE_S):
            await app.event("finished").wait()


async def test_a_connection_can_be_handed_to_another_protocol():
    class Upper(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data.upper())

        def eof_received(self):
            self.transport.write(b".")

    async def session(exchange):
        exchange.hijack(None, upgrade="h2c").handover(Upper)

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/session"] = session
        await client.send(b"POST /session HTTP/1.1\r\nUpgrade: h2c\r\n\r\nearly ")
        await client.until(b"\r\n\r\n")
        assert await client.read(6) == b"EARLY "
        await client.send(b"late")
        await client.end()
        assert await client.rest() == b"LATE."
        assert listener.connection_count == 0
