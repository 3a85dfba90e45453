"""One layer of a registry: downloaded, checked, inflated and unpacked in one pass.

The registry's bytes go from the event loop to a worker thread, which hashes, inflates and unpacks
them while the rest is still on its way. Where blobs are kept, the bytes are written down as they
come; a download that broke off goes on behind them, also after a restart.
"""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import BinaryIO

from pinnace.contracts.content import PartialBlob
from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.contracts.registry import Repository
from pinnace.contracts.snapshots import ByteSource, LayerStat
from pinnace.engine.images.bridge import ByteInlet, Progress
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.progress import Meter, step
from pinnace.engine.images.shared import Audience, SharedWork
from pinnace.engine.images.transfer import with_upload
from pinnace.errors import Internal, InvalidParameter, NotFound, Unavailable
from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import Digest, digest_hex

_ANY_NUMBER = 1 << 20


@dataclass(frozen=True, slots=True)
class WantedLayer:
    """A layer that a manifest names.

    Attributes:
        descriptor: Its blob.
        diff_id: What the image config says the blob unpacks to.
    """

    descriptor: Descriptor
    diff_id: Digest

    @property
    def label(self) -> str:
        """What messages call it: the start of the blob's digest."""
        return digest_hex(self.descriptor.digest)[:12]


class LayerFetcher:
    """Brings layers of registries onto the stage. One per daemon.

    Args:
        parts: What images are made of.
        keep_blobs: Keep the compressed bytes.
    """

    def __init__(self, parts: ImageParts, *, keep_blobs: bool) -> None:
        self._parts = parts
        self._slots = asyncio.Semaphore(parts.limits.downloads or _ANY_NUMBER)
        self._keep_blobs = keep_blobs
        self._shared = SharedWork[LayerStat]()

    async def stage(
        self, repository: Repository, layer: WantedLayer, progress: Progress
    ) -> LayerStat:
        """Unpack a layer onto the stage; whoever wants the same meanwhile shares the download.

        Raises:
            InvalidParameter: It is not what its digest says, or hostile.
            PinnaceError: The registry refuses or fails.

        Cancelled: the download goes on for others who want it; otherwise what came is kept.
        """
        work = functools.partial(self._stage, repository, layer)
        return await self._shared.join(layer.descriptor.digest, work, progress)

    async def _stage(
        self, repository: Repository, layer: WantedLayer, audience: Audience
    ) -> LayerStat:
        if self._slots.locked():
            audience.say(step("Waiting", layer.label))
        async with self._slots:
            stat = await self._held(layer, audience) or await self._fetch(
                repository, layer, audience
            )
        blob = LayerBlob(
            stat.diff_id, stat.digest, stat.compressed_size, layer.descriptor.media_type
        )
        await self._parts.layer_blobs.remember(blob, source=repository.name)
        return stat

    async def _held(self, layer: WantedLayer, audience: Audience) -> LayerStat | None:
        """Stage the layer from the blob kept here, if there is one and it is whole."""
        content, digest = self._parts.content, layer.descriptor.digest

        is_stopped = threading.Event()

        def stage() -> LayerStat | None:
            try:
                if content.size(digest) != layer.descriptor.size:
                    return None
                with content.open(digest) as file:
                    source = _Stoppable(file, is_stopped)
                    return self._parts.snapshots.stage_layer(source, digest=digest)
            except NotFound:
                return None
            except InvalidParameter:
                content.delete(digest)  # a power failure may have damaged it
                return None

        worker = asyncio.ensure_future(self._parts.transfer(stage))
        try:
            stat = await asyncio.shield(worker)
        finally:
            is_stopped.set()
            await asyncio.wait([worker])
        if stat is not None:
            audience.say(step("Download complete", layer.label))
        return stat

    async def _fetch(
        self, repository: Repository, layer: WantedLayer, audience: Audience
    ) -> LayerStat:
        attempt = _Attempt(self._parts, layer, audience)
        if not self._keep_blobs:
            return await attempt.download(repository, None)
        digest = layer.descriptor.digest
        async with self._receiving(digest) as partial:
            was_resumed = partial.size > 0
            try:
                return await attempt.download(repository, partial)
            except InvalidParameter:
                if not was_resumed:
                    raise
        # What was kept of an earlier attempt may be what is wrong: once more, from the start.
        async with self._receiving(digest) as partial:
            return await attempt.download(repository, partial)

    @asynccontextmanager
    async def _receiving(self, digest: Digest) -> AsyncIterator[PartialBlob]:
        """Open what is there of a blob for a `with` block, however it ends."""
        content = self._parts.content
        opening = asyncio.ensure_future(self._parts.offload(lambda: content.receive(digest)))
        try:
            partial = await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait([opening])
            if opening.exception() is None:
                opening.result().close()
            raise
        with closing(partial):
            yield partial


class _Attempt:
    """One try to download a layer."""

    def __init__(self, parts: ImageParts, layer: WantedLayer, audience: Audience) -> None:
        self._parts = parts
        self._layer = layer
        self._audience = audience

    async def download(self, repository: Repository, partial: PartialBlob | None) -> LayerStat:
        """Download and stage the layer, going on behind what `partial` holds.

        Raises:
            InvalidParameter: The bytes are not the layer; `partial` was thrown away.
        """
        descriptor = self._layer.descriptor
        offset = partial.size if partial is not None else 0
        rest = _nothing()
        if offset < descriptor.size:
            rest = repository.blob(descriptor, offset=offset)
        return await with_upload(
            self._parts.transfer, rest, functools.partial(self._unpack, partial)
        )

    def _unpack(self, partial: PartialBlob | None, inlet: ByteInlet) -> LayerStat:
        source = _Arriving(inlet, partial, self._layer, self._audience)
        try:
            stat = self._parts.snapshots.stage_layer(source, digest=self._layer.descriptor.digest)
        except (InvalidParameter, Internal):
            if partial is not None:
                partial.discard()  # wrong, or no room for it
            raise
        finally:
            source.close()
        if partial is not None:
            partial.complete()
        return stat


class _Stoppable:
    """A file whose reading can be ended from outside."""

    def __init__(self, file: BinaryIO, is_stopped: threading.Event) -> None:
        self._file = file
        self._is_stopped = is_stopped

    def read(self, size: int = -1, /) -> bytes:
        if self._is_stopped.is_set():
            raise Unavailable("nobody wants the layer any more")
        return self._file.read(size)


class _Arriving:
    """The bytes of a layer: those held first, then those that come, which are held from then on.

    Implements `contracts.snapshots.ByteSource`.
    """

    def __init__(
        self,
        inlet: ByteInlet,
        partial: PartialBlob | None,
        layer: WantedLayer,
        audience: Audience,
    ) -> None:
        self._inlet: ByteSource = inlet
        self._partial = partial
        self._held: BinaryIO | None = partial.held() if partial and partial.size else None
        self._label = layer.label
        self._audience = audience
        self._meter = Meter(audience.show, "Downloading", self._label, layer.descriptor.size)
        self._size = layer.descriptor.size
        self._done = 0
        self._is_complete = False

    def read(self, size: int = -1, /) -> bytes:
        data = self._next(size)
        self._done += len(data)
        if self._done > self._size or (not data and self._done < self._size):
            raise InvalidParameter(
                f"layer {self._label} has {self._done} bytes instead of {self._size}"
            )
        if data:
            self._meter.at(self._done)
        if not self._is_complete and (not data or self._done == self._size):
            self._is_complete = True
            self._audience.say(step("Verifying Checksum", self._label))
            self._audience.say(step("Download complete", self._label))
        return data

    def close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _next(self, size: int) -> bytes:
        if self._held is not None:
            data = self._held.read(size)
            if data:
                return data
            self.close()
        data = self._inlet.read(size)
        if self._partial is not None and data:
            self._partial.write(data)
        return data


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in list[bytes]():
        yield chunk
