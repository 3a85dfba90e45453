"""Handlers of the network calls."""

from pinnace.api.call import Answer, Call
from pinnace.engine.filters import parse_filters
from pinnace.errors import InvalidParameter
from pinnace.wire.networks import (
    NetworkConnectRequest,
    NetworkCreated,
    NetworkCreateRequest,
    NetworkDisconnectRequest,
    NetworkPruneReport,
)

_PRUNE_FILTERS = frozenset({"label", "label!", "until"})


async def list_all(call: Call) -> Answer:
    """`GET /networks`."""
    networks = call.engine.networks
    found = await networks.list(parse_filters(call.query.optional("filters")))
    if call.behaviour.network_containers:
        return Answer([await networks.inspect(network.id) for network in found])
    return Answer(found)


async def inspect(call: Call) -> Answer:
    """`GET /networks/{id}`."""
    return Answer(
        await call.engine.networks.inspect(call.name, verbose=call.query.flag("verbose"))
    )


async def create(call: Call) -> Answer:
    """`POST /networks/create`."""
    request = await call.decode(NetworkCreateRequest)
    if not request.name.strip():
        raise InvalidParameter("network name cannot be empty")
    creating = call.engine.networks.create(request.name)
    network_id = await call.mutate(creating, f"create network {request.name}")
    return Answer(NetworkCreated(id=network_id, warning=""), status=201)


async def connect(call: Call) -> Answer:
    """`POST /networks/{id}/connect`."""
    request = await call.decode(NetworkConnectRequest)
    connecting = call.engine.networks.connect(call.name, request.container)
    await call.mutate(connecting, f"connect {request.container}")
    return Answer(b"")


async def disconnect(call: Call) -> Answer:
    """`POST /networks/{id}/disconnect`."""
    request = await call.decode(NetworkDisconnectRequest)
    disconnecting = call.engine.networks.disconnect(call.name, request.container)
    await call.mutate(disconnecting, f"disconnect {request.container}")
    return Answer(b"")


async def remove(call: Call) -> Answer:
    """`DELETE /networks/{id}`."""
    await call.mutate(call.engine.networks.remove(call.name), f"remove network {call.name}")
    return Answer(status=204)


async def prune(call: Call) -> Answer:
    """`POST /networks/prune`."""
    parse_filters(call.query.optional("filters")).validate(_PRUNE_FILTERS)
    deleted = await call.mutate(call.engine.networks.prune(), "prune networks")
    return Answer(NetworkPruneReport(networks_deleted=list(deleted) or None))
