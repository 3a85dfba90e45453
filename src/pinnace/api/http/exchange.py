"""One request and its answer, as the application sees them."""

from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pinnace.api.http.answer import Fields, render_head, render_legacy_hijack, render_upgrade
from pinnace.api.http.body import BodyReader
from pinnace.api.http.failures import BodyIncomplete, ClientGone
from pinnace.api.http.head import Request
from pinnace.api.http.hijack import Hijacked
from pinnace.api.http.websocket import WebSocket, accept_websocket

if TYPE_CHECKING:
    import asyncio

    from pinnace.api.http.connection import Connection


class Exchange:
    """A request, its body, and the one answer to it.

    The application coroutine gets one exchange and answers it in exactly one way: `respond`,
    `stream`, `hijack` or `websocket`. It is cancelled when the connection is lost before that
    answer is complete (not after a hijack). A client that only ended its sending side still gets
    its answer; `disconnected` tells.

    Attributes:
        request: The parsed head.
        body: Reader of the request body.
        started: A response head was sent; an error can no longer become a status.
    """

    __slots__ = (
        "_connection",
        "_left",
        "_stream",
        "body",
        "hijacked",
        "request",
        "started",
    )

    def __init__(self, connection: "Connection", request: Request, body: BodyReader) -> None:
        self.request = request
        self.body = body
        self.started = False
        self.hijacked: Hijacked | WebSocket | None = None
        self._connection = connection
        self._stream: StreamWriter | None = None
        self._left: asyncio.Future[None] | None = None

    async def respond(
        self,
        status: int,
        body: bytes = b"",
        *,
        headers: Fields = (),
        content_type: str | None = None,
    ) -> None:
        """Send a complete answer with a Content-Length, in one write.

        Args:
            status: Final status code, 200 or more.
            body: Payload; not sent for HEAD, 204 and 304, whose framing has none.
            headers: Fields to add.
            content_type: Value of Content-Type; None: no such field.

        Raises:
            ClientGone: The connection is lost.
            RuntimeError: An answer was already started.
            ValueError: A field contains a line break, or the status is not final.
        """
        if status < HTTPStatus.OK:
            raise ValueError("an answer has a final status")
        bodiless = status in (204, 304)
        framing = "" if bodiless else f"Content-Length: {len(body)}\r\n"
        if content_type is not None and not bodiless:
            framing = f"Content-Type: {content_type}\r\n{framing}"
        head = render_head(status, headers, framing + self._begin_answer())
        if bodiless or self.request.method == "HEAD":
            body = b""
        self._start()
        self._connection.write(head + body)
        await self._connection.drain_answer()

    async def stream(
        self, status: int, *, headers: Fields = (), content_type: str | None = None
    ) -> "StreamWriter":
        """Send the head at once and return a writer for a body of unknown length.

        The body is chunked; for HTTP/1.0 it ends with the connection. For HEAD the writer
        swallows what it is given.

        Raises:
            ClientGone: The connection is lost.
            RuntimeError: An answer was already started.
            ValueError: A field contains a line break.
        """
        chunked = not self.request.http10
        if not chunked:
            self._connection.close_after()
        framing = "Transfer-Encoding: chunked\r\n" if chunked else ""
        if content_type is not None:
            framing = f"Content-Type: {content_type}\r\n{framing}"
        head = render_head(status, headers, framing + self._begin_answer())
        self._start()
        silent = self.request.method == "HEAD"
        self._stream = StreamWriter(self._connection, chunked=chunked, silent=silent)
        self._connection.write(head)
        await self._connection.drain()
        return self._stream

    def hijack(
        self,
        content_type: str | None,
        extra_headers: Fields = (),
        *,
        upgrade: str = "tcp",
    ) -> Hijacked:
        """Turn the connection into a byte stream in both directions.

        Reading is paused before the head is written, so no byte can be lost between
        `Hijacked.early` and whoever reads on. A client that asked for `Upgrade: <upgrade>` gets
        `101 UPGRADED`, any other the bare `200 OK` of early API versions.

        Args:
            content_type: `application/vnd.docker.raw-stream` or its multiplexed sibling; None
                sends no such field (sessions).
            extra_headers: Fields to add.
            upgrade: Protocol name to look for and to answer with.

        Raises:
            BodyIncomplete: The request body was not read to its end.
            ClientGone: The connection is lost.
            RuntimeError: An answer was already started.
        """
        self._check_unstarted()
        fields = [] if content_type is None else [("Content-Type", content_type)]
        fields.extend(extra_headers)
        if self.wants_upgrade(upgrade):
            head = render_upgrade(upgrade, fields)
        else:
            head = render_legacy_hijack(fields)
        hijacked = Hijacked(self._connection, self._take_over())
        self.hijacked = hijacked
        self._connection.write(head)
        return hijacked

    async def websocket(
        self, subprotocols: Sequence[str] = (), *, headers: Fields = ()
    ) -> WebSocket:
        """Accept a websocket.

        Args:
            subprotocols: Names understood, best first; the first one the client offers is used.
            headers: Fields to add to the answer.

        Raises:
            InvalidParameter: The request is not a correct websocket handshake.
            ClientGone: The connection is lost.
        """
        self._check_unstarted()
        head = accept_websocket(self.request, subprotocols, headers)
        websocket = WebSocket(self._connection, self._take_over())
        self.hijacked = websocket
        self._connection.write(head)
        await self._connection.drain()
        return websocket

    def wants_upgrade(self, protocol: str) -> bool:
        """Tell whether the client asked to switch to `protocol`."""
        return not self.request.http10 and protocol in self.request.headers.tokens("upgrade")

    async def disconnected(self) -> None:
        """Complete when the client left or ended its side of the connection.

        Only a reset or a closed unix socket proves that nobody reads the answer; for TCP an end
        of input is all there is to see, as in dockerd.
        """
        if self._connection.at_end:
            return
        if self._left is None:
            self._left = self._connection.loop.create_future()
        await self._left

    def client_left(self) -> None:
        """Complete `disconnected`; called by the connection."""
        if self._left is not None and not self._left.done():
            self._left.set_result(None)

    @property
    def unfinished_stream(self) -> "StreamWriter | None":
        """The stream that was started and not closed, if any."""
        return self._stream if self._stream is not None and not self._stream.closed else None

    def _check_unstarted(self) -> None:
        if self.started:
            raise RuntimeError("the answer was already started")
        if self._connection.lost:
            raise ClientGone("the client closed the connection")

    def _begin_answer(self) -> str:
        """Check that an answer may start; return the line about the connection's future."""
        self._check_unstarted()
        if not self._connection.will_close():
            return "Connection: keep-alive\r\n" if self.request.http10 else ""
        return "Connection: close\r\n"

    def _start(self) -> None:
        self.started = True

    def _take_over(self) -> bytes:
        early = self._connection.take_over()
        if early is None:
            raise BodyIncomplete("the request body must be read before the connection is hijacked")
        self.started = True
        return early


class StreamWriter:
    """Writer of an answer whose length is not known beforehand.

    Attributes:
        closed: The end of the body was sent.
    """

    __slots__ = ("_chunked", "_connection", "_silent", "closed")

    def __init__(self, connection: "Connection", *, chunked: bool, silent: bool) -> None:
        self.closed = False
        self._connection = connection
        self._chunked = chunked
        self._silent = silent

    async def write(self, data: bytes) -> None:
        """Send one piece of the body and wait while the client is slower than the source.

        Raises:
            ClientGone: The connection is lost.
            RuntimeError: The stream was closed.
        """
        if self.closed:
            raise RuntimeError("the stream is closed")
        if not data or self._silent:
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._connection.write(data)
        await self._connection.drain()

    async def close(self) -> None:
        """Send the end of the body; harmless when repeated or when the client left."""
        self.finish()

    def finish(self) -> None:
        """Send the end of the body without waiting."""
        if self.closed:
            return
        self.closed = True
        if self._chunked and not self._silent and not self._connection.lost:
            self._connection.write(b"0\r\n\r\n")


App = Callable[[Exchange], Coroutine[object, object, None]]


@runtime_checkable
class KnowsImmediate(Protocol):
    """An application that can tell which requests it answers without waiting for anything."""

    def is_immediate(self, request: Request) -> bool:
        """Tell whether the answer to a request is at hand."""
        ...


def finish_now(work: Coroutine[object, object, None]) -> Exception | None:
    """Carry out what never waits, without a task; return what it failed with."""
    try:
        work.send(None)
    except StopIteration:
        return None
    except Exception as exc:  # noqa: BLE001 - as a task would keep it
        return exc
    work.close()
    return RuntimeError("an immediate answer waited for something")
