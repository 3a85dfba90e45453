"""Handlers of images as archives: load, save, import."""

from collections.abc import AsyncIterator, Sequence

from pinnace.api.call import Answer, Call
from pinnace.api.credentials import AUTH_HEADER, header_credentials
from pinnace.api.handlers.sending import send_chunks, send_progress
from pinnace.api.platforms import read_platforms
from pinnace.api.streams import while_connected
from pinnace.engine.images.bridge import Message
from pinnace.errors import InvalidParameter
from pinnace.model.image_import import ImportParams

TAR = "application/x-tar"


async def create(call: Call) -> Answer | None:
    """`POST /images/create`: pull from a registry, or import an archive.

    A pull ends with its client, unless others want the same.
    """
    query = call.query
    if query.text("fromImage"):
        await while_connected(call.exchange, send_progress(call, _pull(call)))
        return None
    source = query.text("fromSrc")
    if not source:
        raise InvalidParameter("one of fromImage and fromSrc must be given")
    params = ImportParams(
        repo=query.text("repo"),
        tag=query.text("tag"),
        changes=list(query.all("changes")),
        message=query.text("message"),
        platform=query.optional("platform"),
    )
    images = call.engine.images
    if source == "-":
        messages = images.import_tar(aiter(call.exchange.body), params)
    else:
        messages = images.import_url(source, params)
    await send_progress(call, messages)
    return None


def _pull(call: Call) -> AsyncIterator[Message]:
    query = call.query
    return call.engine.images.pull(
        query.text("fromImage"),
        tag=query.text("tag"),
        platform=query.optional("platform"),
        credentials=header_credentials(call.exchange.request.headers.get(AUTH_HEADER)),
    )


async def load(call: Call) -> Answer | None:
    """`POST /images/load`."""
    messages = call.engine.images.load(
        aiter(call.exchange.body),
        quiet=call.query.flag("quiet", default=False),
        platforms=read_platforms(call.query.all("platform")),
    )
    await send_progress(call, messages)
    return None


async def save(call: Call) -> Answer | None:
    """`GET /images/{name}/get`."""
    await _send(call, [call.name])
    return None


async def save_several(call: Call) -> Answer | None:
    """`GET /images/get?names=…`."""
    names = [name for given in call.query.all("names") for name in given.split(",") if name]
    if not names:
        raise InvalidParameter("no image names given")
    await _send(call, names)
    return None


async def _send(call: Call, names: Sequence[str]) -> None:
    platforms = read_platforms(call.query.all("platform"))
    await send_chunks(call, call.engine.images.save(names, platforms=platforms), TAR)
