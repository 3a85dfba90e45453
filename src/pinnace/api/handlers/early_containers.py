"""Container calls as API 1.0 to 1.2 had them, where rewriting their words is not enough."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from pinnace.api import jsonfold
from pinnace.api.call import MAX_JSON_BYTES, Answer, Call
from pinnace.api.changes.change import JsonObject, RequestMessage, child
from pinnace.api.changes.v1_03 import short_id
from pinnace.api.early_config import early_warnings, image_config
from pinnace.api.handlers import containers
from pinnace.api.handlers.attach import attach_params, serve_hijacked
from pinnace.api.query import Query
from pinnace.api.streams import RAW_STREAM
from pinnace.engine.containers.listing import ListParams
from pinnace.engine.filters import parse_filters
from pinnace.errors import (
    Conflict,
    ContainerNotFound,
    ImageNotFound,
    Internal,
    InvalidParameter,
    NotFound,
    NotModified,
    StartFailed,
    VolumeNotFound,
)
from pinnace.model.container import ContainerSummary
from pinnace.model.early import EarlyConfig, merged
from pinnace.model.image import ImageInspect
from pinnace.wire.containers import ContainerCreated, ContainerCreateRequest

_REMOVAL_GRACE_S = 3
_SWAPPED_RESIZE = ("Docker-Client/0.3.", "Docker-Client/0.4.")
_BRIDGE_OPTION = "com.docker.network.bridge.name"
_NOT_GIVEN = -1
_VOLUME_ID = re.compile(r"[0-9a-f]{64}")
_STOPPED = b"Error: Impossible to attach to a stopped container, start it first\n"


async def list_all(call: Call) -> Answer:
    """`GET /containers/json`: newest first, from `before` on, `limit` of them, up to `since`."""
    query = call.query
    everything = query.flag("all")
    params = ListParams(filters=parse_filters(None), all=True, size=query.flag("size"))
    found = _window(await call.engine.containers.list(params), query, everything=everything)
    names = {
        str(image.id): image.repo_tags
        for image in await call.engine.images.list(parse_filters(None), all=True)
    }
    listed = []
    for one in found:
        with contextlib.suppress(ContainerNotFound):  # it went since
            seen = await call.engine.containers.inspect(one.id)
            tags = names.get(one.image_id) or [short_id(one.image_id)]
            # Always a space behind the program, and none of today's quotes.
            text = f"{seen.path} {' '.join(seen.args)}"
            if one.state == "created":  # also when its start failed, which was an end then
                one = replace(one, status=f"Exited ({seen.state.exit_code})")
            listed.append(replace(one, image=min(tags), command=text))
    return Answer(listed)


def _window(
    found: Sequence[ContainerSummary], query: Query, *, everything: bool
) -> list[ContainerSummary]:
    """Return the part of the list that is asked for.

    `since` and `before` are short ids, and nothing else is: others are met by no container.
    """
    limit, since, before = _limit(query), query.text("since"), query.text("before")
    everything = everything or limit != _NOT_GIVEN or bool(since or before)
    shown: list[ContainerSummary] = []
    for one in found:
        if before:
            before = "" if one.id[:12] == before else before
        elif everything or one.state in {"running", "paused", "restarting"}:
            if len(shown) == limit or one.id[:12] == since:
                break
            shown.append(one)
    return shown


def _limit(query: Query) -> int:
    text = query.text("limit")
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) else _NOT_GIVEN


async def create(call: Call) -> Answer:
    """`POST /containers/create`."""
    wanted = await _wanted(call)
    image = await _image(call, wanted.image)
    body: JsonObject = msgspec.to_builtins(merged(wanted, image_config(image)).fields())
    message = RequestMessage(body)
    call.plan.upgrade(message)
    request = jsonfold.convert(message.body, ContainerCreateRequest)
    params = containers.create_params(call, request, name=None, image=image.id)
    try:
        container, warnings = await call.mutate(call.engine.containers.create(params), "create")
    except ImageNotFound as exc:  # it went since
        raise NotFound(f"No such image: {wanted.image}") from exc
    return Answer(ContainerCreated(id=container, warnings=early_warnings(warnings)), status=201)


async def _wanted(call: Call) -> EarlyConfig:
    """Return the body, whatever its type says it is; what follows its first value is ignored."""
    content = (await call.exchange.body.read(MAX_JSON_BYTES)).strip()
    if not content:
        raise InvalidParameter("EOF")
    body = first_object(content)
    if any(key.lower() == "cmd" and isinstance(value, str) for key, value in body.items()):
        # Taken for a list of one word from clients of later days.
        raise InvalidParameter("json: cannot unmarshal string into Go value of type []string")
    return jsonfold.convert(jsonfold.fold(body, EarlyConfig), EarlyConfig)


def first_object(content: bytes) -> JsonObject:
    """Return the object that some bytes begin with; `null` is an empty one.

    Raises:
        InvalidParameter: They begin with something else.
    """
    text = content.decode(errors="replace")
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return jsonfold.decode_object(content)
    return {} if value is None else jsonfold.decode_object(json.dumps(value).encode())


async def _image(call: Call, given: str) -> ImageInspect:
    """Return the image that a name, an id, or `repo:` and the beginning of an id mean.

    A tag goes before an id: an id that happens to begin like a tag must not hide it.

    Raises:
        NotFound: There is none; the text names it as given.
    """
    lineage = call.engine.images.lineage
    repository, _, digits = given.rpartition(":")
    with contextlib.suppress(ImageNotFound, InvalidParameter):
        if given:
            return await lineage.inspect(given)
    if repository and re.fullmatch(r"[0-9a-f]{1,64}", digits):
        ids = {
            one.id
            for one in await lineage.list(everything=False)
            if one.id.removeprefix("sha256:").startswith(digits)
            and any(tag.rpartition(":")[0] == repository for tag in one.repo_tags)
        }
        if len(ids) == 1:
            return await lineage.inspect(ids.pop())
    raise NotFound(f"No such image: {given}")


async def inspect(call: Call) -> Answer:
    """`GET /containers/{id}/json`: with the bridge's name, which newer versions do not tell."""
    seen = await call.engine.containers.inspect(call.name)
    body: JsonObject = msgspec.to_builtins(seen)
    settings = child(body, "NetworkSettings")
    if child(child(settings, "Networks"), "bridge").get("IPAddress"):
        bridge = await call.engine.networks.inspect("bridge")
        settings["Bridge"] = bridge.options.get(_BRIDGE_OPTION, "")
    return Answer(body)


async def start(call: Call) -> Answer:
    """`POST /containers/{id}/start`; the body says nothing."""
    await call.discard_body()
    try:
        await call.mutate(call.engine.containers.start(call.name), f"start {call.name}")
    except NotModified as exc:
        seen = await call.engine.containers.inspect(call.name)
        raise Internal(f"The container {seen.id} is already running.") from exc
    except StartFailed:
        # A program that does not exist had run: it ended, with an exit code that says so.
        return Answer(status=204)
    return Answer(status=204)


async def restart(call: Call) -> Answer:
    """`POST /containers/{id}/restart`."""
    with contextlib.suppress(StartFailed):  # as for start
        return await containers.restart(call)
    return Answer(status=204)


async def remove(call: Call) -> Answer:
    """`DELETE /containers/{id}`: a running container is stopped first."""
    volumes = call.query.flag("v")
    engine = call.engine.containers
    mounted = (await engine.inspect(call.name)).mounts if volumes else []
    with contextlib.suppress(NotModified):
        stopping = engine.stop(call.name, timeout=_REMOVAL_GRACE_S, signal=None)
        await call.mutate(stopping, f"stop {call.name}")
    removing = engine.remove(call.name, force=True, volumes=volumes, link=False)
    await call.mutate(removing, f"remove {call.name}")
    for mount in mounted:
        # Also what came from another container, which for today's engine is not this one's.
        if _VOLUME_ID.fullmatch(mount.name):
            with contextlib.suppress(Conflict, VolumeNotFound):
                dropping = call.engine.volumes.remove(mount.name, force=False)
                await call.mutate(dropping, f"remove volume {mount.name}")
    return Answer(status=204)


async def resize(call: Call) -> Answer:
    """`POST /containers/{id}/resize`: a failure without a terminal."""
    height, width = call.query.required_integer("h"), call.query.required_integer("w")
    agent = call.exchange.request.headers.get("user-agent") or ""
    if agent.startswith(_SWAPPED_RESIZE):
        height, width = width, height  # clients before 0.5 send the width as the height
    seen = await call.engine.containers.inspect(call.name)
    await call.engine.containers.resize(seen.id, height, width)
    if not seen.config.tty:
        raise Internal("the container has no terminal")
    return Answer()


async def attach(call: Call) -> Answer | None:
    """`POST /containers/{id}/attach`: never waits for a start, replays stream by stream."""
    params = dataclasses.replace(
        attach_params(call, framed=False), wait_for_start=False, stream_by_stream=True
    )
    await call.discard_body()
    plan = await call.engine.attach.attach(call.name, params)
    if params.stream and not params.logs and not plan.is_running:
        hijacked = call.exchange.hijack(RAW_STREAM, ())
        await hijacked.write(_STOPPED)
        hijacked.close()
        return None
    await serve_hijacked(call, plan)
    return None
