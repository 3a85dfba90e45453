"""Sending images to registries: only what is missing, and the manifest they came by if it can be.

Layers travel in parallel. The manifest goes last, so that a registry never shows an image whose
layers it does not have; what a broken push leaves there is unreferenced blobs, which the next
attempt finds.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pinnace.contracts.image_store import ImageChange
from pinnace.contracts.registry import Credentials, Registries, Repository
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
from pinnace.engine.images.push_layers import LayerPusher, UploadSlots, label
from pinnace.model.image import ImageRecord
from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import Digest, sha256_digest
from pinnace.oci.platform import Platform
from pinnace.oci.reference import Reference

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What a client wants to push.

    Attributes:
        target: A repository with all its tags, or one tag.
        platform: Insist on it; None: as the image is.
        credentials: Of the client, for the registry.
    """

    target: Reference
    platform: Platform | None
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class _Pushed:
    """An image in a registry, by its manifest."""

    manifest: Descriptor
    content: bytes


class Pusher:
    """Pushes images. One per daemon.

    Args:
        parts: What images are made of.
        library: The images.
        registries: Where they go.
        uploads: Layers that travel at a time.
    """

    def __init__(
        self, parts: ImageParts, library: ImageLibrary, registries: Registries, *, uploads: int
    ) -> None:
        self._parts = parts
        self._library = library
        self._registries = registries
        self._slots = UploadSlots(uploads)

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
        request = PushRequest(push_target(name, tag), platform, credentials)
        progress = Progress()
        task = asyncio.create_task(self._push(request, progress), name="image push")
        try:
            async for message in progress:
                yield message
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _push(self, request: PushRequest, progress: Progress) -> None:
        target = request.target
        repository_name = target.without_tag().without_digest()
        try:
            progress.say(
                {"status": f"The push refers to repository [{repository_name.familiar()}]"}
            )
            images = chosen_images(self._library.catalog, target, request.platform)
            chains = [layer.chain for _, record in images for layer in record.layers]
            with self._library.leases.hold(chains):
                async with self._registries.repository(
                    target.name, request.credentials, push=True
                ) as repository:
                    for name, record in images:
                        pushed = await self._push_image(repository, name, record, progress)
                        await self._keep(name, record, pushed)
            self._announce(target, images[0][1])
        finally:
            progress.end()

    async def _push_image(
        self, repository: Repository, name: Reference, record: ImageRecord, progress: Progress
    ) -> _Pushed:
        pushed = await self._place(repository, record, progress)
        tag = name.tag or ""
        manifest = pushed.manifest
        digest = await repository.put_manifest(pushed.content, manifest.media_type, tag)
        progress.say({"status": f"{tag}: digest: {digest} size: {manifest.size}"})
        aux = {"Tag": tag, "Digest": digest, "Size": manifest.size}
        progress.say({"progressDetail": {}, "aux": aux})
        return pushed

    async def _place(
        self, repository: Repository, record: ImageRecord, progress: Progress
    ) -> _Pushed:
        """Bring config and layers into the repository; return the manifest that fits them."""
        stored = await self._parts.store.manifest_bytes(record.id)
        original = original_manifest(record, stored)
        form = form_of(record)
        for layer in reversed(record.layers):
            progress.say(step("Preparing", label(layer)))
        pusher = LayerPusher(self._parts, repository, form, slots=self._slots, progress=progress)
        config, *layers = await together(
            [
                self._place_config(repository, form, record),
                *place_layers(pusher, record, original.layers if original else ()),
            ]
        )
        if original and stored and record.manifest and layers == original.layers:
            return _Pushed(record.manifest, stored)
        content = form.build(config, layers)
        digest = sha256_digest(content)
        return _Pushed(
            Descriptor(media_type=form.manifest, digest=digest, size=len(content)), content
        )

    async def _place_config(
        self, repository: Repository, form: Form, record: ImageRecord
    ) -> Descriptor:
        content = await self._parts.store.config_bytes(record.id)
        digest = Digest(record.id)
        descriptor = Descriptor(media_type=form.config, digest=digest, size=len(content))
        async with self._slots.layers.hold(f"{repository.name} {digest}"):
            if not await repository.has_blob(digest):
                await repository.upload_blob(descriptor, functools.partial(_from, content))
        return descriptor

    async def _keep(self, name: Reference, record: ImageRecord, pushed: _Pushed) -> None:
        """Remember the digest the image has in the registry, unless the image is gone."""
        digest = f"{name.name}@{pushed.manifest.digest}"
        change = ImageChange(set_digests={digest: record.id})
        await self._library.apply_to(record.id, change)

    def _announce(self, target: Reference, record: ImageRecord) -> None:
        labels = record.config.labels or {}
        name = target.without_tag().familiar()
        self._parts.publish("image", "push", target.familiar(), {**labels, "name": name})


def place_layers(
    pusher: LayerPusher, record: ImageRecord, wanted: Sequence[Descriptor]
) -> list[Coroutine[object, object, Descriptor]]:
    """Return the work of placing every layer, lowest first; `wanted` are forms to prefer."""
    work = []
    for number, layer in enumerate(record.layers):
        below = record.layers[number - 1].chain if number else None
        work.append(pusher.place(layer, below, wanted[number] if wanted else None))
    return work


async def together(work: Sequence[Coroutine[object, object, T]]) -> list[T]:
    """Await all; the first failure cancels the others, is waited out, and raised as it is."""
    tasks = [asyncio.create_task(one, name="push") for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _from(content: bytes, offset: int) -> AsyncIterator[bytes]:
    yield content[offset:]
