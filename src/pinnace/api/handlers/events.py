"""Handler of `GET /events`."""

import msgspec

from pinnace.api.call import Answer, Call
from pinnace.api.streams import PLAIN, MessageForm, negotiate_lines, while_connected
from pinnace.engine.filters import parse_filters
from pinnace.errors import InvalidParameter
from pinnace.model.event import Event


async def events(call: Call) -> Answer | None:
    """Send what happened from `since` on, until `until` or the client leaves."""
    since, until = call.query.timestamp("since"), call.query.timestamp("until")
    if since is None and call.query.text("since"):
        since = 0  # the beginning of time, not: from now on
    if since is not None and until is not None and until < since:
        raise InvalidParameter("`since` time must be before `until` time")
    filters = parse_filters(call.query.optional("filters"))
    form = PLAIN
    if call.behaviour.event_lines:
        form = negotiate_lines(call.exchange.request.headers.get("accept"))
    async with call.engine.events.subscribe(since, until, filters) as subscription:
        writer = await call.stream(form.content_type)

        async def serve() -> None:
            async for event in subscription:
                message = _message(call, form, event)
                if message:
                    await writer.write(message)

        await while_connected(call.exchange, serve())
        await writer.close()
    return None


def _message(call: Call, form: MessageForm, event: Event) -> bytes:
    """Return one event as the client words it; empty when it must not see it."""
    if not call.plan.answers:
        return form.encode(event)
    item = msgspec.to_builtins(event)
    return form.encode(item) if call.plan.downgrade_item(item) else b""
