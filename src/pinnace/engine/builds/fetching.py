"""Bytes of other servers and of clients, brought to the host's files."""

from collections.abc import AsyncIterator

from pinnace.contracts.build_files import SourceEntry
from pinnace.engine.builds.session import BuildParts
from pinnace.engine.images.bridge import ByteInlet
from pinnace.engine.images.transfer import with_upload
from pinnace.errors import InvalidParameter

MAX_DOWNLOAD_BYTES = 16 << 30


async def fetch_file(
    parts: BuildParts, context: str, url: str, *, name: str, limit: int
) -> SourceEntry:
    """Download a file into a context of its own; its time is that of the server.

    Raises:
        InvalidParameter: It is too large.
        PinnaceError: It cannot be fetched.
    """
    async with parts.downloads.open(url) as download:
        mtime_ns = download.modified_ns or 0
        return await keep_file(
            parts, context, download.content, name=name, limit=limit, mtime_ns=mtime_ns
        )


async def keep_file(
    parts: BuildParts,
    context: str,
    content: AsyncIterator[bytes],
    *,
    name: str,
    limit: int,
    mtime_ns: int,
) -> SourceEntry:
    """Take a file into a context of its own, mode 0600.

    Raises:
        InvalidParameter: It is larger than `limit` bytes.
    """

    def keep(inlet: ByteInlet) -> SourceEntry:
        return parts.files.take_file(context, name, inlet, mtime_ns=mtime_ns)

    return await with_upload(parts.transfer, limited(content, limit), keep)


async def limited(stream: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Yield what `stream` yields.

    Raises:
        InvalidParameter: It is more than `limit` bytes.
    """
    total = 0
    async for chunk in stream:
        total += len(chunk)
        if total > limit:
            raise InvalidParameter(f"the download is larger than {limit} bytes")
        yield chunk
