"""Websockets (RFC 6455): the handshake is ours, the frames are wsproto's."""

import asyncio
import base64
import binascii
import hashlib
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from pinnace.api.http.answer import Fields, render_upgrade
from pinnace.api.http.failures import ClientGone
from pinnace.api.http.head import Request
from pinnace.errors import InvalidParameter

if TYPE_CHECKING:
    from pinnace.api.http.connection import Connection

_log = logging.getLogger(__name__)

_KEY_BYTES: Final = 16
# Fixed by RFC 6455, 4.2.2.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MESSAGE_BYTES: Final = 1024 * 1024
_CLOSE_DEADLINE_S: Final = 2.0


def accept_websocket(request: Request, subprotocols: Sequence[str], headers: Fields) -> bytes:
    """Check a websocket handshake and return the head that accepts it.

    Raises:
        InvalidParameter: The request is not a correct handshake.
    """
    fields = request.headers
    if request.method != "GET" or request.http10:
        raise InvalidParameter("a websocket starts with a GET of HTTP/1.1")
    if "websocket" not in fields.tokens("upgrade"):
        raise InvalidParameter("missing Upgrade: websocket")
    if "upgrade" not in fields.tokens("connection"):
        raise InvalidParameter("missing Connection: Upgrade")
    if fields.get_all("sec-websocket-version") != ["13"]:
        raise InvalidParameter("only websocket version 13 is spoken here")
    keys = fields.get_all("sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise InvalidParameter("malformed Sec-WebSocket-Key")
    # The digest proves understanding, it protects nothing; the RFC fixes SHA-1.
    digest = hashlib.sha1(keys[0].encode() + _GUID, usedforsecurity=False).digest()
    answer = [("Sec-WebSocket-Accept", base64.b64encode(digest).decode("ascii"))]
    offered = ",".join(fields.get_all("sec-websocket-protocol")).replace(" ", "").split(",")
    chosen = next((name for name in subprotocols if name in offered), None)
    if chosen is not None:
        answer.append(("Sec-WebSocket-Protocol", chosen))
    return render_upgrade("websocket", [*answer, *headers])


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


class WebSocket:
    """An accepted websocket; messages in, messages out.

    Pings are answered while `receive` runs. Compression is never negotiated.
    """

    __slots__ = ("_connection", "_events", "_frames", "_parts", "_received", "_size")

    def __init__(self, connection: "Connection", early: bytes) -> None:
        self._connection = connection
        self._frames = Frames(ConnectionType.SERVER)
        self._events: Iterator[Event] = iter(())
        self._parts: list[bytes] = []
        self._size = 0
        self._received: asyncio.Future[None] | None = None
        self._take(early)

    async def receive(self) -> bytes | None:
        """Return the next message, text as UTF-8; None when the client closed.

        A message over 1 MiB, or a breach of the protocol, closes the websocket with the matching
        code and counts as closed.

        Raises:
            ClientGone: The connection was lost without a closing handshake.
        """
        self._received = asyncio.get_running_loop().create_future()
        try:
            return await self._next_message()
        finally:
            self._received.set_result(None)
            self._received = None

    async def _next_message(self) -> bytes | None:
        while True:
            for event in self._events:
                if isinstance(event, CloseConnection):
                    self._answer_close(event)
                    return None
                message = await self._handle(event)
                if message is not None:
                    return message
            if self._frames.state is not ConnectionState.OPEN:
                return None
            data = await self._connection.receive()
            if not data:
                raise ClientGone("the client ended the websocket without closing it")
            self._take(data)

    async def send(self, data: bytes, *, binary: bool = True) -> None:
        """Send one message and wait while the client is slower than the source.

        Args:
            data: Payload; UTF-8 when not `binary`, where broken sequences are replaced.
            binary: Send a binary message, otherwise text.

        Raises:
            ClientGone: The connection is lost or the websocket closed.
        """
        self._send(BytesMessage(data) if binary else TextMessage(data.decode("utf-8", "replace")))
        await self._connection.drain()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a handshake, bounded to 2 s; harmless when repeated."""
        if self._frames.state is ConnectionState.OPEN and not self._connection.lost:
            self._send(CloseConnection(code, reason))
            try:
                async with asyncio.timeout(_CLOSE_DEADLINE_S):
                    await self._wait_for_close()
            except (TimeoutError, ClientGone):
                _log.debug("websocket closed without the client's part of the handshake")
        self._connection.close_hijacked()

    async def _wait_for_close(self) -> None:
        if self._received is not None:
            # Another task is reading: it sees the client's answer.
            await asyncio.shield(self._received)
        while self._frames.state is not ConnectionState.CLOSED:
            data = await self._connection.receive()
            if not data:
                return
            self._take(data)
            # What the client sent before it saw our end is of no use; its close changes the state.
            for _event in self._events:
                pass

    async def _handle(self, event: Event) -> bytes | None:
        if isinstance(event, Ping):
            self._send(event.response())
            await self._connection.drain()
            return None
        if not isinstance(event, Message):
            return None
        part = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
        self._size += len(part)
        if self._size > _MESSAGE_BYTES:
            self._send(CloseConnection(CloseReason.MESSAGE_TOO_BIG, "message too big"))
            self._parts.clear()
            return None
        self._parts.append(part)
        if not event.message_finished:
            return None
        message = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return message

    def _take(self, data: bytes) -> None:
        if data:
            self._frames.receive_data(data)
            # One event at a time: the state must not run ahead of what was answered.
            self._events = self._frames.events()

    def _answer_close(self, event: CloseConnection) -> None:
        if self._frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._send(event.response())

    def _send(self, event: Event) -> None:
        try:
            data = self._frames.send(event)
        except LocalProtocolError as exc:
            raise ClientGone("the websocket is closed") from exc
        self._connection.write(data)
