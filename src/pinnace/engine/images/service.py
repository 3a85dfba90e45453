"""The images of this host: what the API's image calls do."""

import asyncio
import dataclasses
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol, TypeVar

from msgspec.structs import replace

from pinnace.contracts.content import Content
from pinnace.contracts.image_store import ImageChange, ImageState, ImageStore
from pinnace.contracts.snapshots import Snapshots
from pinnace.engine.images.bridge import ByteInlet, Message, Progress
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.leases import Leases
from pinnace.engine.images.load import ArchiveLoader, LoadedImage
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.platform import Platform

T = TypeVar("T")

Publish = Callable[[str, str, str, Mapping[str, str]], None]  # type, action, id, attributes


class Offload(Protocol):
    """Runs a blocking function in a bounded worker pool and awaits its result."""

    async def __call__(self, fn: Callable[[], T], /) -> T:
        """Run `fn`."""
        ...


class ImageUsers(Protocol):
    """Who uses images: the containers."""

    def containers_using(self, image: ImageId) -> Sequence[tuple[str, bool]]:
        """Return (container id, is running) of every container made from the image."""
        ...


class ImageService:
    """Owns the images. One instance per daemon.

    Args:
        store: Keeps the records.
        state: What the store holds at boot.
        snapshots: Holds the layers.
        content: Receives archives.
        users: Containers that use an image.
        offload: Runs blocking work.
        publish: Takes events.
        host: What this host runs.
    """

    def __init__(
        self,
        store: ImageStore,
        state: ImageState,
        *,
        snapshots: Snapshots,
        content: Content,
        users: ImageUsers,
        offload: Offload,
        publish: Publish,
        host: Platform,
    ) -> None:
        self.catalog = Catalog(state)
        self._store = store
        self._snapshots = snapshots
        self._content = content
        self._users = users
        self._offload = offload
        self._publish = publish
        self._host = host
        self._leases = Leases()
        self._writing = asyncio.Lock()

    def resolve(self, ref: str) -> ImageRecord:
        """Return the image that `ref` (id, start of an id, or reference) means.

        Raises:
            ImageNotFound: None.
            InvalidParameter: No reference, or the start of several ids.
        """
        return self.catalog.resolve(ref)

    async def config_bytes(self, ref: str) -> bytes:
        """Return the exact bytes of an image's config.

        Raises:
            ImageNotFound: No such image.
        """
        return await self._store.config_bytes(self.resolve(ref).id)

    async def load(
        self, stream: AsyncIterator[bytes], *, quiet: bool = False
    ) -> AsyncIterator[Message]:
        """Load every image of an archive; yield messages as `docker load` shows them.

        Nothing of the archive is in the catalog before all its layers are on disk.

        Raises:
            InvalidParameter: The archive is broken or hostile.
        """
        progress = Progress()
        task = asyncio.create_task(self._load(stream, progress, quiet=quiet), name="image load")
        try:
            async for message in progress:
                yield message
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _load(
        self, stream: AsyncIterator[bytes], progress: Progress, *, quiet: bool
    ) -> None:
        inlet = ByteInlet()

        def hide(_: Message) -> None:
            """Show nothing."""

        show = hide if quiet else progress.show
        upload = asyncio.create_task(inlet.feed_all(stream), name="archive upload")
        try:
            with ExitStack() as leases:
                unpack = functools.partial(self._unpack_archive, inlet, leases, show)
                for loaded in await self._offload(unpack):
                    await self._take_in(loaded, progress)
        finally:
            inlet.close()
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
            progress.end()

    def _unpack_archive(
        self, inlet: ByteInlet, leases: ExitStack, show: Callable[[Message], None]
    ) -> list[LoadedImage]:
        try:
            with self._content.receive_archive(inlet) as archive:
                loader = ArchiveLoader(archive, self._snapshots, host=self._host, show=show)
                sources = loader.sources()
                leases.enter_context(self._leases.hold(loader.chains(sources)))
                return [loader.load(source) for source in sources]
        finally:
            inlet.close()

    async def _take_in(self, loaded: LoadedImage, progress: Progress) -> None:
        record = loaded.image.record
        known = self.catalog.images.get(record.id)
        if known is not None:
            record = replace(record, parent=known.parent, last_tag_ns=known.last_tag_ns)
        if loaded.tags:
            record = replace(record, last_tag_ns=time.time_ns())
        image = dataclasses.replace(loaded.image, record=record)
        for tag in loaded.tags:
            before = self.catalog.find(tag)
            if before is not None and before.id != record.id:
                progress.say(
                    {
                        "stream": f"The image {tag.familiar()} already exists, renaming the old"
                        f" one with ID {before.id} to empty string\n"
                    }
                )
        tags = {tag.normalized(): record.id for tag in loaded.tags}
        await self._apply(ImageChange(put=[image], set_tags=tags))
        self._publish("image", "load", record.id, {"name": record.id})
        for tag in loaded.tags:
            progress.say({"stream": f"Loaded image: {tag.familiar()}\n"})
        if not loaded.tags:
            progress.say({"stream": f"Loaded image ID: {record.id}\n"})

    async def _apply(self, change: ImageChange) -> None:
        """Store a change, then follow it in memory; not to be torn apart by cancellation."""

        async def both() -> None:
            async with self._writing:
                await self._store.apply(change)
                self.catalog.apply(change)

        await asyncio.shield(asyncio.create_task(both(), name="image change"))
