"""Getting a layer into a repository in the cheapest way there is.

From the cheapest: it is there; the registry takes it over from another of its repositories; its
compressed bytes are kept here; it is compressed into a spool and sent from there. The spool is
what makes an upload resumable, and lets compressing and sending of different layers overlap.
"""

import asyncio
import functools
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO

from pinnace.contracts.content import Spooled
from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.contracts.registry import Repository
from pinnace.contracts.snapshots import ByteSink
from pinnace.engine.images.bridge import Progress
from pinnace.engine.images.parts import ImageParts, Offload
from pinnace.engine.images.progress import Meter, step
from pinnace.engine.images.push_forms import Form
from pinnace.engine.locks import Locks
from pinnace.errors import Forbidden, InvalidParameter, NotFound, Unauthorized, Unavailable
from pinnace.model.image import ImageLayer
from pinnace.oci.chain import ChainId
from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import digest_hex
from pinnace.oci.layer_gzip import GzipSink
from pinnace.oci.manifest import MAX_LAYERS
from pinnace.oci.reference import parse_repository

CHUNK_BYTES = 1 << 20
_OTHER_FORMS = 3  # how many forms of a layer a registry is asked for
_SOURCES = 3  # how many repositories a blob is tried to be taken over from


class UploadSlots:
    """How much is pushed at a time, by all clients together.

    Attributes:
        uploads: Layers on their way.
        compressing: Layers being compressed; one more than processors helps nobody.
        layers: One lock per layer and repository: who comes second finds it there.
    """

    def __init__(self, uploads: int) -> None:
        """Let so many layers travel at a time; 0: all."""
        self.uploads = asyncio.Semaphore(uploads or MAX_LAYERS * MAX_LAYERS)
        self.compressing = asyncio.Semaphore(os.cpu_count() or 1)
        self.layers = Locks()


class LayerPusher:
    """Places the layers of one image in one repository."""

    def __init__(
        self,
        parts: ImageParts,
        repository: Repository,
        form: Form,
        *,
        slots: UploadSlots,
        progress: Progress,
    ) -> None:
        self._parts = parts
        self._repository = repository
        self._form = form
        self._slots = slots
        self._progress = progress

    async def place(
        self, layer: ImageLayer, below: ChainId | None, wanted: Descriptor | None
    ) -> Descriptor:
        """See to it that the repository has a layer; return in what form.

        Args:
            layer: Which.
            below: The stack it stands on.
            wanted: The form to prefer; another is taken if its bytes cannot be had.

        Raises:
            PinnaceError: The registry refuses or fails, see `Repository`.
            Internal: The layer is damaged.
        """
        key = f"{self._repository.name} {layer.diff_id}"
        if self._slots.uploads.locked():
            self._progress.say(step("Waiting", label(layer)))
        async with self._slots.layers.hold(key), self._slots.uploads:
            return await self._place(layer, below, wanted)

    async def _place(
        self, layer: ImageLayer, below: ChainId | None, wanted: Descriptor | None
    ) -> Descriptor:
        first = [wanted] if wanted else []
        for forms in (first, await self._other_forms(layer, wanted)):
            for way in (self._is_there, self._is_mounted, self._is_sent):
                for form in forms:
                    if await way(layer, form):
                        return form
        return await self._compress(layer, below)

    async def _other_forms(
        self, layer: ImageLayer, wanted: Descriptor | None
    ) -> Sequence[Descriptor]:
        known = await self._parts.layer_blobs.of_layer(layer.diff_id)
        listed = [self._form.layer(blob) for blob in known]
        others = [
            form for form in listed if form and not (wanted and wanted.digest == form.digest)
        ]
        return others[:_OTHER_FORMS]

    async def _is_there(self, layer: ImageLayer, form: Descriptor) -> bool:
        if not await self._repository.has_blob(form.digest):
            return False
        await self._remember(layer, form)
        self._progress.say(step("Layer already exists", label(layer)))
        return True

    async def _is_mounted(self, layer: ImageLayer, form: Descriptor) -> bool:
        here = parse_repository(self._repository.name)
        sources = map(parse_repository, await self._parts.layer_blobs.sources(form.digest))
        near = [one for one in sources if one.domain == here.domain and one.path != here.path]
        for source in near[:_SOURCES]:
            if await self._take_over(form, source.name):
                await self._remember(layer, form)
                self._progress.say(step(f"Mounted from {source.path}", label(layer)))
                return True
        return False

    async def _take_over(self, form: Descriptor, source: str) -> bool:
        try:
            return await self._repository.mount_blob(form.digest, source)
        except (NotFound, Unauthorized, Forbidden):
            return False  # the client may push here without reading there

    async def _is_sent(self, layer: ImageLayer, form: Descriptor) -> bool:
        content = self._parts.content
        try:
            file = await self._parts.offload(functools.partial(content.open, form.digest))
        except NotFound:
            return False
        with file:
            try:
                await self._upload(layer, form, file)
            except InvalidParameter:
                # Not the bytes it was: whoever needs them makes or fetches them again.
                await self._parts.offload(functools.partial(content.delete, form.digest))
                return False
        return True

    async def _compress(self, layer: ImageLayer, below: ChainId | None) -> Descriptor:
        async with compressed_layer(
            self._parts, layer, below, slots=self._slots, progress=self._progress
        ) as spooled:
            form = Descriptor(
                media_type=self._form.gzip_layer, digest=spooled.digest, size=spooled.size
            )
            if not await self._is_there(layer, form):
                await self._upload(layer, form, spooled.file)
        return form

    async def _upload(self, layer: ImageLayer, form: Descriptor, file: BinaryIO) -> None:
        meter = Meter(self._progress.show, "Pushing", label(layer), form.size)
        content = functools.partial(file_chunks, file, self._parts.offload)
        await self._repository.upload_blob(form, content, sent=meter.at)
        await self._remember(layer, form)
        self._progress.say(step("Pushed", label(layer)))

    async def _remember(self, layer: ImageLayer, form: Descriptor) -> None:
        blob = LayerBlob(layer.diff_id, form.digest, form.size, form.media_type)
        await self._parts.layer_blobs.remember(blob, source=self._repository.name)


@asynccontextmanager
async def compressed_layer(
    parts: ImageParts,
    layer: ImageLayer,
    below: ChainId | None,
    *,
    slots: UploadSlots,
    progress: Progress,
) -> AsyncGenerator[Spooled, None]:
    """Compress a layer into a spool, which ends with the block.

    Raises:
        Internal: The layer is damaged, or there is no room.

    Cancelled: the worker ends at its next write, and is waited for.
    """
    total = parts.snapshots.layer_stat(layer.chain).tar_size
    meter = Meter(progress.show, "Preparing", label(layer), total)
    stopped = threading.Event()

    def produce(target: ByteSink) -> None:
        sink = _Stoppable(GzipSink(target), meter, stopped)
        parts.snapshots.export_layer(layer.chain, below, sink)
        sink.gzip.close()

    spool = parts.content.spool(produce)
    async with slots.compressing:
        worker = asyncio.ensure_future(parts.transfer(spool.__enter__))
        try:
            spooled = await asyncio.shield(worker)
        except asyncio.CancelledError:
            stopped.set()
            await asyncio.gather(worker, return_exceptions=True)
            raise
    try:
        yield spooled
    finally:
        await parts.offload(functools.partial(spool.__exit__, None, None, None))


async def file_chunks(file: BinaryIO, offload: Offload, offset: int) -> AsyncIterator[bytes]:
    """Yield what a file holds from `offset` on."""

    def first() -> bytes:
        file.seek(offset)
        return file.read(CHUNK_BYTES)

    read: Callable[[], bytes] = first
    while chunk := await offload(read):
        yield chunk
        read = functools.partial(file.read, CHUNK_BYTES)


def label(layer: ImageLayer) -> str:
    """Return what progress calls a layer: 12 digits of its diff id."""
    return digest_hex(layer.diff_id)[:12]


class _Stoppable:
    """Compresses what comes, shows how far it is, and fails once stopped."""

    def __init__(self, gzip: GzipSink, meter: Meter, stopped: threading.Event) -> None:
        self.gzip = gzip
        self._meter = meter
        self._stopped = stopped

    def write(self, data: bytes) -> None:
        if self._stopped.is_set():
            raise Unavailable("the push was given up")
        self.gzip.write(data)
        self._meter.at(self.gzip.size)
