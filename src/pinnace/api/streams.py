"""Streams on the wire: content types, stdcopy frames, JSON lines, and when to stop."""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass

import msgspec

from pinnace.api.http.exchange import Exchange

RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"
JSON_LINES = "application/jsonl"
_MAX_FRAME = 1 << 20


def stream_type(*, framed: bool, multiplexed: bool) -> str:
    """Return the content type of an output stream.

    Args:
        framed: It carries stdcopy frames.
        multiplexed: The client knows the type that says so.
    """
    return MULTIPLEXED_STREAM if framed and multiplexed else RAW_STREAM


def frames(stream: int, data: bytes) -> bytes:
    """Return `data` with stdcopy headers: `[stream, 0, 0, 0, length]` per at most 1 MiB."""
    if len(data) <= _MAX_FRAME:
        return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data
    return b"".join(
        frames(stream, data[start : start + _MAX_FRAME])
        for start in range(0, len(data), _MAX_FRAME)
    )


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How the messages of a JSON stream are told apart; written around each."""

    content_type: str
    before: bytes = b""
    after: bytes = b"\n"

    def encode(self, message: object) -> bytes:
        """Return one message as bytes."""
        return self.before + msgspec.json.encode(message) + self.after


PLAIN = MessageForm("application/json")
PROGRESS = MessageForm("application/json", after=b"\r\n")
_NEGOTIABLE = {
    "application/jsonl": MessageForm(JSON_LINES),
    "application/x-ndjson": MessageForm("application/x-ndjson"),
    # RFC 7464: a record separator before, a line feed after.
    "application/json-seq": MessageForm("application/json-seq", before=b"\x1e"),
}


def negotiate_lines(accept: str | None) -> MessageForm:
    """Return the form of a stream of JSON messages that the client prefers; JSON lines if none."""
    for member in (accept or "").lower().split(","):
        wanted = member.partition(";")[0].strip()
        if wanted in _NEGOTIABLE:
            return _NEGOTIABLE[wanted]
    return _NEGOTIABLE["application/jsonl"]


async def while_connected(exchange: Exchange, serving: Coroutine[None, None, None]) -> None:
    """Run `serving` until it ends or the client is gone, whichever comes first."""
    loop = asyncio.get_running_loop()
    work = loop.create_task(serving, name="stream")
    gone = loop.create_task(exchange.disconnected(), name="stream's client")
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
    finally:
        await _stop(work)
        await _stop(gone)


async def _stop(task: "asyncio.Task[None]") -> None:
    if task.done():
        return
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
