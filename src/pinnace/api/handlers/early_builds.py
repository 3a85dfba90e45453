"""`POST /build` of API 1.0 to 1.2: a form of Dockerfile and context, answered with text."""

from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

from pinnace.api.call import Call
from pinnace.api.changes.change import child
from pinnace.api.early_streams import EarlyProgress
from pinnace.api.handlers.early_images import split_tag
from pinnace.api.handlers.sending import plain_message
from pinnace.api.http.exchange import StreamWriter
from pinnace.api.multipart import Part, boundary_of, parts
from pinnace.api.streams import while_connected
from pinnace.engine.builds.early_build import EarlyBuild
from pinnace.engine.builds.remotes import MARK_BYTES, is_archive
from pinnace.errors import InvalidParameter, PinnaceError

_PLAIN = "text/plain; charset=utf-8"
_FORM = "multipart/form-data"
_MAX_DOCKERFILE = 1 << 20
_FILE, _CONTEXT = "Dockerfile", "Context"


async def build(call: Call) -> None:
    """Build; problems before the first instruction have a status, later ones end the text."""
    async with call.engine.builds.early() as under_way:
        dockerfile = await _sources(call, under_way)
        writer = await call.stream(_PLAIN)
        await while_connected(call.exchange, _build(call, writer, under_way, dockerfile))


async def _build(
    call: Call, writer: StreamWriter, under_way: EarlyBuild, dockerfile: bytes
) -> None:
    try:
        image = await _told(writer, under_way, dockerfile)
        await _name(call, image)
        told = image.removeprefix("sha256:")
        last = f"===> {told}" if call.behaviour.arrowed_result else told
        await writer.write(f"Build successful.\n{last}\n".encode())
    except PinnaceError as exc:
        await writer.write(f"Error build: {exc.message}\n".encode())
    await writer.close()


async def _told(writer: StreamWriter, under_way: EarlyBuild, dockerfile: bytes) -> str:
    """Write what is told of the build, pulls as API 1.0 told them; return the image's id."""
    form, image = EarlyProgress(as_text=True), ""
    async with aclosing(under_way.run(dockerfile)) as messages:
        async for told in messages:
            message = plain_message(told)
            line = message.get("stream")
            image = str(child(message, "aux").get("ID") or image)
            await writer.write(line.encode() if isinstance(line, str) else form.encode(message))
    return image


async def _name(call: Call, image: str) -> None:
    """Give the image the name that was asked for; one that cannot be given is passed over."""
    repository, tag = split_tag(call.query.text("t"))
    if repository:
        with suppress(InvalidParameter):
            await call.mutate(call.engine.images.tag(image, repository, tag), "name a build")


async def _sources(call: Call, under_way: EarlyBuild) -> bytes:
    """Take the context, if there is one; return the Dockerfile."""
    remote = call.query.text("remote")
    kind = call.exchange.request.headers.get("content-type") or ""
    body = aiter(call.exchange.body)
    if remote:
        await call.discard_body()
        return await under_way.fetch(remote)
    if kind.partition(";")[0].strip().lower() == _FORM:
        return await _from_form(under_way, parts(body, boundary_of(kind)))
    return await _from_body(under_way, body)


async def _from_form(under_way: EarlyBuild, form: AsyncIterator[Part]) -> bytes:
    dockerfile: bytes | None = None
    has_context = False
    async for part in form:
        if not part.is_file:
            continue
        if part.name == _FILE and dockerfile is None:
            dockerfile = await _read(part.content)
        elif part.name == _CONTEXT and not has_context:
            await under_way.receive(part.content)
            has_context = True
    if dockerfile is None:
        raise InvalidParameter("http: no such file")
    return dockerfile


async def _from_body(under_way: EarlyBuild, body: AsyncIterator[bytes]) -> bytes:
    """Take a body that is no form: a tar with a Dockerfile in it, or a Dockerfile."""
    start = b""
    async for chunk in body:
        start += chunk
        if len(start) >= MARK_BYTES:
            break
    if not start.strip():
        raise InvalidParameter("mime: no media type")
    whole = _joined(start, body)
    if not is_archive(start):
        return await _read(whole)
    await under_way.receive(whole)
    return await under_way.dockerfile()


async def _joined(start: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for chunk in rest:
        yield chunk


async def _read(content: AsyncIterator[bytes]) -> bytes:
    """Return a Dockerfile.

    Raises:
        InvalidParameter: It is too large to be one.
    """
    found = b""
    async for chunk in content:
        found += chunk
        if len(found) > _MAX_DOCKERFILE:
            raise InvalidParameter(f"the Dockerfile is larger than {_MAX_DOCKERFILE} bytes")
    return found
