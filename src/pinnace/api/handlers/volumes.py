"""Handlers of the volume calls."""

from pinnace.api.call import Answer, Call
from pinnace.engine.filters import parse_filters
from pinnace.model.volume import VolumeCreate


async def list_all(call: Call) -> Answer:
    """`GET /volumes`."""
    filters = parse_filters(call.query.optional("filters"))
    return Answer(await call.engine.volumes.list(filters))


async def create(call: Call) -> Answer:
    """`POST /volumes/create`; no body asks for an anonymous volume."""
    request = await call.decode_optional(VolumeCreate, VolumeCreate())
    volume = await call.mutate(call.engine.volumes.create(request), "create volume")
    return Answer(volume, status=201)


async def inspect(call: Call) -> Answer:
    """`GET /volumes/{name}`."""
    return Answer(await call.engine.volumes.inspect(call.name))


async def remove(call: Call) -> Answer:
    """`DELETE /volumes/{name}`."""
    removing = call.engine.volumes.remove(call.name, force=call.query.flag("force"))
    await call.mutate(removing, f"remove volume {call.name}")
    return Answer(status=204)


async def prune(call: Call) -> Answer:
    """`POST /volumes/prune`."""
    filters = parse_filters(call.query.optional("filters"))
    return Answer(await call.mutate(call.engine.volumes.prune(filters), "prune volumes"))
