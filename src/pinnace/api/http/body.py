"""Request bodies: decoders of their framing (pure) and the reader the application sees."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from pinnace.api.http.failures import BodyIncomplete, BodyMalformed, BodyTooLarge

_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_CHUNK_LINE_BYTES: Final = 1024
_EXTENSION_BYTES: Final = 16 * 1024
_SHORT_BYTES: Final = 64 * 1024
_TRAILER_BYTES: Final = 8 * 1024


class Decoder(Protocol):
    """Takes body bytes off the front of a buffer."""

    done: bool

    def passes(self, data: bytes) -> bool:
        """Tell whether all of `data` is payload, to be used as it is; it is counted then."""
        ...

    def decode(self, buffer: bytearray) -> bytes:
        """Remove what belongs to the body from the front of `buffer`; return its payload.

        Raises:
            BodyMalformed: The framing is broken.
        """
        ...


class LengthDecoder:
    """A body of known length."""

    __slots__ = ("_remaining", "done")

    def __init__(self, length: int) -> None:
        self._remaining = length
        self.done = length == 0

    @property
    def remaining(self) -> int:
        """Bytes still to come."""
        return self._remaining

    def passes(self, data: bytes) -> bool:
        """See the protocol."""
        if len(data) > self._remaining:
            return False
        self._remaining -= len(data)
        self.done = self._remaining == 0
        return True

    def decode(self, buffer: bytearray) -> bytes:
        """Take up to the remaining length."""
        payload = _take(buffer, self._remaining)
        self._remaining -= len(payload)
        self.done = self._remaining == 0
        return payload


def decoder_for(length: int | None) -> Decoder:
    """Return the decoder of a body of known length, or of a chunked one when it is None."""
    return ChunkedDecoder() if length is None else LengthDecoder(length)


def is_short(decoder: Decoder) -> bool:
    """Tell whether the rest of a body is worth swallowing to keep the connection."""
    return isinstance(decoder, LengthDecoder) and decoder.remaining <= _SHORT_BYTES


class ChunkedDecoder:
    """A chunked body (RFC 9112, 7.1); extensions and trailers are checked, bounded and dropped."""

    __slots__ = ("_extensions", "_remaining", "_step", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._remaining = 0
        self._extensions = 0
        self._trailers = 0
        self._step: Callable[[bytearray, list[bytes]], bool] = self._size_line

    def passes(self, data: bytes) -> bool:
        """See the protocol."""
        if self._step != self._data or len(data) >= self._remaining:
            return False
        self._remaining -= len(data)
        return True

    def decode(self, buffer: bytearray) -> bytes:
        """Take as many chunks, or parts of one, as are there."""
        payload: list[bytes] = []
        while self._step(buffer, payload):
            pass
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def _size_line(self, buffer: bytearray, _payload: list[bytes]) -> bool:
        line = _take_line(buffer, _CHUNK_LINE_BYTES)
        if line is None:
            return False
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise BodyMalformed("malformed chunk size")
        self._extensions += len(match.group(2) or b"")
        if self._extensions > _EXTENSION_BYTES:
            raise BodyMalformed("too many chunk extensions")
        self._remaining = int(match.group(1), 16)
        self._step = self._data if self._remaining else self._trailer
        return True

    def _data(self, buffer: bytearray, payload: list[bytes]) -> bool:
        if not buffer:
            return False
        part = _take(buffer, self._remaining)
        payload.append(part)
        self._remaining -= len(part)
        if self._remaining == 0:
            self._step = self._data_end
        return True

    def _data_end(self, buffer: bytearray, _payload: list[bytes]) -> bool:
        if not b"\r\n".startswith(buffer[:2]):
            raise BodyMalformed("chunk is longer than its size")
        if len(buffer) < 2:
            return False
        del buffer[:2]
        self._step = self._size_line
        return True

    def _trailer(self, buffer: bytearray, _payload: list[bytes]) -> bool:
        line = _take_line(buffer, _TRAILER_BYTES)
        if line is None:
            return False
        if not line:
            self.done = True
            self._step = _nothing
            return False
        self._trailers += len(line) + 2
        if self._trailers > _TRAILER_BYTES or _TRAILER_LINE.fullmatch(line) is None:
            raise BodyMalformed("malformed or too many trailer fields")
        return True


def _take(buffer: bytearray, most: int) -> bytes:
    """Remove up to `most` bytes from the front of a buffer."""
    if most >= len(buffer):
        data = bytes(buffer)
        buffer.clear()
        return data
    with memoryview(buffer) as view, view[:most] as part:
        data = bytes(part)
    del buffer[:most]
    return data


def _nothing(_buffer: bytearray, _payload: list[bytes]) -> bool:
    return False


def _take_line(buffer: bytearray, limit: int) -> bytes | None:
    """Remove one CRLF-terminated line; None when it is not complete yet."""
    end = buffer.find(b"\n", 0, limit + 2)
    if end < 0:
        if len(buffer) > limit:
            raise BodyMalformed("chunk line too long")
        return None
    if end == 0 or buffer[end - 1] != 0x0D:
        raise BodyMalformed("bare LF in chunked framing")
    line = bytes(buffer[: end - 1])
    del buffer[: end + 1]
    return line


class ByteQueue:
    """Received bytes on their way to one reader, with back-pressure on the connection.

    Args:
        pause: Stops the source; called when more than `high` bytes are held.
        resume: Starts it again; called when the reader has taken half of them.
        high: Bytes held before the source is stopped.
    """

    __slots__ = ("_chunks", "_end", "_high", "_paused", "_resume", "_stop", "_waiter", "size")

    def __init__(
        self, pause: Callable[[], None], resume: Callable[[], None], *, high: int
    ) -> None:
        self._stop = pause
        self._resume = resume
        self._high = high
        self._chunks: deque[bytes] = deque()
        self._paused = False
        self._end: Exception | bool = False
        self._waiter: asyncio.Future[None] | None = None
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Add bytes; nothing is refused, the source is asked to pause."""
        if not data or self._end:
            return
        self._chunks.append(data)
        self.size += len(data)
        if self.size > self._high and not self._paused:
            self._paused = True
            self._stop()
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """No more bytes follow; `error` reaches the reader after the bytes held."""
        if not self._end:
            self._end = True if error is None else error
            self._wake()

    async def get(self, idle_s: float = 0) -> bytes:
        """Return the next bytes; empty at the end. One reader at a time.

        Args:
            idle_s: Longest wait; 0: no limit.

        Raises:
            TimeoutError: Nothing came within `idle_s`.
            Exception: Whatever `end` was given.
        """
        if not self._chunks and not self._end:
            await self._wait(idle_s)
        if self._chunks:
            chunk = self._chunks.popleft()
            self.size -= len(chunk)
            if self._paused and self.size <= self._high // 2:
                self._paused = False
                self._resume()
            return chunk
        if isinstance(self._end, Exception):
            raise self._end
        return b""

    async def _wait(self, idle_s: float) -> None:
        if self._waiter is not None:
            raise RuntimeError("two readers of one stream")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(idle_s or None):
                await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class BodyReader:
    """The body of one request, read at most once.

    Iterate it for chunks as they arrive, or call `read`. The first of either sends `100 Continue`
    to a client that waits for it.
    """

    __slots__ = ("_begin", "_idle_s", "_queue")

    def __init__(
        self,
        queue: ByteQueue | None,
        *,
        begin: Callable[[], None] | None = None,
        idle_s: float = 0,
    ) -> None:
        self._queue = queue
        self._begin = begin
        self._idle_s = idle_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._next():
            yield chunk

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Args:
            limit: Most bytes to accept.

        Raises:
            BodyTooLarge: The body is longer; the connection closes after the answer.
            BodyMalformed: Its framing is broken.
            BodyIncomplete: The client ended or fell silent before its end.
        """
        chunks: list[bytes] = []
        size = 0
        while chunk := await self._next():
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge(limit)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _next(self) -> bytes:
        if self._queue is None:
            return b""
        if self._begin is not None:
            begin, self._begin = self._begin, None
            begin()
        try:
            return await self._queue.get(self._idle_s)
        except TimeoutError as exc:
            raise BodyIncomplete("the request body stopped arriving") from exc
