"""Image calls as API 1.0 to 1.2 had them: images are nodes of a forest, tags can be in the way.

Also the calls that only old versions have: viz, getCache and insert.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from msgspec.structs import replace

from pinnace.api import jsonfold
from pinnace.api.call import MAX_JSON_BYTES, Answer, Call
from pinnace.api.changes.v1_03 import short_id
from pinnace.api.credentials import AuthConfig
from pinnace.api.handlers.registries import credentials_for
from pinnace.api.handlers.sending import send_progress
from pinnace.api.query import Query, parse_query
from pinnace.contracts.registry import Credentials
from pinnace.engine.builds.insertion import Place
from pinnace.errors import ImageNotFound, InvalidParameter
from pinnace.model.commit import CommitParams
from pinnace.model.early import EarlyConfig
from pinnace.model.image import ImageSummary
from pinnace.model.image_import import ImportParams
from pinnace.oci.reference import DEFAULT_DOMAIN, parse_reference
from pinnace.wire.containers import CreatedId

_FORM_TYPE = "application/x-www-form-urlencoded"
_MAX_FORM_BYTES = 64 << 10
_INDEX = "https://index.docker.io/v1"
_PLAIN = "text/plain; charset=utf-8"


async def list_all(call: Call) -> Answer:
    """`GET /images/json`; `repository` narrows it to the tags of one."""
    found = await call.engine.images.lineage.list(everything=call.query.flag("all"))
    repository = call.query.optional("repository")
    return Answer(found if repository is None else _of_repository(found, repository))


async def inspect(call: Call) -> Answer:
    """`GET /images/{name}/json`."""
    return Answer(await call.engine.images.lineage.inspect(call.name))


async def history(call: Call) -> Answer:
    """`GET /images/{name}/history`."""
    return Answer(await call.engine.images.lineage.history(call.name))


async def graph(call: Call) -> Answer:
    """`GET /images/viz`: the images in the language of dot; nothing when there are none."""
    nodes = await call.engine.images.lineage.graph()
    if not nodes:
        return Answer(b"", content_type=_PLAIN)
    lines = ["digraph docker {"]
    for node in nodes:
        if node.parent is None:
            lines.append(f' base -> "{short_id(node.id)}" [style=invis]')
        else:
            lines.append(f' "{short_id(node.parent)}" -> "{short_id(node.id)}"')
    for node in nodes:
        if node.names:
            label = "\\n".join([short_id(node.id), *node.names])
            lines.append(
                f' "{short_id(node.id)}" [label="{label}",shape=box,fillcolor="paleturquoise",'
                'style="filled,rounded"];'
            )
    lines += [" base [style=invisible]", "}"]
    return Answer(("\n".join(lines) + "\n").encode(), content_type=_PLAIN)


async def cached(call: Call) -> Answer:
    """`POST /images/getCache`: an image made from `Id` by a container of the given config."""
    body = jsonfold.decode_object(await call.exchange.body.read(MAX_JSON_BYTES))
    parent = next((value for key, value in body.items() if key.lower() == "id"), "")
    config = jsonfold.convert(jsonfold.fold(body, EarlyConfig), EarlyConfig)
    found = await call.engine.images.lineage.find_child(str(parent), config.fields())
    if found is None:
        return Answer(b"", status=404)
    return Answer(CreatedId(id=found.removeprefix("sha256:")))


async def tag(call: Call) -> Answer:
    """`POST /images/{name}/tag`: a tag of another image is only taken by force."""
    query = call.query
    force = query.flag("force")
    repository, label = query.text("repo"), query.text("tag")
    check_target(repository, label, required=True)
    tagging = call.engine.images.tag(call.name, repository, label, replace=force)
    await call.mutate(tagging, f"tag {call.name}")
    return Answer(status=201)


def check_target(repository: str, tag: str, *, required: bool = False) -> None:
    """Check a name to be given, in the words of the time.

    Raises:
        InvalidParameter: It cannot be given.
    """
    if not repository:
        if required:
            raise InvalidParameter("Repository name can't be empty")
        return
    if ":" in repository.rpartition("/")[2]:
        raise InvalidParameter(f"Illegal repository name: {repository}")
    if "/" in tag or ":" in tag:
        raise InvalidParameter(f"Illegal tag name: {tag}")


async def delete(call: Call) -> Answer:
    """`DELETE /images/{name}`: up to 1.1 the one image alone, in 1.2 by branches."""
    lineage = call.engine.images.lineage
    if call.behaviour.delete_alone:
        await call.mutate(lineage.discard(call.name), f"delete image {call.name}")
        return Answer(status=204)
    return Answer(await call.mutate(lineage.delete(call.name), f"delete image {call.name}"))


async def commit(call: Call) -> Answer:
    """`POST /commit`: the body, or else `run`, is all that the image's config has."""
    content = (await call.exchange.body.read(MAX_JSON_BYTES)).strip()
    query = call.query
    if _is_form(call) and not content.startswith(b"{"):
        query = Query(query.values | parse_query(content.decode(errors="replace")))
        content = b""
    check_target(query.text("repo"), query.text("tag"))
    config = _run_config(content) or _run_config(query.text("run").encode()) or EarlyConfig()
    params = CommitParams(
        container=query.text("container"),
        repo=query.text("repo"),
        tag=query.text("tag"),
        comment=query.text("comment") or query.text("m"),
        author=query.text("author"),
        pause=False,
        config=config.image_defaults(),
        inherit=False,
        further=config.further_fields(),
    )
    image_id = await call.mutate(call.engine.containers.commit(params), "commit")
    return Answer(CreatedId(id=image_id), status=201)


async def insert(call: Call) -> None:
    """`POST /images/{name}/insert`: a file from `url` at `path`, as one more layer."""
    await call.discard_body()
    place = Place(call.query.text("url"), call.query.text("path"))
    async with aclosing(call.engine.builds.insert(call.name, place)) as messages:
        await send_progress(call, _with_answer(messages))


async def create(call: Call) -> None:
    """`POST /images/create`: pull, or import of an archive, uploaded or elsewhere."""
    query = await _with_form(call)
    if query.text("fromImage"):
        await send_progress(call, _pulled(call, query))
        return
    check_target(query.text("repo"), query.text("tag"))
    params = ImportParams(repo=query.text("repo"), tag=query.text("tag"))
    source = query.text("fromSrc")
    images = call.engine.images
    if source == "-":
        await send_progress(call, images.import_tar(aiter(call.exchange.body), params))
        return
    address = source if "://" in source else f"http://{source}"
    said = {"status": f"Downloading from {address}"}
    await send_progress(call, _after(said, images.import_url(source, params)))


async def push(call: Call) -> None:
    """`POST /images/{name}/push`: all tags of a repository; in 1.2 the body says who asks."""
    registry = _host(call.query.text("registry"))
    name = f"{registry}/{call.name}" if registry else call.name
    credentials = await _credentials(call, name)
    found = await call.engine.images.lineage.list(everything=False)
    repository, label = split_tag(name)
    count = sum(len(image.repo_tags) for image in _of_repository(found, repository))
    if not count:
        raise ImageNotFound(call.name)
    said = {"status": f"The push refers to a repository [{repository}] (len: {count})"}
    messages = call.engine.images.push(
        repository, tag=label, platform=None, credentials=credentials
    )
    await send_progress(call, _instead(said, messages))


def split_tag(name: str) -> tuple[str, str]:
    """Return repository and tag, "" for none; a colon before the last slash is of a port.

    What follows a second colon is dropped.
    """
    above, slash, last = name.rpartition("/")
    base, *rest = last.split(":")
    return above + slash + base, rest[0] if rest else ""


async def _credentials(call: Call, name: str) -> Credentials:
    content = await call.exchange.body.read(MAX_JSON_BYTES)
    if call.behaviour.kept_login:
        return await credentials_for(call, name)
    if not content.strip():
        raise InvalidParameter("EOF")
    body = jsonfold.fold(jsonfold.decode_object(content), AuthConfig)
    return jsonfold.convert(body, AuthConfig).credentials()


async def _instead(
    first: Mapping[str, object], messages: AsyncIterator[Mapping[str, object]]
) -> AsyncIterator[Mapping[str, object]]:
    """Yield the messages with another one in the place of the first."""
    if await anext(messages, None) is not None:
        yield first
    async for message in messages:
        yield message


async def _pulled(call: Call, query: Query) -> AsyncIterator[Mapping[str, object]]:
    """Pull; without a tag, all of the repository. Whatever fails is told in the stream."""
    name = query.text("fromImage")
    registry = _host(query.text("registry"))
    said = f"{registry}/{name}" if registry else name
    yield {"status": f"Pulling repository {name} from {_index(said)}"}
    credentials = await credentials_for(call, said)
    messages = call.engine.images.pull(said, tag=query.text("tag"), credentials=credentials)
    async for message in messages:
        yield message


def _host(registry: str) -> str:
    """Return the host of a registry; clients of the time wrote it with scheme and path, or not."""
    return registry.partition("://")[2].partition("/")[0] if "://" in registry else registry


def _index(name: str) -> str:
    """Return where a repository is looked for, as the servers of the time put it."""
    domain = parse_reference(name).domain
    return _INDEX if domain == DEFAULT_DOMAIN else domain


async def _after(
    first: Mapping[str, object], messages: AsyncIterator[Mapping[str, object]]
) -> AsyncIterator[Mapping[str, object]]:
    """Yield one message at once, and then the others but for another one like it."""
    yield first
    async for message in messages:
        if message != first:
            yield message


async def _with_answer(
    messages: AsyncIterator[Mapping[str, object]],
) -> AsyncIterator[Mapping[str, object]]:
    """Yield the messages, their last word being an id, in full; then the answer with its start."""
    last = ""
    async for message in messages:
        last = str(message.get("status", last)).removeprefix("sha256:")
        yield {**message, "status": last}
    yield {"Id": short_id(last)}


def _of_repository(images: Sequence[ImageSummary], repository: str) -> list[ImageSummary]:
    found = []
    for image in images:
        tags = [tag for tag in image.repo_tags if tag.rpartition(":")[0] == repository]
        if tags:
            found.append(replace(image, repo_tags=tags))
    return found


def _run_config(content: bytes) -> EarlyConfig | None:
    """Return a container config; None for none, and for what cannot be read as one."""
    if not content.startswith(b"{"):
        return None
    try:
        body = jsonfold.decode_object(content)
        return jsonfold.convert(jsonfold.fold(body, EarlyConfig), EarlyConfig)
    except InvalidParameter:
        return None


async def _with_form(call: Call) -> Query:
    """Return the parameters; from the body when the URL has none that say what to do."""
    query = call.query
    if not _is_form(call) or "fromSrc" in query or "fromImage" in query:
        return query
    content = await call.exchange.body.read(_MAX_FORM_BYTES)
    return Query(query.values | parse_query(content.decode(errors="replace")), strict=True)


def _is_form(call: Call) -> bool:
    kind = call.exchange.request.headers.get("content-type") or ""
    return kind.partition(";")[0].strip().lower() == _FORM_TYPE
