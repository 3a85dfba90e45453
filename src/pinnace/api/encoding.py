"""Answers as bytes, in the words of the client's version."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from pinnace.api.call import Answer, Call
from pinnace.api.changes.change import Json, ResponseMessage
from pinnace.api.errors import JSON_TYPE


async def send_answer(call: Call, answer: Answer) -> None:
    """Send an answer of known length."""
    headers = (*call.headers, *answer.headers) if answer.headers else call.headers
    if answer.body is None or isinstance(answer.body, bytes):
        await call.exchange.respond(
            answer.status, answer.body or b"", headers=headers, content_type=answer.content_type
        )
        return
    message = _downgraded(call, answer.status, answer.body)
    if message.headers:
        headers = (*headers, *message.headers)
    content = _encoded(call, message.body)
    await call.exchange.respond(
        message.status, content, headers=headers, content_type=JSON_TYPE if content else None
    )


def document(call: Call, body: object) -> bytes:
    """Return a JSON document for a stream; empty when the client's version knows none."""
    return _encoded(call, _downgraded(call, 200, body).body)


@dataclass(frozen=True, slots=True)
class _Newest:
    """An answer that needs no rewriting."""

    status: int
    body: object
    headers: Sequence[tuple[str, str]] = ()


def _downgraded(call: Call, status: int, body: object) -> ResponseMessage | _Newest:
    if not call.plan.answers:
        return _Newest(status, body)
    tree: Json = msgspec.to_builtins(body)
    message = ResponseMessage(status, tree, call.query.values)
    call.plan.downgrade(message)
    return message


def _encoded(call: Call, body: object) -> bytes:
    if body is None:
        return b""
    content = msgspec.json.encode(body)
    if not call.behaviour.remote:
        return content + b"\n"
    # Go of 2013 escaped these in strings; outside strings JSON has none of them.
    for mark, escape in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
        content = content.replace(mark, escape)
    return content
