"""Bytes of other servers and of clients, brought to the host's files."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from pinnace.contracts.build_files import SourceEntry
from pinnace.engine.builds.session import BuildParts
from pinnace.engine.images.bridge import ByteInlet
from pinnace.engine.images.parts import Offload
from pinnace.errors import InvalidParameter

T = TypeVar("T")

MAX_DOWNLOAD_BYTES = 16 << 30


async def with_bytes(
    transfer: Offload, stream: AsyncIterator[bytes], work: Callable[[ByteInlet], T]
) -> T:
    """Run `work` in a worker, reading what `stream` yields, and wait for it whatever happens.

    Cancelled: reads fail from then on; the worker's end is awaited, its result dropped.
    """
    inlet = ByteInlet()
    feeding = asyncio.create_task(inlet.feed_all(stream), name="bytes for a build")
    worker = asyncio.ensure_future(transfer(functools.partial(work, inlet)))
    try:
        return await asyncio.shield(worker)
    finally:
        inlet.close()
        feeding.cancel()
        await asyncio.gather(feeding, worker, return_exceptions=True)


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

        def keep(inlet: ByteInlet) -> SourceEntry:
            return parts.files.take_file(context, name, inlet, mtime_ns=mtime_ns)

        return await with_bytes(parts.transfer, limited(download.content, limit), keep)


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
