"""Sending images to registries: only what is missing, and the manifest they came by if it can be.

Layers travel in parallel. The manifest goes last, so that a registry never shows an image whose
layers it does not have; what a broken push leaves there is unreferenced blobs, which the next
attempt finds.
"""

import functools
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from pinnace.contracts.image_store import ImageChange
from pinnace.contracts.registry import Credentials, Repository
from pinnace.engine.images.bridge import Message, Progress
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.progress import step
from pinnace.engine.images.push_forms import (
    Form,
    chosen_images,
    form_of,
    original_manifest,
    push_target,
)
from pinnace.engine.images.push_index import IndexPusher, find_index
from pinnace.engine.images.push_layers import LayerPusher, UploadSlots, label
from pinnace.engine.images.together import together
from pinnace.engine.images.transfer import with_progress
from pinnace.model.image import ImageRecord
from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import Digest, sha256_digest
from pinnace.oci.platform import Platform
from pinnace.oci.reference import Reference


class Pusher:
    """Pushes images. One per daemon.

    Args:
        parts: What images are made of, and where they go.
        library: The images.
    """

    def __init__(self, parts: ImageParts, library: ImageLibrary) -> None:
        self._parts = parts
        self._library = library
        self._slots = UploadSlots(parts.limits.uploads)

    async def push(
        self, name: str, *, tag: str, platform: Platform | None, credentials: Credentials
    ) -> AsyncIterator[Message]:
        """Push one tag, or with "" every tag of a repository; yield messages as Docker does.

        Raises:
            InvalidParameter: No reference; raised before the first message.
            NotFound: There is no such image.
            PinnaceError: The registry refuses or fails, see `contracts.registry.Repository`.

        Cancelled: what travels is given up; the registry keeps the blobs it has completely.
        """
        target = push_target(name, tag)
        work = functools.partial(self._push, target, platform, credentials)
        async with aclosing(with_progress(work, name="image push")) as messages:
            async for message in messages:
                yield message

    async def _push(
        self,
        target: Reference,
        platform: Platform | None,
        credentials: Credentials,
        progress: Progress,
    ) -> None:
        bare = target.without_tag().without_digest()
        progress.say({"status": f"The push refers to repository [{bare.familiar()}]"})
        images = chosen_images(self._library.catalog, target, platform)
        chains = [layer.chain for _, record in images for layer in record.layers]
        registries = self._parts.registries
        with self._library.leases.hold(chains):
            async with registries.repository(target.name, credentials, push=True) as repository:
                indexes = IndexPusher(registries, repository, credentials)
                push = _Push(self._parts, self._library, self._slots, progress, repository)
                for name, record in images:
                    await push.image(name, record, indexes if platform is None else None)
        self._announce(target, images[0][1])

    def _announce(self, target: Reference, record: ImageRecord) -> None:
        labels = record.config.labels or {}
        name = target.without_tag().familiar()
        self._parts.publish("image", "push", target.familiar(), {**labels, "name": name})


@dataclass(frozen=True, slots=True)
class _Pushed:
    """An image in a registry, by its manifest or index."""

    manifest: Descriptor
    content: bytes


@dataclass(frozen=True, slots=True)
class _Push:
    """One client's push to one repository."""

    parts: ImageParts
    library: ImageLibrary
    slots: UploadSlots
    progress: Progress
    repository: Repository

    async def image(
        self, name: Reference, record: ImageRecord, indexes: IndexPusher | None
    ) -> None:
        """Push one image under one tag; without `indexes` it goes without the index it came by."""
        pushed = await self._place(record)
        if indexes is not None:
            pushed = await self._widen(name, record, pushed, indexes)
        tag, manifest = name.tag or "", pushed.manifest
        digest = await self.repository.put_manifest(pushed.content, manifest.media_type, tag)
        self.progress.say({"status": f"{tag}: digest: {digest} size: {manifest.size}"})
        aux = {"Tag": tag, "Digest": digest, "Size": manifest.size}
        self.progress.say({"progressDetail": {}, "aux": aux})
        named = ImageChange(set_digests={f"{name.name}@{digest}": record.id})
        await self.library.apply_to(record.id, named)

    async def _place(self, record: ImageRecord) -> _Pushed:
        """Bring config and layers into the repository; return the manifest that fits them."""
        stored = await self.parts.store.manifest_bytes(record.id)
        original = original_manifest(record, stored)
        form = form_of(record)
        for layer in reversed(record.layers):
            self.progress.say(step("Preparing", label(layer)))
        config, *layers = await together(
            [
                self._place_config(form, record),
                *self._place_layers(form, record, original.layers if original else ()),
            ],
            name="push",
        )
        if original and stored and record.manifest and layers == original.layers:
            return _Pushed(record.manifest, stored)
        content = form.build(config, layers)
        digest = sha256_digest(content)
        return _Pushed(
            Descriptor(media_type=form.manifest, digest=digest, size=len(content)), content
        )

    def _place_layers(
        self, form: Form, record: ImageRecord, wanted: Sequence[Descriptor]
    ) -> list[Coroutine[object, object, Descriptor]]:
        """Return the work of placing every layer, lowest first; `wanted` are forms to prefer."""
        pusher = LayerPusher(
            self.parts, self.repository, form, slots=self.slots, progress=self.progress
        )
        work = []
        for number, layer in enumerate(record.layers):
            below = record.layers[number - 1].chain if number else None
            work.append(pusher.place(layer, below, wanted[number] if wanted else None))
        return work

    async def _place_config(self, form: Form, record: ImageRecord) -> Descriptor:
        content = await self.parts.store.config_bytes(record.id)
        digest = Digest(record.id)
        descriptor = Descriptor(media_type=form.config, digest=digest, size=len(content))
        async with self.slots.layers.hold(f"{self.repository.name} {digest}"):
            if not await self.repository.has_blob(digest):
                await self.repository.upload_blob(descriptor, functools.partial(_from, content))
        return descriptor

    async def _widen(
        self, name: Reference, record: ImageRecord, pushed: _Pushed, indexes: IndexPusher
    ) -> _Pushed:
        """Return the index the image was pulled by if the repository can have all of it."""
        digests = self.library.catalog.digests
        index = await find_index(self.parts, digests, record, name)
        if index is None:
            return pushed
        manifest = pushed.manifest
        if manifest == record.manifest:
            put = self.repository.put_manifest
            await put(pushed.content, manifest.media_type, manifest.digest)
            if await indexes.complete(index, manifest.digest):
                return _Pushed(index.descriptor, index.content)
        # As newer engines tell it, so that the Docker CLI explains it.
        told = {
            "manifestPushedInsteadOfIndex": True,
            "originalIndex": msgspec.to_builtins(index.descriptor),
            "selectedManifest": msgspec.to_builtins(manifest),
        }
        self.progress.say({"progressDetail": {}, "aux": told})
        return pushed


async def _from(content: bytes, offset: int) -> AsyncIterator[bytes]:
    yield content[offset:]
