"""`POST /build` of API 1.0 to 1.2: a form of Dockerfile and context, answered with text."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

from pinnace.api.call import Call
from pinnace.api.early_build import EarlyBuild
from pinnace.api.handlers.early_images import split_tag
from pinnace.api.http.exchange import StreamWriter
from pinnace.api.multipart import Part, boundary_of, parts
from pinnace.api.streams import while_connected
from pinnace.contracts.repositories import RepositorySource
from pinnace.engine.images.derivation import FILE_NAME, Files
from pinnace.errors import InvalidParameter, NotFound, PinnaceError
from pinnace.model.image import ImageRecord

_PLAIN = "text/plain; charset=utf-8"
_FORM = "multipart/form-data"
_MAX_DOCKERFILE = 1 << 20
_FILE, _CONTEXT = "Dockerfile", "Context"
_TAR_MARK = slice(257, 262)
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


async def build(call: Call) -> None:
    """Build; problems before the first instruction have a status, later ones end the text."""
    async with AsyncExitStack() as kept:
        dockerfile, context = await _sources(call, kept)
        writer = await call.stream(_PLAIN)
        await while_connected(call.exchange, _build(call, writer, dockerfile, context))


async def _build(call: Call, writer: StreamWriter, dockerfile: str, context: Files | None) -> None:
    try:
        image = await EarlyBuild(call.engine, context, writer.write).run(dockerfile)
        await _name(call, image)
        told = image.id.removeprefix("sha256:")
        last = f"===> {told}" if call.behaviour.arrowed_result else told
        await writer.write(f"Build successful.\n{last}\n".encode())
    except PinnaceError as exc:
        await writer.write(f"Error build: {exc.message}\n".encode())
    await writer.close()


async def _name(call: Call, image: ImageRecord) -> None:
    """Give the image the name that was asked for; one that cannot be given is passed over."""
    repository, tag = split_tag(call.query.text("t"))
    if repository:
        with suppress(InvalidParameter):
            naming = call.engine.images.tag(image.id, repository, tag)
            await call.mutate(naming, "name a build")


async def _sources(call: Call, kept: AsyncExitStack) -> tuple[str, Files | None]:
    """Return the Dockerfile and the context, which `kept` drops at its end."""
    remote = call.query.text("remote")
    kind = call.exchange.request.headers.get("content-type") or ""
    body = aiter(call.exchange.body)
    if remote:
        await call.discard_body()
        return await _fetched(call, kept, remote)
    if kind.partition(";")[0].strip().lower() == _FORM:
        return await _from_form(call, kept, parts(body, boundary_of(kind)))
    return await _from_body(call, kept, body)


async def _from_form(
    call: Call, kept: AsyncExitStack, form: AsyncIterator[Part]
) -> tuple[str, Files | None]:
    dockerfile: bytes | None = None
    context: Files | None = None
    async for part in form:
        if not part.is_file:
            continue
        if part.name == _FILE and dockerfile is None:
            dockerfile = await _read(part.content)
        elif part.name == _CONTEXT and context is None:
            archive = call.engine.derivation.archive(part.content)
            context = await kept.enter_async_context(archive)
    if dockerfile is None:
        raise InvalidParameter("http: no such file")
    return dockerfile.decode(errors="replace"), context


async def _from_body(
    call: Call, kept: AsyncExitStack, body: AsyncIterator[bytes]
) -> tuple[str, Files | None]:
    """Take a body that is no form: a tar with a Dockerfile in it, or a Dockerfile."""
    start = b""
    async for chunk in body:
        start += chunk
        if len(start) > _TAR_MARK.stop:
            break
    if not start.strip():
        raise InvalidParameter("mime: no media type")
    whole = _joined(start, body)
    if not (start.startswith(_ARCHIVES) or start[_TAR_MARK] == b"ustar"):
        return (await _read(whole)).decode(errors="replace"), None
    context = await kept.enter_async_context(call.engine.derivation.archive(whole))
    content = await call.engine.derivation.read(context, _FILE)
    return content.decode(errors="replace"), context


async def _fetched(call: Call, kept: AsyncExitStack, remote: str) -> tuple[str, Files | None]:
    if remote.startswith(("git://", "github.com/")):
        return await _checked_out(call, kept, remote)
    if not remote.startswith(("http://", "https://")):
        raise InvalidParameter(f"cannot build from {remote}: neither a URL nor a repository")
    async with call.engine.derivation.download(remote) as file:
        content = await call.engine.derivation.read(file, FILE_NAME)
    return content.decode(errors="replace"), None


async def _checked_out(call: Call, kept: AsyncExitStack, remote: str) -> tuple[str, Files]:
    url = remote if "://" in remote else f"https://{remote}"
    derivation = call.engine.derivation
    context = await kept.enter_async_context(derivation.checkout(RepositorySource(url)))
    try:
        content = await derivation.read(context, _FILE)
    except NotFound as exc:
        raise InvalidParameter("No Dockerfile found in the repository") from exc
    return content.decode(errors="replace"), context


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
