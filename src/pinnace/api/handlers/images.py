"""Handlers of the image calls that answer with a document."""

from pinnace.api import jsonfold
from pinnace.api.call import Answer, Call
from pinnace.engine.filters import parse_filters
from pinnace.model.commit import CommitParams
from pinnace.model.container import ContainerConfig
from pinnace.wire.containers import CreatedId


async def list_all(call: Call) -> Answer:
    """`GET /images/json`."""
    query = call.query
    found = await call.engine.images.list(
        parse_filters(query.optional("filters")),
        all=query.flag("all"),
        shared_size=query.flag("shared-size"),
        manifests=query.flag("manifests"),
    )
    return Answer(found)


async def inspect(call: Call) -> Answer:
    """`GET /images/{name}/json`."""
    origin = call.behaviour.image_origin
    return Answer(await call.engine.images.inspect(call.name, origin=origin))


async def history(call: Call) -> Answer:
    """`GET /images/{name}/history`."""
    return Answer(await call.engine.images.history(call.name))


async def tag(call: Call) -> Answer:
    """`POST /images/{name}/tag`."""
    query = call.query
    query.flag("force")  # without effect since 1.24; its form is still checked
    tagging = call.engine.images.tag(call.name, query.text("repo"), query.text("tag"))
    await call.mutate(tagging, f"tag {call.name}")
    return Answer(status=201)


async def delete(call: Call) -> Answer:
    """`DELETE /images/{name}`."""
    query = call.query
    deleting = call.engine.images.delete(
        call.name, force=query.flag("force"), noprune=query.flag("noprune")
    )
    return Answer(await call.mutate(deleting, f"delete image {call.name}"))


async def prune(call: Call) -> Answer:
    """`POST /images/prune`."""
    filters = parse_filters(call.query.optional("filters"))
    return Answer(await call.mutate(call.engine.images.prune(filters), "prune images"))


async def commit(call: Call) -> Answer:
    """`POST /commit`: an image out of a container's changes; the body may replace its config."""
    query = call.query
    body = await call.read_object(ContainerConfig)
    params = CommitParams(
        container=query.text("container"),
        repo=query.text("repo"),
        tag=query.text("tag"),
        comment=query.text("comment"),
        author=query.text("author"),
        pause=query.flag("pause", default=True),
        changes=[line for given in query.all("changes") for line in given.split("\n") if line],
        config=None if body is None else jsonfold.convert(body, ContainerConfig),
    )
    image_id = await call.mutate(call.engine.containers.commit(params), "commit")
    return Answer(CreatedId(id=image_id), status=201)
