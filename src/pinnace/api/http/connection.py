"""One client connection: requests in order, one answer each, until it is closed or handed over."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from pinnace.api.http.answer import CONTINUE, render_refusal
from pinnace.api.http.body import BodyReader, ByteQueue, Decoder, decoder_for, is_short
from pinnace.api.http.deadline import Deadline
from pinnace.api.http.exchange import Exchange, finish_now
from pinnace.api.http.failures import BodyIncomplete, BodyMalformed, ClientGone, HeadError
from pinnace.api.http.gate import Gate
from pinnace.api.http.head import Framing, Request, early_error, parse_head
from pinnace.api.http.overriding import override
from pinnace.api.http.owner import HasDescriptor, Owner
from pinnace.api.http.peer import is_hung_up
from pinnace.api.http.phase import Phase

_log = logging.getLogger(__name__)

_NO_BODY: Final = BodyReader(None)


class Connection(asyncio.Protocol):
    """Serves the requests of one client strictly one after the other.

    Attributes:
        transport: The byte stream below; TLS is already taken off.
        loop: The event loop.
        name: For the names of tasks and logs.
    """

    __slots__ = (
        "_answer_last",
        "_awaits_continue",
        "_body",
        "_buffer",
        "_carrier",
        "_deadline",
        "_decoder",
        "_exchange",
        "_gate",
        "_hijacked",
        "_owner",
        "_peer",
        "_phase",
        "_read_end",
        "_refusal",
        "_scanned",
        "_task",
        "kernel_socket",
        "loop",
        "name",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, owner: Owner) -> None:
        self.loop = owner.loop
        self.name = owner.info.name
        self.kernel_socket: HasDescriptor | None = None
        self._owner = owner
        self._phase = Phase.HEAD
        self._buffer = bytearray()
        self._scanned = 0
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._carrier: asyncio.Task[None] | None = None
        self._decoder: Decoder | None = None
        self._body: ByteQueue | None = None
        self._answer_last = False
        self._awaits_continue = False
        self._hijacked = False
        self._read_end = False
        self._gate = Gate(owner.loop)
        self._deadline = Deadline(owner.loop, self._expired)

    # --- called by the transport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out who the client is and wait for its first request."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        self.transport = transport
        self._peer = self._owner.identify(transport)
        self._refusal = self._owner.policy.admit(self._peer, self._owner.info)
        if not self._owner.info.tls:
            self.kernel_socket = transport.get_extra_info("socket")
        if self._owner.admit(self):
            self._deadline.set(self._owner.limits.header_deadline_s)
        else:
            self._refuse(503, "too many connections")

    @override
    def data_received(self, data: bytes) -> None:
        """Sort bytes to whom they belong."""
        match self._phase:
            case Phase.HEAD:
                self._buffer += data
                self._next_request()
            case Phase.EXCHANGE | Phase.DRAIN if self._decoder is not None:
                if not self._buffer and self._decoder.passes(data):
                    self._take_payload(self._decoder, data)
                else:
                    self._buffer += data
                    self._decode_body()
            case Phase.EXCHANGE | Phase.DRAIN:
                self._buffer += data
                if len(self._buffer) > self._owner.limits.queue_bytes:
                    self.transport.pause_reading()
            case Phase.RAW:
                assert self._body is not None  # noqa: S101 - take_over made it
                self._body.feed(data)
            case Phase.CLOSING | Phase.LOST:
                pass

    @override
    def eof_received(self) -> bool:
        """Note that the client ended its side; True keeps ours open."""
        self._read_end = True
        match self._phase:
            case Phase.RAW:
                assert self._body is not None  # noqa: S101 - take_over made it
                self._body.end()
                return True
            case Phase.EXCHANGE:
                self._end_body(BodyIncomplete("the client ended the request body early"))
                if self.kernel_socket is not None and is_hung_up(self.kernel_socket.fileno()):
                    self.transport.abort()
                elif self._exchange is not None:
                    self._exchange.client_left()
                return True
            case _:
                return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everyone who waits for this connection; cancel the request in progress."""
        raw = self._phase is Phase.RAW
        self._phase = Phase.LOST
        self._read_end = True
        self._owner.discard(self)
        self._deadline.stop()
        self._gate.open()
        if self._exchange is not None:
            self._exchange.client_left()
        if self._body is not None:
            self._body.end(ClientGone("the client closed the connection") if raw else None)
        self._end_body(BodyIncomplete("the client closed the connection"))
        if self._task is not None and not self._hijacked:
            self._task.cancel()

    @override
    def pause_writing(self) -> None:
        """The client is slower than the source; `drain` waits from now on."""
        self._gate.shut()

    @override
    def resume_writing(self) -> None:
        """The client caught up."""
        self._gate.open()

    # --- called by exchanges and hijacked streams

    @property
    def lost(self) -> bool:
        """The connection is gone, or about to go after the last answer."""
        return self._phase in (Phase.LOST, Phase.CLOSING) or self.transport.is_closing()

    @property
    def at_end(self) -> bool:
        """The client sends nothing more."""
        return self._read_end or self.lost

    def write(self, data: bytes) -> None:
        """Queue bytes for the client.

        Raises:
            ClientGone: The connection is lost.
        """
        if self.lost:
            raise ClientGone("the client closed the connection")
        self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written.

        Raises:
            ClientGone: The connection is lost.
        """
        await self._gate.passed()
        if self._phase is Phase.LOST:
            raise ClientGone("the client closed the connection")

    async def drain_answer(self) -> None:
        """Like `drain`, but bounded: a client that never reads its answer is cut off."""
        if self._gate.is_open:
            return
        self._deadline.set(self._owner.limits.idle_deadline_s)
        await self.drain()
        self._deadline.clear()

    async def flush(self) -> None:
        """Wait until all that was written left this process.

        Raises:
            ClientGone: The connection is lost.
        """
        if self.transport.get_write_buffer_size():
            # With a limit of nothing the transport counts as full until its buffer is empty.
            self.transport.set_write_buffer_limits(high=0)
            await self.drain()
            self.transport.set_write_buffer_limits()
        if self.lost:
            raise ClientGone("the client closed the connection")

    def will_close(self) -> bool:
        """Tell whether the answer about to start is the connection's last."""
        if self._decoder is not None and (self._awaits_continue or not is_short(self._decoder)):
            self._answer_last = True
        return self._answer_last

    def close_after(self) -> None:
        """Make the current answer the last one."""
        self._answer_last = True

    def take_over(self) -> bytes | None:
        """Stop HTTP on this connection; reading is paused.

        Returns:
            Bytes received behind the request, which nobody else will see; None, and nothing
            changed, when the request body is not complete.
        """
        if self._decoder is not None:
            return None
        self.transport.pause_reading()
        self._phase = Phase.RAW
        self._hijacked = True
        self._body = ByteQueue(
            self.transport.pause_reading,
            self.transport.resume_reading,
            high=self._owner.limits.queue_bytes,
        )
        if self._read_end:
            self._body.end()
        early = bytes(self._buffer)
        self._buffer.clear()
        return early

    async def receive(self) -> bytes:
        """Return the next bytes of a hijacked stream; empty at the client's half-close.

        Raises:
            ClientGone: The connection was reset.
        """
        assert self._body is not None  # noqa: S101 - take_over made it
        if not self._body.size and not self._read_end:
            self.transport.resume_reading()
        return await self._body.get()

    def own(self, task: "asyncio.Task[None]") -> None:
        """Keep a task that carries this connection's bytes until it ends."""
        self._carrier = task

    def release(self) -> None:
        """Close our descriptor of a stream that lives on elsewhere."""
        if self._phase is not Phase.LOST:
            self.transport.close()

    def close_hijacked(self) -> None:
        """End a hijacked conversation."""
        if self._phase is Phase.RAW:
            self._close()

    def handover(self, factory: Callable[[], asyncio.Protocol], early: bytes) -> asyncio.Protocol:
        """Give the transport, with the bytes already received, to another protocol.

        Raises:
            ClientGone: The connection is lost.
        """
        if self.lost:
            raise ClientGone("the client closed the connection")
        protocol = factory()
        self._phase = Phase.LOST
        self._owner.discard(self)
        self._deadline.stop()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if early:
            protocol.data_received(early)
        self.transport.resume_reading()
        return protocol

    @property
    def is_idle(self) -> bool:
        """No request is in progress."""
        return self._exchange is None and self._phase in (Phase.HEAD, Phase.DRAIN)

    def shut_down(self) -> None:
        """End an idle connection now, a busy one after its answer."""
        self._answer_last = True
        if self.is_idle:
            self._close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._phase is not Phase.LOST:
            self.transport.abort()

    def _next_request(self) -> None:
        """Start the next request if its head is complete."""
        self._phase = Phase.HEAD
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            # One empty line is tolerated (RFC 9112, 2.2): old clients send it after a body.
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0:
            self._wait_for_head()
            return
        self._scanned = 0
        limits = self._owner.limits
        if end + 2 > limits.head_bytes:
            self._refuse(431, "request head too large")
            return
        head = bytes(buffer[: end + 2])
        del buffer[: end + 4]
        try:
            request, framing = parse_head(head, limits, self._owner.info, self._peer)
        except HeadError as exc:
            self._refuse(exc.status, exc.reason)
            return
        refusal = self._refusal or self._owner.policy.check(request)
        if refusal is not None:
            _log.warning(
                "request refused", extra={"listener": self.name, "reason": refusal.reason}
            )
            self._refuse(refusal.status, refusal.reason)
            return
        self._start(request, framing)

    def _wait_for_head(self) -> None:
        buffer = self._buffer
        if self._read_end:
            self._close()
            return
        if not buffer or buffer == b"\r":
            return
        error = early_error(buffer, self._scanned, self._owner.limits)
        if error is not None:
            self._refuse(error.status, error.reason)
            return
        if self._scanned == 0:
            self._deadline.set(self._owner.limits.header_deadline_s)
        self._scanned = len(buffer)

    def _start(self, request: Request, framing: Framing) -> None:
        self._phase = Phase.EXCHANGE
        self._deadline.clear()
        if not framing.keep_alive:
            self._answer_last = True
        body = _NO_BODY if framing.length == 0 else self._open_body(framing)
        exchange = Exchange(self, request, body)
        self._exchange = exchange
        work = self._owner.app(exchange)
        if not self._buffer and self._gate.is_open and self._owner.is_immediate(request):
            self._ended(finish_now(work))
            return
        self._task = self.loop.create_task(work, name=self.name)
        self._task.add_done_callback(self._finished)

    def _open_body(self, framing: Framing) -> BodyReader:
        self._decoder = decoder_for(framing.length)
        self._body = ByteQueue(
            self.transport.pause_reading, self._resume, high=self._owner.limits.queue_bytes
        )
        if self._buffer:
            self._decode_body()
        if self._read_end:
            self._end_body(BodyIncomplete("the client ended the request body early"))
        self._awaits_continue = framing.expects_continue
        begin = self._send_continue if framing.expects_continue else None
        return BodyReader(self._body, begin=begin, idle_s=self._owner.limits.body_idle_s)

    def _send_continue(self) -> None:
        self._awaits_continue = False
        started = self._exchange is None or self._exchange.started
        if self._decoder is not None and not self.lost and not started:
            self.transport.write(CONTINUE)

    def _decode_body(self) -> None:
        decoder = self._decoder
        assert decoder is not None  # noqa: S101 - callers checked
        try:
            payload = decoder.decode(self._buffer)
        except BodyMalformed as exc:
            self._answer_last = True
            self._end_body(exc)
            if self._phase is Phase.DRAIN:
                self._close()
            return
        self._take_payload(decoder, payload)

    def _take_payload(self, decoder: Decoder, payload: bytes) -> None:
        if self._body is not None and self._phase is not Phase.DRAIN:
            self._body.feed(payload)
        if decoder.done:
            self._decoder = None
            if self._body is not None:
                self._body.end()
            if self._phase is Phase.DRAIN:
                self._next_request()

    def _end_body(self, error: Exception) -> None:
        """Break off a body that is not complete."""
        if self._decoder is None:
            return
        self._decoder = None
        self._answer_last = True
        self._buffer.clear()
        if self._body is not None:
            self._body.end(error)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        self._ended(asyncio.CancelledError() if task.cancelled() else task.exception())

    def _ended(self, failure: BaseException | None) -> None:
        """Go on after the application returned."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None  # noqa: S101 - set before the application began
        if failure is not None and not isinstance(failure, ClientGone | asyncio.CancelledError):
            _log.error("request failed", exc_info=failure, extra={"listener": self.name})
        if self._phase is Phase.RAW:
            if self._carrier is None or self._carrier.done():
                self._close()
        elif self._phase is not Phase.LOST and not self._hijacked:
            self._end_exchange(exchange, failed=failure is not None)

    def _end_exchange(self, exchange: Exchange, *, failed: bool) -> None:
        if not exchange.started:
            if not failed:
                _log.error("request was not answered", extra={"listener": self.name})
            self._refuse(500, "internal error")
            return
        stream = exchange.unfinished_stream
        if stream is not None and failed:
            # What was promised is not complete; only a broken connection tells the client so.
            self.transport.abort()
            return
        if stream is not None:
            stream.finish()
        if self._answer_last or failed:
            self._close()
            return
        self._body = None
        self.transport.resume_reading()
        self._deadline.set(self._owner.limits.idle_deadline_s)
        if self._decoder is None:
            self._next_request()
        else:
            self._phase = Phase.DRAIN
            self._deadline.set(self._owner.limits.header_deadline_s)

    # --- the end

    def _refuse(self, status: int, reason: str) -> None:
        """Answer for the application and close; nothing received later is looked at."""
        self._decoder = None
        self.transport.write(render_refusal(status, reason))
        self._close(unread=True)

    def _close(self, *, unread: bool = False) -> None:
        """Close after what was written is delivered.

        Closing a socket with unread input resets it, and the client may lose the answer: so
        input is swallowed for a moment when some is likely.
        """
        unread = unread or bool(self._buffer) or self._decoder is not None
        unread = unread or self._phase is Phase.RAW
        self._phase = Phase.CLOSING
        self._decoder = None
        self._buffer.clear()
        if self._read_end or not unread:
            self.transport.close()
        else:
            self.transport.write_eof()
            self.transport.resume_reading()
        limits = self._owner.limits
        pending = self.transport.get_write_buffer_size()
        self._deadline.set(limits.idle_deadline_s if pending else limits.linger_s)

    def _resume(self) -> None:
        if self._phase in (Phase.EXCHANGE, Phase.DRAIN):
            self.transport.resume_reading()

    def _expired(self) -> None:
        match self._phase:
            case Phase.HEAD if self._buffer:
                self._refuse(408, "request head took too long")
            case Phase.HEAD:
                self._close()
            case _:
                self.transport.abort()
