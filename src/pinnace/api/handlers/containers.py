"""Handlers of the container calls that answer with a document."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from pinnace.api import jsonfold
from pinnace.api.call import Answer, Call
from pinnace.api.changes.change import Json
from pinnace.api.encoding import document
from pinnace.api.streams import PLAIN, while_connected
from pinnace.engine.containers.listing import ListParams
from pinnace.engine.filters import parse_filters
from pinnace.errors import Conflict, InvalidParameter
from pinnace.model.container import HostConfig
from pinnace.model.create import CreateParams
from pinnace.wire.containers import (
    ChangedPath,
    ContainerCreated,
    ContainerCreateRequest,
    ProcessList,
    Updated,
    Waited,
    WaitError,
)

if TYPE_CHECKING:
    from pinnace.api.changes.change import JsonObject

# Fields of older versions' create bodies that changes read.
LEGACY_CREATE_FIELDS = (
    "Cpuset",
    "CpuShares",
    "Dns",
    "Memory",
    "MemorySwap",
    "PortSpecs",
    "VolumeDriver",
    "VolumesFrom",
)
_LEAST_BODY = 7  # dockerd's bound: bodies such as `null` and `{}` say nothing


async def list_all(call: Call) -> Answer:
    """`GET /containers/json`."""
    query = call.query
    params = ListParams(
        filters=parse_filters(query.optional("filters")),
        all=query.flag("all"),
        limit=query.integer("limit", 0),
        size=query.flag("size"),
        before=query.text("before"),
        since=query.text("since"),
    )
    return Answer(await call.engine.containers.list(params))


async def create(call: Call) -> Answer:
    """`POST /containers/create`."""
    body = await call.read_object(ContainerCreateRequest, extra=LEGACY_CREATE_FIELDS)
    if not body or not set(body) - {"HostConfig", "NetworkingConfig"}:
        raise InvalidParameter("config cannot be empty in order to create a container")
    request = jsonfold.convert(body, ContainerCreateRequest)
    if request.mac_address:
        raise InvalidParameter(
            "container-wide MAC address no longer supported; use endpoint-specific MAC address"
            " instead"
        )
    params = create_params(call, request, name=call.query.optional("name"))
    container_id, warnings = await call.mutate(call.engine.containers.create(params), "create")
    return Answer(
        ContainerCreated(id=container_id, warnings=[*warnings, *call.warnings]), status=201
    )


def create_params(
    call: Call, request: ContainerCreateRequest, *, name: str | None, image: str = ""
) -> CreateParams:
    """Return what the engine is asked for.

    Args:
        call: For the platform, and for what the client's version takes for granted.
        request: The body.
        name: Wanted name.
        image: Id of the image, when the body is complete without it; see `CreateParams`.
    """
    behaviour = call.behaviour
    return CreateParams(
        config=request.config(),
        host_config=request.host_config,
        networking=request.networking_config.endpoints_config,
        name=name,
        image=image,
        platform=call.query.optional("platform"),
        default_cgroupns="host" if behaviour.host_cgroupns else "",
        lenient_hostname=not behaviour.hostname_rules,
        read_only_non_recursive=not behaviour.recursive_read_only,
    )


async def inspect(call: Call) -> Answer:
    """`GET /containers/{id}/json`."""
    return Answer(await call.engine.containers.inspect(call.name, size=call.query.flag("size")))


async def start(call: Call) -> Answer:
    """`POST /containers/{id}/start`."""
    host = await _start_host_config(call)
    starting = call.engine.containers.start(call.name, host_config=host)
    await call.mutate(starting, f"start {call.name}")
    return Answer(status=204)


async def _start_host_config(call: Call) -> HostConfig | None:
    """Return the host config that clients before 1.24 could send with start."""
    content = (await call.exchange.body.read(1 << 20)).strip()
    if len(content) <= _LEAST_BODY:
        return None
    if not call.behaviour.start_host_config:
        raise InvalidParameter(
            "starting container with non-empty request body was deprecated since API v1.22 and"
            " removed in v1.24"
        )
    host = jsonfold.fold(jsonfold.decode_object(content), HostConfig)
    wanted = jsonfold.convert(host, HostConfig)
    return wanted if _says_something(host) else None


def _says_something(value: Json) -> bool:
    """Whether a value is more than zeros and empty things."""
    if isinstance(value, dict):
        return any(_says_something(item) for item in value.values())
    if isinstance(value, list):
        return any(_says_something(item) for item in value)
    return bool(value)


async def stop(call: Call) -> Answer:
    """`POST /containers/{id}/stop`."""
    stopping = call.engine.containers.stop(
        call.name, timeout=_grace(call), signal=call.query.optional("signal")
    )
    await call.mutate(stopping, f"stop {call.name}")
    return Answer(status=204)


async def restart(call: Call) -> Answer:
    """`POST /containers/{id}/restart`."""
    restarting = call.engine.containers.restart(
        call.name, timeout=_grace(call), signal=call.query.optional("signal")
    )
    await call.mutate(restarting, f"restart {call.name}")
    return Answer(status=204)


def _grace(call: Call) -> int | None:
    """Return the seconds to wait before killing; None: the container's own."""
    return call.query.required_integer("t") if call.query.text("t") else None


async def kill(call: Call) -> Answer:
    """`POST /containers/{id}/kill`."""
    killing = call.engine.containers.kill(call.name, call.query.optional("signal"))
    try:
        await call.mutate(killing, f"kill {call.name}")
    except Conflict:
        if not call.behaviour.kill_stopped:
            raise
    return Answer(status=204)


async def pause(call: Call) -> Answer:
    """`POST /containers/{id}/pause`."""
    await call.mutate(call.engine.containers.pause(call.name), f"pause {call.name}")
    return Answer(status=204)


async def unpause(call: Call) -> Answer:
    """`POST /containers/{id}/unpause`."""
    await call.mutate(call.engine.containers.unpause(call.name), f"unpause {call.name}")
    return Answer(status=204)


async def rename(call: Call) -> Answer:
    """`POST /containers/{id}/rename`."""
    renaming = call.engine.containers.rename(call.name, call.query.text("name"))
    await call.mutate(renaming, f"rename {call.name}")
    return Answer(status=204)


async def update(call: Call) -> Answer:
    """`POST /containers/{id}/update`."""
    body = await call.read_object(HostConfig)
    if body is None:
        raise InvalidParameter("invalid JSON: got EOF while reading request body")
    jsonfold.convert(body, HostConfig)  # the types; the engine wants to know what was given
    changes: Mapping[str, object] = body
    updating = call.engine.containers.update(call.name, changes)
    warnings = await call.mutate(updating, f"update {call.name}")
    return Answer(Updated(warnings=list(warnings) or None))


async def resize(call: Call) -> Answer:
    """`POST /containers/{id}/resize`."""
    height, width = call.query.required_integer("h"), call.query.required_integer("w")
    await call.engine.containers.resize(call.name, height, width)
    return Answer(b"", content_type="text/plain; charset=utf-8")


async def wait(call: Call) -> Answer | None:
    """`POST /containers/{id}/wait`; the head is sent before the container ends."""
    ticket = await call.engine.containers.wait(
        call.name, call.query.text("condition", "not-running") or "not-running"
    )

    async def result() -> Waited:
        ended = await ticket.result()
        error = WaitError(message=ended.error) if ended.error else UNSET
        return Waited(status_code=ended.status_code, error=error)

    if not call.behaviour.early_head:
        return Answer(await result())
    writer = await call.stream("application/json")

    async def serve() -> None:
        await writer.write(document(call, await result()))

    await while_connected(call.exchange, serve())
    await writer.close()
    return None


async def remove(call: Call) -> Answer:
    """`DELETE /containers/{id}`."""
    query = call.query
    containers = call.engine.containers
    volumes = query.flag("v")
    force = query.flag("force")
    link = query.flag("link")
    removing = containers.remove(call.name, force=force, volumes=volumes, link=link)
    await call.mutate(removing, f"remove {call.name}")
    return Answer(status=204)


async def prune(call: Call) -> Answer:
    """`POST /containers/prune`."""
    filters = parse_filters(call.query.optional("filters"))
    return Answer(await call.mutate(call.engine.containers.prune(filters), "prune containers"))


async def changes(call: Call) -> Answer:
    """`GET /containers/{id}/changes`."""
    found = await call.engine.containers.changes(call.name)
    return Answer([ChangedPath(path=change.path, kind=change.kind) for change in found])


async def top(call: Call) -> Answer:
    """`GET /containers/{id}/top`."""
    found = await call.engine.top.top(call.name, call.query.text("ps_args"))
    return Answer(
        ProcessList(
            titles=list(found.titles), processes=[list(process) for process in found.processes]
        )
    )


async def stats(call: Call) -> Answer | None:
    """`GET /containers/{id}/stats`: one document per second, or one."""
    streaming = call.query.flag("stream", default=True)
    one_shot = call.query.flag("one-shot")
    if streaming and one_shot:
        raise InvalidParameter("cannot have stream=true and one-shot=true")
    samples = call.engine.stats.stream(call.name, stream=streaming, one_shot=one_shot)
    first = await anext(samples)
    writer = await call.stream("application/json")
    await writer.write(_sample(call, first))

    async def rest() -> None:
        async for sample in samples:
            await writer.write(_sample(call, sample))

    await while_connected(call.exchange, rest())
    await writer.close()
    return None


def _sample(call: Call, sample: Mapping[str, object]) -> bytes:
    if not call.plan.answers:
        return PLAIN.encode(sample)
    item: JsonObject = msgspec.to_builtins(sample)
    call.plan.downgrade_item(item)
    return PLAIN.encode(item)
