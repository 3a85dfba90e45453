"""Images in and out as archives, between the event loop and worker threads."""

import asyncio
import dataclasses
import functools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing
from typing import TypeVar

from msgspec.structs import replace

from pinnace.contracts.image_store import ImageChange
from pinnace.engine.images.bridge import ByteInlet, ByteOutlet, Message, Progress
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.load import ArchiveLoader, LoadedImage
from pinnace.engine.images.parts import ImageParts, Offload
from pinnace.engine.images.save import ArchiveWriter, SavedImage
from pinnace.errors import PinnaceError
from pinnace.oci.chain import ChainId
from pinnace.oci.platform import Platform

T = TypeVar("T")


async def load_archive(
    parts: ImageParts,
    library: ImageLibrary,
    stream: AsyncIterator[bytes],
    *,
    quiet: bool,
    platforms: Sequence[Platform] = (),
) -> AsyncIterator[Message]:
    """Load the images of an archive; yield messages as `docker load` shows them.

    Nothing of the archive is in the catalog before all its layers are on disk.

    Raises:
        InvalidParameter: The archive is broken or hostile.
    """

    async def work(progress: Progress) -> None:
        await _load(parts, library, stream, progress, quiet=quiet, platforms=platforms)

    async with aclosing(with_progress(work, name="image load")) as messages:
        async for message in messages:
            yield message


async def with_progress(
    work: Callable[[Progress], Awaitable[None]], *, name: str
) -> AsyncGenerator[Message, None]:
    """Run `work` beside its reader and yield what it says; its failure comes at the end.

    Closed early: the work is cancelled, and its end awaited.
    """
    progress = Progress()

    async def run() -> None:
        try:
            await work(progress)
        finally:
            progress.end()

    task = asyncio.create_task(run(), name=name)
    try:
        async for message in progress:
            yield message
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def save_archive(
    parts: ImageParts, library: ImageLibrary, images: Sequence[SavedImage]
) -> AsyncGenerator[bytes, None]:
    """Yield the archive of `images`; their layers are leased until its end.

    Raises:
        Internal: A layer is damaged.
    """
    outlet = ByteOutlet()
    chains = [layer.chain for image in images for layer in image.record.layers]

    async def produce() -> None:
        try:
            with library.leases.hold(chains):
                writer = ArchiveWriter(parts.snapshots, outlet)
                await parts.transfer(functools.partial(writer.write, images))
        finally:
            outlet.end()

    task = asyncio.create_task(produce(), name="image save")
    try:
        async for chunk in outlet:
            yield chunk
        await task
    finally:
        outlet.abort()  # the worker ends at its next write
        await asyncio.gather(task, return_exceptions=True)


async def with_upload(
    transfer: Offload, stream: AsyncIterator[bytes], work: Callable[[ByteInlet], T]
) -> T:
    """Run `work` in a worker, reading what `stream` yields, and wait for it whatever happens.

    A failure of `stream` comes out as it is, not as what it did to the reader.

    Cancelled: reads fail from then on; the worker's end is awaited, its result dropped.
    """
    inlet = ByteInlet()
    upload = asyncio.create_task(inlet.feed_all(stream), name="upload")
    worker = asyncio.ensure_future(transfer(functools.partial(work, inlet)))
    try:
        return await asyncio.shield(worker)
    except PinnaceError:
        broken = upload.exception() if upload.done() and not upload.cancelled() else None
        if isinstance(broken, PinnaceError):
            raise broken from None
        raise
    finally:
        inlet.close()
        upload.cancel()
        await asyncio.gather(upload, worker, return_exceptions=True)


async def _load(
    parts: ImageParts,
    library: ImageLibrary,
    stream: AsyncIterator[bytes],
    progress: Progress,
    *,
    quiet: bool,
    platforms: Sequence[Platform],
) -> None:
    chains = list[ChainId]()
    leases = ExitStack()

    def unpack(inlet: ByteInlet) -> list[LoadedImage]:
        with parts.content.receive_archive(inlet) as archive:
            loader = ArchiveLoader(
                archive,
                parts.snapshots,
                host=parts.host,
                show=_hide if quiet else progress.show,
                platforms=platforms,
                keep_blobs=parts.keep_blobs,
            )
            sources = loader.sources()
            chains.extend(loader.chains(sources))
            leases.enter_context(library.leases.hold([*chains, *loader.digests(sources)]))
            return [loader.load(source) for source in sources]

    try:
        with leases:
            for loaded in await with_upload(parts.transfer, stream, unpack):
                for blob in loaded.blobs:
                    await parts.layer_blobs.remember(blob)
                await _take_in(library, loaded, progress)
    except BaseException:
        await library.collect(reversed(chains))
        raise


async def _take_in(library: ImageLibrary, loaded: LoadedImage, progress: Progress) -> None:
    record = loaded.image.record
    known = library.catalog.images.get(record.id)
    if known is not None:
        record = replace(record, parent=known.parent, last_tag_ns=known.last_tag_ns)
    if loaded.tags:
        record = replace(record, last_tag_ns=time.time_ns())
    for tag in loaded.tags:
        before = library.catalog.find(tag)
        if before is not None and before.id != record.id:
            progress.say(
                {
                    "stream": f"The image {tag.familiar()} already exists, renaming the old one"
                    f" with ID {before.id} to empty string\n"
                }
            )
    image = dataclasses.replace(loaded.image, record=record)
    tags = {tag.normalized(): record.id for tag in loaded.tags}
    await library.apply(ImageChange(put=[image], set_tags=tags))
    library.announce("load", record.id, record.id)
    for tag in loaded.tags:
        progress.say({"stream": f"Loaded image: {tag.familiar()}\n"})
    if not loaded.tags:
        progress.say({"stream": f"Loaded image ID: {record.id}\n"})


def _hide(_: Message) -> None:
    """Show nothing."""
