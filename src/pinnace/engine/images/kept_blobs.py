"""Blobs, and what is half done: what is kept of them, and when it goes.

A blob stays as long as an image has the layer it holds, or a digest names it (an index). What is
staged or partly downloaded stays for a while without an image: a pull may go on with it. Nothing
goes that is leased.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.leases import Leases
from pinnace.engine.images.parts import ImageParts
from pinnace.errors import NotFound
from pinnace.oci.digest import Digest

UNFINISHED_S = 24 * 3600.0  # how long what is half done waits to be gone on with


@dataclass(frozen=True, slots=True)
class BlobUsage:
    """Bytes beside the layers of images.

    Attributes:
        kept: Blobs that images came by.
        unfinished: Staged layers, parts of downloads, and blobs nothing needs.
    """

    kept: int
    unfinished: int


class KeptBlobs:
    """Decides which blobs stay. Callers of what removes hold the library's lock.

    Args:
        parts: What images are made of.
        catalog: The images.
        leases: What must not go.
    """

    def __init__(self, parts: ImageParts, catalog: Catalog, leases: Leases) -> None:
        self._parts = parts
        self._catalog = catalog
        self._leases = leases

    async def release(self, diff_ids: Iterable[Digest], digests: Iterable[Digest]) -> int:
        """Remove the blobs of layers and documents that images had, unless others need them.

        Args:
            diff_ids: Layers of images that went.
            digests: Manifests and indexes that names went of.

        Returns:
            Bytes that came back.
        """
        layers = self._catalog.diff_ids()
        named = self._catalog.named_digests()
        gone = [diff_id for diff_id in diff_ids if diff_id not in layers]
        facts = [
            blob for diff_id in gone for blob in await self._parts.layer_blobs.of_layer(diff_id)
        ]
        wanted = {blob.digest for blob in facts} | set(digests)
        freed = await self._parts.offload(lambda: self._delete(wanted - named))
        await self._forget(facts)
        return freed

    async def sweep(self, older_s: float) -> int:
        """Remove what nothing needs, and what has been half done for longer than `older_s`.

        Returns:
            Bytes that came back.
        """
        before = time.time() - older_s
        freed = await self._parts.offload(lambda: self._drop_unfinished(before))
        facts = await self._parts.layer_blobs.everything()
        staged = await self._parts.offload(self._parts.snapshots.staged_layers)
        layers = self._catalog.diff_ids() | {layer.diff_id for layer in staged}
        live = {blob.digest for blob in facts if blob.diff_id in layers}
        live |= self._catalog.named_digests()

        def sweep() -> int:
            held = {digest for digest, _ in self._parts.content.digests()}
            return self._delete(held - live)

        freed += await self._parts.offload(sweep)
        await self._forget([blob for blob in facts if blob.diff_id not in layers])
        return freed

    async def usage(self) -> BlobUsage:
        """Return the bytes of blobs and of what is half done."""
        facts = await self._parts.layer_blobs.everything()
        layers = self._catalog.diff_ids()
        live = {blob.digest for blob in facts if blob.diff_id in layers}
        live |= self._catalog.named_digests()
        content, snapshots = self._parts.content, self._parts.snapshots

        def measure() -> BlobUsage:
            sizes = dict(content.digests())
            kept = sum(size for digest, size in sizes.items() if digest in live)
            unfinished = sum(sizes.values()) - kept
            unfinished += sum(blob.size for blob in content.unfinished())
            unfinished += sum(layer.size for layer in snapshots.staged_layers())
            return BlobUsage(kept, unfinished)

        return await self._parts.offload(measure)

    def _delete(self, digests: Iterable[Digest]) -> int:
        content, freed = self._parts.content, 0
        for digest in digests:
            try:
                size = content.size(digest)
            except NotFound:
                continue
            if self._leases.unless_held(digest, content.delete):
                freed += size
        return freed

    def _drop_unfinished(self, before: float) -> int:
        content, snapshots, freed = self._parts.content, self._parts.snapshots, 0
        for layer in snapshots.staged_layers():
            if layer.staged_s <= before and self._leases.unless_held(
                layer.diff_id, snapshots.remove_staged
            ):
                freed += layer.size
        for blob in content.unfinished():
            if blob.changed_s <= before and self._leases.unless_held(
                blob.digest, content.drop_unfinished
            ):
                freed += blob.size
        return freed

    async def _forget(self, facts: Iterable[LayerBlob]) -> None:
        """Forget facts, unless somebody works with the layer."""
        diff_ids = {fact.diff_id for fact in facts}
        unheld = [diff_id for diff_id in diff_ids if not self._leases.is_held(diff_id)]
        await self._parts.layer_blobs.forget(unheld)
