"""Handler of `GET /containers/{id}/logs`."""

import re

from pinnace.api.call import Answer, Call
from pinnace.api.http.exchange import StreamWriter
from pinnace.api.streams import frames, stream_type, while_connected
from pinnace.engine.containers.logs import LogParams, LogStream

_COUNT = re.compile(r"[0-9]{1,18}", re.ASCII)


async def logs(call: Call) -> Answer | None:
    """Send a container's output, past and, when followed, to come."""
    query = call.query
    tail = query.text("tail")
    params = LogParams(
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        follow=query.flag("follow"),
        since_ns=query.timestamp("since"),
        until_ns=query.timestamp("until"),
        tail=int(tail) if _COUNT.fullmatch(tail) else None,
        timestamps=query.flag("timestamps"),
        details=query.flag("details"),
    )
    stream = await call.engine.logs.open(call.name, params)
    framed = call.behaviour.framed and not stream.tty
    writer = await call.stream(
        stream_type(framed=framed, multiplexed=call.behaviour.multiplexed_type)
    )
    sending = _send(stream, writer, framed=framed)
    if params.follow:
        await while_connected(call.exchange, sending)
    else:
        await sending
    await writer.close()
    return None


async def _send(stream: LogStream, writer: StreamWriter, *, framed: bool) -> None:
    try:
        async for number, chunk in stream:
            await writer.write(frames(number, chunk) if framed else chunk)
    finally:
        await stream.aclose()
