"""Taking images from registries.

What a reference names is asked for first, so that a wrong name fails before anything is said.
An image is shown when all of it is on disk, and nothing of a pull that fails is.
"""

import dataclasses
import functools
import io
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from pinnace.contracts.image_store import ImageChange, StoredImage
from pinnace.contracts.registry import (
    ANONYMOUS,
    Credentials,
    FetchedManifest,
    Repository,
)
from pinnace.engine.images.bridge import Message, Progress
from pinnace.engine.images.config_fetch import ConfigFetcher
from pinnace.engine.images.layer_fetch import LayerFetcher
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.pull_layers import LayerPuller
from pinnace.engine.images.pull_plan import (
    FoundManifest,
    PullLimits,
    find_manifest,
    wanted_layers,
)
from pinnace.engine.images.records import image_record
from pinnace.engine.images.transfer import with_progress
from pinnace.errors import Internal, NotFound
from pinnace.model.image import ImageLayer
from pinnace.model.record import ImageId
from pinnace.oci.chain import chain_ids
from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import Digest
from pinnace.oci.platform import Platform
from pinnace.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class PullSettings:
    """How images are pulled.

    Attributes:
        keep_blobs: Keep the compressed bytes of layers.
        limits: What is accepted.
    """

    keep_blobs: bool = True
    limits: PullLimits = PullLimits()  # noqa: RUF009 - immutable


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What a client wants.

    Attributes:
        reference: A tag, a digest, or neither: every tag.
        platform: Which image of an index; None: the one for this host.
        credentials: Of the client, for the registry.
    """

    reference: Reference
    platform: Platform | None = None
    credentials: Credentials = ANONYMOUS


class Puller:
    """Pulls images. One per daemon.

    Args:
        parts: What images are made of.
        library: The images.
        settings: How they are pulled.
    """

    def __init__(self, parts: ImageParts, library: ImageLibrary, settings: PullSettings) -> None:
        self._parts = parts
        self._library = library
        self._registries = parts.registries
        self._limits = settings.limits
        fetcher = LayerFetcher(parts, keep_blobs=settings.keep_blobs)
        self._layers = LayerPuller(parts, library, fetcher)
        self._configs = ConfigFetcher()

    async def pull(self, request: PullRequest) -> AsyncIterator[Message]:
        """Pull what is asked for; yield messages as Docker does.

        Raises:
            NotFound: There is no such repository, tag or platform.
            InvalidParameter: It is no image, or not what its digest says.
            PinnaceError: The registry refuses or fails, see `contracts.registry.Repository`.

        Cancelled: downloads that nobody else wants are stopped; what has come of them is kept for
        a while, for the next attempt.
        """
        work = functools.partial(self._pull, request)
        async with aclosing(with_progress(work, name="image pull")) as messages:
            async for message in messages:
                yield message

    async def _pull(self, request: PullRequest, progress: Progress) -> None:
        reference = request.reference
        async with self._registries.repository(reference.name, request.credentials) as repository:
            is_new = False
            for one in await _references(repository, reference):
                turn = _Turn(repository, one, request.platform or self._parts.host, progress)
                is_new |= await self._pull_one(turn)
        state = "Downloaded newer image" if is_new else "Image is up to date"
        progress.say({"status": f"Status: {state} for {reference.familiar()}"})
        self._announce(reference)

    async def _pull_one(self, turn: "_Turn") -> bool:
        """Pull one tag or digest; return whether it means another image now."""
        reference = turn.reference
        asked = await self._ask(turn)
        label = reference.normalized() if reference.digest else reference.tag
        turn.progress.say({"status": f"Pulling from {reference.path}", "id": label or ""})
        digest = asked.descriptor.digest
        is_new = None
        if isinstance(asked, _Known):
            is_new = await self._rename(turn, asked)
            if is_new is None:
                asked = await turn.repository.manifest(digest)
        if isinstance(asked, FetchedManifest):
            is_new = await self._take(turn, asked)
        turn.progress.say({"status": f"Digest: {digest}"})
        return bool(is_new)

    async def _ask(self, turn: "_Turn") -> "_Known | FetchedManifest":
        """Return what the reference names; its content only if it is not known here."""
        repository, text = turn.repository, turn.text
        if not self._library.catalog.knows_digests_of(turn.reference.name):
            return await repository.manifest(text)
        descriptor = await repository.resolve(text)
        key = f"{turn.reference.name}@{descriptor.digest}"
        image = self._library.catalog.digests.get(key)
        if image is not None and self._suits(image, descriptor, turn.wanted):
            return _Known(image, descriptor)
        return await repository.manifest(descriptor.digest)

    def _suits(self, image: ImageId, descriptor: Descriptor, wanted: Platform) -> bool:
        record = self._library.catalog.images[image]
        if record.manifest is not None and record.manifest.digest == descriptor.digest:
            return True
        return wanted == Platform(record.os, record.architecture, record.variant)

    async def _take(self, turn: "_Turn", top: FetchedManifest) -> bool:
        """Pull the image that a manifest or index leads to."""
        found = await find_manifest(
            turn.repository, turn.reference, top=top, wanted=turn.wanted, limits=self._limits
        )
        image = ImageId(found.parsed.config.digest)
        known = self._library.catalog.images.get(image)
        if known is not None:
            with self._library.leases.hold(layer.chain for layer in known.layers):
                if image in self._library.catalog.images:
                    config = await self._parts.store.config_bytes(image)
                    return await self._keep(turn, found, config, known.layers)
        with self._configs.hold(found.parsed.config.digest):
            config = await self._configs.get(turn.repository, found.parsed.config, turn.progress)
            return await self._assemble(turn, found, config)

    async def _assemble(self, turn: "_Turn", found: FoundManifest, config: bytes) -> bool:
        """Bring the layers together and store the image."""
        layers = wanted_layers(found.parsed, config)
        chains = chain_ids(layer.diff_id for layer in layers)
        held: list[str] = [*chains, found.top.descriptor.digest]
        for layer in layers:
            held += (layer.diff_id, layer.descriptor.digest)
        try:
            with self._library.leases.hold(held):
                pulled = await self._layers.pull(turn.repository, layers, turn.progress)
                return await self._keep(turn, found, config, pulled)
        except Internal:
            # No room, most likely: what is half done is worth less than the space.
            await self._layers.drop(layers)
            await self._library.collect(reversed(chains))
            raise
        except BaseException:
            await self._library.collect(reversed(chains))
            raise

    async def _keep(
        self,
        turn: "_Turn",
        found: FoundManifest,
        config: bytes,
        layers: Sequence[ImageLayer],
    ) -> bool:
        """Store the image with the exact bytes it came by, and name it."""
        manifest = found.manifest
        record = image_record(config, layers, manifest=manifest.descriptor)
        known = self._library.catalog.images.get(record.id)
        if known is not None:
            record = replace(record, parent=known.parent, last_tag_ns=known.last_tag_ns)
        if found.top is not manifest:
            await self._keep_index(found.top)
        change, is_new = self._naming(turn, record.id, found.top.descriptor.digest)
        if is_new:
            record = replace(record, last_tag_ns=time.time_ns())
        image = StoredImage(record, config, manifest.content)
        await self._library.apply(dataclasses.replace(change, put=[image]))
        return is_new

    async def _keep_index(self, index: FetchedManifest) -> None:
        content, digest = self._parts.content, index.descriptor.digest
        await self._parts.offload(
            lambda: content.ingest(io.BytesIO(index.content), expected=digest)
        )

    async def _rename(self, turn: "_Turn", known: "_Known") -> bool | None:
        """Point the reference at an image that is here; None: it has gone meanwhile."""
        record = self._library.catalog.images.get(known.image)
        if record is None:
            return None
        change, is_new = self._naming(turn, known.image, known.descriptor.digest)
        if is_new:
            now = time.time_ns()
            change = dataclasses.replace(change, update=[replace(record, last_tag_ns=now)])
        return is_new if await self._library.apply_to(known.image, change) else None

    def _naming(self, turn: "_Turn", image: ImageId, digest: Digest) -> tuple[ImageChange, bool]:
        """Return what points the reference at the image, and whether it points elsewhere now."""
        catalog, reference = self._library.catalog, turn.reference
        key = f"{reference.name}@{digest}"
        if reference.digest:
            return ImageChange(set_digests={key: image}), catalog.digests.get(key) != image
        name = reference.normalized()
        change = ImageChange(set_tags={name: image}, set_digests={key: image})
        return change, catalog.tags.get(name) != image

    def _announce(self, reference: Reference) -> None:
        record = self._library.catalog.find(reference)
        labels = (record.config.labels or {}) if record else {}
        name = reference.without_tag().without_digest().familiar()
        self._parts.publish("image", "pull", reference.familiar(), {**labels, "name": name})


@dataclass(frozen=True, slots=True)
class _Turn:
    """One tag or digest being pulled for one client."""

    repository: Repository
    reference: Reference
    wanted: Platform
    progress: Progress

    @property
    def text(self) -> str:
        """The tag or the digest."""
        return self.reference.digest or self.reference.tag or ""


@dataclass(frozen=True, slots=True)
class _Known:
    """An image that is here already, and what the reference names in the registry."""

    image: ImageId
    descriptor: Descriptor


async def _references(repository: Repository, reference: Reference) -> list[Reference]:
    """Return the tag or digest that is meant, or every tag of the repository."""
    if reference.tag or reference.digest:
        return [reference]
    tags = await repository.tags()
    if not tags:
        raise NotFound(f"no tags in repository {reference.familiar_name}")
    return [dataclasses.replace(reference, tag=tag) for tag in tags]
