"""Streams whose beginning may still fail: the first piece is awaited before the head is sent."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from pinnace.api.call import Call
from pinnace.api.changes.change import JsonObject
from pinnace.api.early_streams import EarlyProgress
from pinnace.api.streams import PROGRESS
from pinnace.engine.builds.faults import CommandFailed
from pinnace.errors import PinnaceError


async def send_chunks(
    call: Call,
    chunks: AsyncIterator[bytes],
    content_type: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
) -> None:
    """Send bytes as they come.

    Raises:
        PinnaceError: The first chunk could not be made; no head was sent.
    """
    first = await anext(chunks, b"")
    writer = await call.exchange.stream(
        200, headers=(*call.headers, *headers), content_type=content_type
    )
    await writer.write(first)
    async for chunk in chunks:
        await writer.write(chunk)
    await writer.close()


class ProgressForm(Protocol):
    """How a progress message is written."""

    @property
    def content_type(self) -> str:
        """Of the stream."""
        ...

    def encode(self, message: JsonObject) -> bytes:
        """Return one message as bytes."""
        ...


async def send_progress(call: Call, messages: AsyncIterator[Mapping[str, object]]) -> None:
    """Send progress messages; a failure after the first becomes the last message.

    Raises:
        PinnaceError: Nothing had been told yet; no head was sent.
    """
    behaviour = call.behaviour
    form: ProgressForm = (
        EarlyProgress(as_text=behaviour.text_progress) if behaviour.remote else PROGRESS
    )
    first = await anext(messages, None)
    writer = await call.stream(form.content_type)
    try:
        if first is not None:
            await writer.write(form.encode(plain_message(first)))
        async for message in messages:
            await writer.write(form.encode(plain_message(message)))
    except PinnaceError as exc:
        await writer.write(form.encode(failureplain_message(exc)))
    await writer.close()


def failureplain_message(failure: PinnaceError) -> JsonObject:
    """Return the last message of a stream that failed."""
    detail: JsonObject = {"message": failure.message}
    if isinstance(failure, CommandFailed):
        detail["code"] = failure.code
    return {"errorDetail": detail, "error": failure.message}


def plain_message(progress: Mapping[str, object]) -> JsonObject:
    """Return a progress message as JSON."""
    return {key: _plain(value) for key, value in progress.items()}


def _plain(value: object) -> "str | int | JsonObject":
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, int) else str(value)
