"""The catalog with everything that changes it: one change at a time, stored before it is seen."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from pinnace.contracts.image_store import ImageChange, ImageState, StoredImage
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.deletion import Deletion, DeletionPlanner
from pinnace.engine.images.kept_blobs import UNFINISHED_S, BlobUsage, KeptBlobs
from pinnace.engine.images.leases import Leases
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.records import image_record
from pinnace.errors import NotFound
from pinnace.model.image import DeleteItem, ImageLayer, ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.chain import ChainId
from pinnace.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a delete did.

    Attributes:
        images: Names and images that went.
        layers: Layers that went with them.
        reclaimed: Bytes.
    """

    images: list[DeleteItem]
    layers: list[DeleteItem]
    reclaimed: int

    @property
    def items(self) -> list[DeleteItem]:
        """All of it, as the API lists it today."""
        return [*self.images, *self.layers]


class ImageLibrary:
    """Images and their layers, kept consistent.

    A layer is removed only under the same lock under which the catalog changes, and never while
    it is leased: so what is being loaded cannot lose a layer it found already there.
    """

    def __init__(self, parts: ImageParts, state: ImageState) -> None:
        self.catalog = Catalog(state)
        self.leases = Leases()
        self._parts = parts
        self._changing = asyncio.Lock()
        self._blobs = KeptBlobs(parts, self.catalog, self.leases)

    async def apply(self, change: ImageChange) -> None:
        """Store a change and follow it; finished even when the caller is cancelled."""

        async def alone() -> None:
            async with self._changing:
                await self._store(change)

        await asyncio.shield(asyncio.create_task(alone(), name="image change"))

    async def add(
        self,
        config: bytes,
        layers: Sequence[ImageLayer],
        *,
        parent: str = "",
        reference: Reference | None = None,
    ) -> ImageRecord:
        """Take in an image made here; its layers are there, and leased.

        Args:
            config: Its exact config.
            layers: Lowest first.
            parent: Image it was made from; "": none.
            reference: Name for it, taken from whatever has it; None: no name.
        """
        record = replace(image_record(config, layers), parent=parent)
        tags = {}
        if reference is not None:
            record = replace(record, last_tag_ns=time.time_ns())
            tags[reference.normalized()] = record.id
        await self.apply(ImageChange(put=[StoredImage(record, config)], set_tags=tags))
        if reference is not None:
            self.announce("tag", record.id, reference.familiar())
        return record

    async def apply_to(self, image: ImageId, change: ImageChange) -> bool:
        """Like `apply`, unless the image has gone meanwhile; tell whether it was done."""

        async def alone() -> bool:
            async with self._changing:
                if image not in self.catalog.images:
                    return False
                await self._store(change)
                return True

        return await asyncio.shield(asyncio.create_task(alone(), name="image change"))

    async def delete(self, ref: str, *, force: bool, prune: bool) -> Deleted:
        """Delete what `ref` means, as Docker does, with the layers nobody needs any more.

        Raises:
            ImageNotFound: No such image.
            Conflict: Something stands against it.
        """

        def decide() -> Deletion:
            planner = DeletionPlanner(self.catalog, self._parts.users.containers_using)
            return planner.plan(ref, force=force, prune=prune)

        return await self.carry_out(decide)

    async def carry_out(self, decide: Callable[[], Deletion]) -> Deleted:
        """Decide upon a deletion and do it, with no other change in between.

        Raises:
            PinnaceError: What `decide` raises; nothing was done.
        """

        async def alone() -> Deleted:
            async with self._changing:
                plan = decide()
                named = self.catalog.named_digests()
                self._announce_untags(plan)
                await self._store(plan.change())
                for record in plan.delete:
                    self.announce("delete", record.id, record.id)
                removed = await self._collect(plan.chains())
                freed = await self._blobs.release(
                    {layer.diff_id for record in plan.delete for layer in record.layers},
                    named - self.catalog.named_digests(),
                )
            layers = [DeleteItem(deleted=chain) for chain, _ in removed]
            return Deleted(plan.items, layers, freed + sum(size for _, size in removed))

        return await asyncio.shield(asyncio.create_task(alone(), name="image delete"))

    async def sweep(self, older_s: float = UNFINISHED_S) -> int:
        """Remove what no image needs and nobody works with; return the bytes that came back.

        Args:
            older_s: How long what is half done must have been left alone.
        """
        async with self._changing:
            return await self._blobs.sweep(older_s)

    async def blob_usage(self) -> BlobUsage:
        """Return the bytes that are held beside the layers of images."""
        return await self._blobs.usage()

    async def collect(self, chains: Iterable[ChainId]) -> None:
        """Remove those of the layers that no image, container or lease needs."""
        async with self._changing:
            await self._collect(chains)

    async def live_chains(self) -> set[ChainId]:
        """Return every layer that an image or a container stands on."""
        live = set(self.catalog.chains())
        tops = list(self._parts.users.layers_in_use())

        def below() -> None:
            for top in tops:
                if top not in live and self._parts.snapshots.has_layer(top):
                    live.update(self._parts.snapshots.ancestry(top))

        await self._parts.offload(below)
        return live

    def announce(self, action: str, image: ImageId, name: str) -> None:
        """Publish an image event with the image's labels, as far as it is known."""
        record = self.catalog.images.get(image)
        labels = (record.config.labels or {}) if record else {}
        self._parts.publish("image", action, image, {**labels, "name": name})

    def _announce_untags(self, plan: Deletion) -> None:
        for _, image in plan.untag:
            self.announce("untag", image, image)

    async def _store(self, change: ImageChange) -> None:
        await self._parts.store.apply(change)
        self.catalog.apply(change)

    async def _collect(self, chains: Iterable[ChainId]) -> list[tuple[ChainId, int]]:
        """Remove layers, those on top first; return them with their sizes."""
        wanted = list(chains)
        if not wanted:
            return []
        live = await self.live_chains()
        snapshots = self._parts.snapshots

        def remove() -> list[tuple[ChainId, int]]:
            removed = []
            for chain in wanted:
                if chain in live:
                    continue
                try:
                    size = snapshots.layer_usage(chain).size
                except NotFound:
                    continue
                if self.leases.unless_held(chain, snapshots.remove_layer):
                    removed.append((chain, size))
            return removed

        return await self._parts.offload(remove)
