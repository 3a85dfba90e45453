"""Handlers of the exec calls."""

from pinnace.api.call import Answer, Call
from pinnace.api.handlers.attach import serve_hijacked
from pinnace.engine.containers.execs import ExecStartParams
from pinnace.model.exec import ExecConfig
from pinnace.wire.containers import CreatedId
from pinnace.wire.execs import ExecStartRequest


async def create(call: Call) -> Answer:
    """`POST /containers/{id}/exec`."""
    config = await call.decode(ExecConfig)
    exec_id = await call.engine.execs.create(call.name, config)
    return Answer(CreatedId(id=exec_id), status=201)


async def start(call: Call) -> Answer | None:
    """`POST /exec/{id}/start`."""
    request = await call.decode_optional(ExecStartRequest, ExecStartRequest())
    params = ExecStartParams(
        detach=request.detach,
        tty=request.tty,
        console_size=request.console_size,
        framed=call.behaviour.framed,
    )
    if request.detach:
        await call.mutate(call.engine.execs.start(call.name, params), f"exec {call.name}")
        return Answer(b"", content_type="text/plain; charset=utf-8")
    plan = await call.engine.execs.start(call.name, params)
    if plan is None:
        return Answer()
    await serve_hijacked(call, plan, headers=tuple(call.headers))
    return None


async def resize(call: Call) -> Answer:
    """`POST /exec/{id}/resize`."""
    height, width = call.query.required_integer("h"), call.query.required_integer("w")
    await call.engine.execs.resize(call.name, height, width)
    return Answer(b"", content_type="text/plain; charset=utf-8")


async def inspect(call: Call) -> Answer:
    """`GET /exec/{id}/json`."""
    return Answer(await call.engine.execs.inspect(call.name))
