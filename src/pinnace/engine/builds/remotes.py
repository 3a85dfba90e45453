"""What builds fetch: contexts named by `remote`, and repositories named by ADD.

Reference: "Build context" of Docker's documentation: "Git repositories", "Remote tarballs".
"""

from collections.abc import AsyncIterator, Sequence

from pinnace.contracts.build_files import SourceEntry
from pinnace.contracts.repositories import RepositorySource
from pinnace.engine.builds.fetching import MAX_DOWNLOAD_BYTES, limited
from pinnace.engine.builds.lexer import MAX_FILE_BYTES
from pinnace.engine.builds.session import BuildParts, Session
from pinnace.engine.images.transfer import with_upload
from pinnace.errors import InvalidParameter

_WEB = ("http://", "https://")
_SECURE_SHELL = ("ssh://", "git@")
MARK_BYTES = 512
_TAR_MARK = slice(257, 262)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


def git_source(address: str) -> RepositorySource | None:
    """Return the repository that an address means; None: it means something else.

    Behind `#` are branch, tag or commit and, behind a colon, a directory.

    Raises:
        InvalidParameter: A repository, but over a protocol that is not spoken.
    """
    url, _, fragment = address.partition("#")
    if address.startswith("github.com/"):
        url = f"https://{url}"
    elif url.startswith(_SECURE_SHELL):
        raise InvalidParameter(f"Git over SSH is not supported by this engine: {url}")
    elif not (url.startswith("git://") or (url.startswith(_WEB) and url.endswith(".git"))):
        return None
    ref, _, directory = fragment.partition(":")
    return RepositorySource(url, ref, directory)


async def fetch_repository(
    parts: BuildParts, context: str, source: RepositorySource
) -> Sequence[SourceEntry]:
    """Fetch one commit of a repository into a context of its own; return its files.

    Raises:
        PinnaceError: It cannot be fetched.
    """
    async with parts.repositories.archive(source) as archive:
        return await with_upload(
            parts.transfer, archive, lambda inlet: parts.files.receive(context, inlet)
        )


async def fetch_context(session: Session, remote: str) -> bytes | None:
    """Fetch what `remote` names: a repository or an archive for the context, or a Dockerfile.

    Returns:
        The Dockerfile; None: it is in the context.

    Raises:
        InvalidParameter: No address, or the file is too large.
        PinnaceError: It cannot be fetched.
    """
    source = git_source(remote)
    if source is not None:
        async with session.parts.repositories.archive(source) as archive:
            await session.receive(archive)
        return None
    if not remote.startswith(_WEB):
        raise InvalidParameter(f"remoteURL ({remote}) could not be recognized as URL")
    async with session.parts.downloads.open(remote) as download:
        head, content = await _peek(download.content)
        if not is_archive(head):
            pieces = [piece async for piece in limited(content, MAX_FILE_BYTES)]
            return b"".join(pieces)
        await session.receive(limited(content, MAX_DOWNLOAD_BYTES))
    return None


async def _peek(stream: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """Return the first bytes, and the stream with them still in it."""
    head = b""
    async for chunk in stream:
        head += chunk
        if len(head) >= MARK_BYTES:
            break

    async def whole() -> AsyncIterator[bytes]:
        yield head
        async for chunk in stream:
            yield chunk

    return head, whole()


def is_archive(head: bytes) -> bool:
    """Tell whether a file that begins so is a tar, plain or compressed."""
    return head[_TAR_MARK] == b"ustar" or head.startswith(_COMPRESSED)
