"""Websockets, with an independent client and with hand-made frames."""

import asyncio

import aiohttp
import pytest
from tests.support.http_edge import DEADLINE_S, connected, eventually, serving

from pinnace.api.http.failures import ClientGone
from pinnace.errors import InvalidParameter

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def frame(opcode: int, payload: bytes, *, last: bool = True, masked: bool = True) -> bytes:
    """Build a client's frame by hand; the mask is zero."""
    head = bytes([(0x80 if last else 0) | opcode])
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask | len(payload)])
    elif len(payload) < 65536:
        head += bytes([mask | 126]) + len(payload).to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + len(payload).to_bytes(8, "big")
    return head + (b"\0" * 4 if masked else b"") + payload


async def echo(exchange):
    websocket = await exchange.websocket(("v2.pinnace", "v1.pinnace"))
    while (message := await websocket.receive()) is not None:
        await websocket.send(message, binary=not message.startswith(b"text"))
    await websocket.close()


async def test_an_independent_client_exchanges_messages_and_closes():
    async with serving() as (app, listener):
        app.routes["/ws"] = echo
        connector = aiohttp.UnixConnector(listener.addresses[0])
        async with (
            asyncio.timeout(DEADLINE_S),
            aiohttp.ClientSession(connector=connector) as session,
            session.ws_connect("http://x/ws", protocols=["v1.pinnace"]) as websocket,
        ):
            assert websocket.protocol == "v1.pinnace"
            await websocket.send_bytes(b"\0\1\2")
            assert await websocket.receive_bytes() == b"\0\1\2"
            await websocket.send_str("text ü")
            assert await websocket.receive_str() == "text ü"
            await websocket.send_bytes(b"x" * 500_000)
            assert await websocket.receive_bytes() == b"x" * 500_000
            await websocket.ping(b"hello")
            await websocket.close(code=1000)
            assert websocket.close_code == 1000
        await eventually(lambda: listener.connection_count == 0)


async def test_the_answer_to_the_handshake_is_that_of_the_specification():
    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/ws"] = echo
        await client.send(HANDSHAKE + b"\r\n")
        head = await client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        # The example of RFC 6455, 1.3.
        assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head


async def test_frames_in_the_segment_of_the_handshake_are_not_lost():
    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/ws"] = echo
        await client.send(HANDSHAKE + b"\r\n" + frame(2, b"early"))
        await client.until(b"\r\n\r\n")
        assert await client.read(7) == b"\x82\x05early"


async def test_fragments_make_one_message_and_pings_between_them_are_answered():
    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/ws"] = echo
        fragments = frame(2, b"one ", last=False) + frame(9, b"?") + frame(0, b"two")
        await client.send(HANDSHAKE + b"\r\n" + fragments)
        await client.until(b"\r\n\r\n")
        assert await client.read(3) == b"\x8a\x01?"
        assert await client.read(9) == b"\x82\x07one two"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(2, b"unmasked", masked=False), 1002),
        (frame(3, b"reserved"), 1002),
        (frame(1, b"\xff\xfe"), 1007),
        (frame(0, b"nothing to continue"), 1002),
        (frame(9, b"x" * 126), 1002),
        (frame(2, b"x" * (1024 * 1024 + 1)), 1009),
        (b"".join(frame(2 if not n else 0, b"x" * 65536, last=False) for n in range(17)), 1009),
    ],
    ids=["unmasked", "reserved", "no utf-8", "stray", "long ping", "too big", "endless fragments"],
)
async def test_a_breach_of_the_protocol_closes_with_its_code(frames, code):
    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/ws"] = echo
        await client.send(HANDSHAKE + b"\r\n" + frames)
        await client.until(b"\r\n\r\n")
        closing = await client.rest()
        assert closing[0] == 0x88
        assert int.from_bytes(closing[2:4], "big") == code


async def test_a_close_of_ours_waits_for_the_clients():
    async def leave(exchange):
        websocket = await exchange.websocket()
        await websocket.send(b"bye", binary=False)
        await websocket.close(1001, "going away")
        await websocket.close()
        with pytest.raises(ClientGone):
            await websocket.send(b"late")
        assert await websocket.receive() is None
        app.event("closed").set()

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/ws"] = leave
        await client.send(HANDSHAKE + b"\r\n")
        await client.until(b"\r\n\r\n")
        assert await client.read(5) == b"\x81\x03bye"
        assert await client.read(14) == b"\x88\x0c\x03\xe9going away"
        assert not app.event("closed").is_set()
        await client.send(frame(8, b"\x03\xe9"))
        async with asyncio.timeout(DEADLINE_S):
            await app.event("closed").wait()


async def test_one_task_may_close_while_another_receives():
    async def both(exchange):
        websocket = await exchange.websocket()
        receiving = asyncio.create_task(websocket.receive())
        await asyncio.sleep(0)
        await websocket.close()
        assert await receiving is None
        app.event("closed").set()

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/ws"] = both
        await client.send(HANDSHAKE + b"\r\n")
        await client.until(b"\r\n\r\n")
        await client.read(4)
        await client.send(frame(8, b"\x03\xe8"))
        async with asyncio.timeout(DEADLINE_S):
            await app.event("closed").wait()


async def test_a_client_that_vanishes_is_noticed():
    async def receive(exchange):
        websocket = await exchange.websocket()
        with pytest.raises(ClientGone):
            await websocket.receive()
        app.event("noticed").set()

    async with serving() as (app, listener):
        app.routes["/ws"] = receive
        async with connected(listener) as client:
            await client.send(HANDSHAKE + b"\r\n")
            await client.until(b"\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            await app.event("noticed").wait()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET", b"POST"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Upgrade: WebSocket", b"Upgrade: tcp"),
        (b"Connection: keep-alive, Upgrade", b"Connection: keep-alive"),
        (b"Version: 13", b"Version: 8"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25j"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"*"),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    ],
)
async def test_a_wrong_handshake_is_refused(old, new):
    async def accept(exchange):
        with pytest.raises(InvalidParameter):
            await exchange.websocket()
        await exchange.respond(400)

    async with serving() as (app, listener), connected(listener) as client:
        app.routes["/ws"] = accept
        await client.send(HANDSHAKE.replace(old, new) + b"\r\n")
        assert (await client.answer())[0] == 400
