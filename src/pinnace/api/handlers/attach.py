"""Handlers that turn a connection into a container's streams."""

import asyncio
import contextlib
import os
import socket
from typing import Protocol

from pinnace.api.call import Answer, Call
from pinnace.api.http.failures import ClientGone
from pinnace.api.http.websocket import WebSocket
from pinnace.api.streams import stream_type
from pinnace.engine.containers.attach import AttachParams, AttachPlan

_READ_BYTES = 64 << 10


class StreamPlan(Protocol):
    """A checked attachment of a client to a process."""

    content_framed: bool

    async def run(self, client_fd: int, early: bytes = b"") -> None:
        """Serve the client until the end."""
        ...


async def attach(call: Call) -> Answer | None:
    """`POST /containers/{id}/attach`."""
    await call.discard_body()
    plan = await call.engine.attach.attach(
        call.name, attach_params(call, framed=call.behaviour.framed)
    )
    await serve_hijacked(call, plan)
    return None


async def attach_websocket(call: Call) -> Answer | None:
    """`GET /containers/{id}/attach/ws`: the streams as messages, never framed."""
    params = attach_params(call, framed=False)
    if not call.behaviour.websocket_streams:
        params = AttachParams(
            stdin=True,
            stdout=True,
            stderr=True,
            logs=params.logs,
            stream=params.stream,
            detach_keys=params.detach_keys,
            framed=False,
        )
    plan = await call.engine.attach.attach(call.name, params)
    websocket = await call.exchange.websocket(headers=call.headers)
    await _serve_websocket(websocket, plan, binary=call.behaviour.websocket_binary)
    return None


async def serve_hijacked(
    call: Call, plan: StreamPlan, *, headers: tuple[tuple[str, str], ...] = ()
) -> None:
    """Take the connection over and let `plan` serve it."""
    content_type = stream_type(
        framed=plan.content_framed, multiplexed=call.behaviour.multiplexed_type
    )
    hijacked = call.exchange.hijack(content_type, headers)
    client = await hijacked.detach_fd()
    try:
        await plan.run(client, hijacked.early)
    finally:
        os.close(client)
    await hijacked.finish()


def attach_params(call: Call, *, framed: bool) -> AttachParams:
    """Return what the query asks for.

    Raises:
        InvalidParameter: A truth value that is none, for clients that are strict about it.
    """
    query = call.query
    return AttachParams(
        stdin=query.flag("stdin"),
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        logs=query.flag("logs"),
        stream=query.flag("stream"),
        detach_keys=query.optional("detachKeys"),
        framed=framed,
    )


async def _serve_websocket(websocket: WebSocket, plan: AttachPlan, *, binary: bool) -> None:
    """Carry messages to and from one end of a socket pair; `plan` serves the other."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    theirs.settimeout(0)
    with ours:
        loop = asyncio.get_running_loop()
        inward = loop.create_task(_messages_in(websocket, ours), name="websocket input")
        sending = _messages_out(ours, websocket, binary=binary)
        outward = loop.create_task(sending, name="websocket output")
        try:
            with theirs:
                await plan.run(theirs.fileno(), b"")
                with contextlib.suppress(OSError):
                    theirs.shutdown(socket.SHUT_WR)
            await outward
        finally:
            for task in (inward, outward):
                task.cancel()
            await asyncio.gather(inward, outward, return_exceptions=True)
    await websocket.close()


async def _messages_in(websocket: WebSocket, ours: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    # The output side notices by itself when the client or the container is gone.
    with contextlib.suppress(OSError):
        while (message := await websocket.receive()) is not None:
            await loop.sock_sendall(ours, message)
    with contextlib.suppress(OSError):
        ours.shutdown(socket.SHUT_RDWR)


async def _messages_out(ours: socket.socket, websocket: WebSocket, *, binary: bool) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ClientGone):
        while data := await loop.sock_recv(ours, _READ_BYTES):
            await websocket.send(data, binary=binary)
