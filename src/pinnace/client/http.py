"""HTTP/1.1 as a client of an engine needs it: one request per connection, streams, hijacks."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pinnace.client.connection import Stream
from pinnace.client.errors import BadAnswer

HEAD_LIMIT_BYTES = 64 * 1024

Body = bytes | AsyncIterable[bytes] | None


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]


class Buffer:
    """Reads lines and counted bytes from a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._kept = bytearray()

    def take_all(self) -> bytes:
        """Return what was received already and not consumed."""
        data = bytes(self._kept)
        self._kept.clear()
        return data

    async def until(self, mark: bytes, limit: int = HEAD_LIMIT_BYTES) -> bytes:
        """Return the bytes up to and without a mark, and consume both.

        Raises:
            BadAnswer: The stream ended first, or the mark is not within `limit` bytes.
        """
        while (end := self._kept.find(mark)) < 0 and len(self._kept) <= limit:
            await self._more()
        if not 0 <= end <= limit:
            raise BadAnswer("the answer's head is too long")
        data = bytes(self._kept[:end])
        del self._kept[: end + len(mark)]
        return data

    async def some(self, limit: int) -> bytes:
        """Return at least one and at most `limit` bytes.

        Raises:
            BadAnswer: The stream ended.
        """
        if not self._kept:
            await self._more()
        data = bytes(self._kept[:limit])
        del self._kept[:limit]
        return data

    async def rest(self) -> AsyncIterator[bytes]:
        """Iterate over everything until the peer closes."""
        if data := self.take_all():
            yield data
        while data := await self._read():
            yield data

    async def _more(self) -> None:
        data = await self._read()
        if not data:
            raise BadAnswer("the engine closed the connection in the middle of an answer")
        self._kept += data

    async def _read(self) -> bytes:
        try:
            return await self._stream.read()
        except OSError as exc:
            raise BadAnswer(f"the connection broke: {exc.strerror or exc}") from exc


class Response:
    """An answer whose body is read as a stream. Use it as an async context manager."""

    def __init__(
        self,
        head: Head,
        buffer: Buffer,
        stream: Stream,
        sending: asyncio.Task[None] | None = None,
        *,
        has_body: bool = True,
    ) -> None:
        self.status = head.status
        self.headers = head.headers
        self._buffer = buffer
        self._stream = stream
        self._sending = sending
        self._has_body = has_body and head.status not in (204, 304)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives, without transfer coding.

        Raises:
            BadAnswer: It breaks off.
        """
        if not self._has_body:
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunked()
        elif "content-length" in self.headers:
            body = self._counted(_length(self.headers["content-length"], 10))
        else:
            body = self._buffer.rest()
        async for data in body:
            yield data

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([data async for data in self.chunks()])

    async def read_available(self) -> bytes:
        """Return the body, or what there is of it when it breaks off."""
        parts = []
        with contextlib.suppress(BadAnswer):
            async for data in self.chunks():
                parts.append(data)  # noqa: PERF401 - what came before the failure is kept
        return b"".join(parts)

    async def lines(self) -> AsyncIterator[bytes]:
        """Iterate over the non-empty lines of the body, as JSON streams have them."""
        kept = b""
        async for data in self.chunks():
            *whole, kept = (kept + data).split(b"\n")
            for line in whole:
                if line.strip():
                    yield line
        if kept.strip():
            yield kept

    def hijack(self) -> "Hijacked":
        """Turn the connection into raw bytes; nothing else of this answer may be used."""
        return Hijacked(self._stream, self._buffer)

    async def close(self) -> None:
        """Drop the connection and what is still being sent."""
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sending
        await self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _counted(self, left: int) -> AsyncIterator[bytes]:
        while left:
            data = await self._buffer.some(left)
            left -= len(data)
            yield data

    async def _chunked(self) -> AsyncIterator[bytes]:
        while size := _length((await self._buffer.until(b"\r\n")).partition(b";")[0], 16):
            async for data in self._counted(size):
                yield data
            await self._buffer.until(b"\r\n")
        while await self._buffer.until(b"\r\n"):
            pass


class Hijacked:
    """A connection that became a raw byte stream, half-closable on our side."""

    def __init__(self, stream: Stream, buffer: Buffer) -> None:
        self._stream = stream
        self._buffer = buffer

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over what the engine sends until it closes."""
        async for data in self._buffer.rest():
            yield data

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the engine is slow."""
        await self._stream.write(data)

    async def write_eof(self) -> None:
        """End our direction; output still arrives."""
        await self._stream.write_eof()

    async def close(self) -> None:
        """Drop the connection."""
        await self._stream.close()


def encode_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a request's head.

    Raises:
        ValueError: A line break in the target or in a header.
    """
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("line break in a request's head")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


async def exchange(
    stream: Stream, method: str, target: str, headers: Mapping[str, str], body: Body = None
) -> Response:
    """Send one request and return its answer once the head has arrived.

    Interim answers (100) are passed over. A streamed body is sent beside the reading, so that an
    engine which answers early is heard. On failure the stream is closed.

    Raises:
        BadAnswer: No HTTP head came.
    """
    sent = dict(headers)
    if isinstance(body, bytes):
        sent["Content-Length"] = str(len(body))
    elif body is not None:
        sent["Transfer-Encoding"] = "chunked"
    elif method == "POST" and "Upgrade" not in headers:
        sent["Content-Length"] = "0"
    sending: asyncio.Task[None] | None = None
    try:
        with contextlib.suppress(ConnectionError):  # the answer may tell why
            head = encode_head(method, target, sent)
            await stream.write(head + body if isinstance(body, bytes) else head)
        if body is not None and not isinstance(body, bytes):
            sending = asyncio.create_task(_send_chunks(stream, body), name="request body")
        buffer = Buffer(stream)
        parsed = await _read_head(buffer)
        while parsed.status == 100:
            parsed = await _read_head(buffer)
    except BaseException:
        if sending is not None:
            sending.cancel()
        await stream.close()
        raise
    return Response(parsed, buffer, stream, sending, has_body=method != "HEAD")


async def _send_chunks(stream: Stream, body: AsyncIterable[bytes]) -> None:
    with contextlib.suppress(ConnectionError):  # an early answer; it is being read
        async for data in body:
            if data:
                await stream.write(b"%x\r\n%b\r\n" % (len(data), data))
        await stream.write(b"0\r\n\r\n")


async def _read_head(buffer: Buffer) -> Head:
    lines = (await buffer.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise BadAnswer(f"not an HTTP answer: {lines[0][:80]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Head(int(rest[:3]), headers)


def _length(text: str | bytes, base: int) -> int:
    try:
        length = int(text, base)
    except ValueError:
        length = -1
    if length < 0:
        raise BadAnswer(f"bad length in an answer: {text!r}")
    return length
