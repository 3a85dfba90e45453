"""The layers of one image, from a registry or from what is here, put on top of each other.

All are staged first, in any order, and then placed in order. A pull that is cut short loses
nothing that way: what is staged stays for the next attempt.
"""

from collections.abc import Mapping, Sequence

from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.contracts.registry import Repository
from pinnace.contracts.snapshots import LayerStat
from pinnace.engine.images.bridge import Progress
from pinnace.engine.images.layer_fetch import LayerFetcher, WantedLayer
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.progress import counted, step
from pinnace.engine.images.together import to_its_end, together
from pinnace.engine.images.twins import stage_twin
from pinnace.engine.locks import Locks
from pinnace.errors import InvalidParameter, NotFound
from pinnace.model.image import ImageLayer
from pinnace.oci.chain import ChainId, chain_ids
from pinnace.oci.digest import Digest


class LayerPuller:
    """Brings layers together. One per daemon.

    Args:
        parts: What images are made of.
        library: The images; callers lease the layers there.
        fetcher: Downloads.
    """

    def __init__(self, parts: ImageParts, library: ImageLibrary, fetcher: LayerFetcher) -> None:
        self._parts = parts
        self._library = library
        self._fetcher = fetcher
        self._placed: dict[Digest, ChainId] = {}
        self._adopting = Locks()

    async def pull(
        self, repository: Repository, layers: Sequence[WantedLayer], progress: Progress
    ) -> list[ImageLayer]:
        """Return the layers of an image, lowest first, all of them committed.

        Args:
            repository: Where they can be had.
            layers: Lowest first; the caller has leased their chains, diff ids and blobs.
            progress: Takes messages.

        Raises:
            InvalidParameter: A layer is not what the image config says, or hostile.
            PinnaceError: The registry refuses or fails.
        """
        chains = chain_ids(layer.diff_id for layer in layers)
        present = await self._present(chains)
        for layer in layers[:present]:
            progress.say(step("Already exists", layer.label))
            await self._note_source(layer, repository)
        for layer in layers[present:]:
            progress.say(step("Pulling fs layer", layer.label))
        unique = {layer.diff_id: layer for layer in layers[present:]}
        await together(
            [self._bring(repository, layer, progress) for layer in unique.values()],
            name="layer pull",
        )
        pulled = []
        try:
            for number, layer in enumerate(layers):
                below = chains[number - 1] if number else None
                size = await self._place(repository, layer, below, chains[number], progress)
                pulled.append(ImageLayer(chain=chains[number], diff_id=layer.diff_id, size=size))
                if number >= present:
                    progress.say(step("Pull complete", layer.label))
        finally:
            self._forget(dict(zip((layer.diff_id for layer in layers), chains, strict=True)))
        return pulled

    async def drop(self, layers: Sequence[WantedLayer]) -> None:
        """Remove what is half done of layers, unless others work with it."""
        leases, content, snapshots = (
            self._library.leases,
            self._parts.content,
            self._parts.snapshots,
        )

        def drop() -> None:
            for layer in layers:
                leases.unless_held(layer.diff_id, snapshots.remove_staged)
                leases.unless_held(layer.descriptor.digest, content.drop_unfinished)

        await self._parts.offload(drop)

    async def _present(self, chains: Sequence[ChainId]) -> int:
        """Return how many of the layers, from the lowest, are committed."""
        snapshots = self._parts.snapshots

        def count() -> int:
            below = (n for n in range(len(chains), 0, -1) if snapshots.has_layer(chains[n - 1]))
            return next(below, 0)

        return await self._parts.offload(count)

    async def _note_source(self, layer: WantedLayer, repository: Repository) -> None:
        known = await self._parts.layer_blobs.by_digest(layer.descriptor.digest)
        if known is not None and known.diff_id == layer.diff_id:
            await self._parts.layer_blobs.remember(known, source=repository.name)

    async def _bring(self, repository: Repository, layer: WantedLayer, progress: Progress) -> None:
        """See to it that the layer is staged."""
        snapshots, diff_id = self._parts.snapshots, layer.diff_id
        if await self._parts.offload(lambda: snapshots.has_staged(diff_id)):
            progress.say(step("Download complete", layer.label))
            return
        if not await self._is_kept(layer) and await self._copy(diff_id):
            progress.say(step("Already exists", layer.label))
            return
        stat = await self._fetcher.stage(repository, layer, progress)
        if stat.diff_id != diff_id:
            await self._drop(stat)
            raise InvalidParameter("layers from manifest don't match image configuration")

    async def _is_kept(self, layer: WantedLayer) -> bool:
        """Whether the blob is here, which is cheaper than writing the layer's tar again."""
        content, digest = self._parts.content, layer.descriptor.digest

        def look() -> bool:
            try:
                return content.size(digest) == layer.descriptor.size
            except NotFound:
                return False

        return await self._parts.offload(look)

    async def _drop(self, stat: LayerStat) -> None:
        """Remove from the stage what nobody else waits for."""
        leases, remove = self._library.leases, self._parts.snapshots.remove_staged
        await self._parts.offload(lambda: leases.unless_held(stat.diff_id, remove))

    async def _copy(self, diff_id: Digest) -> bool:
        """Stage a layer that is committed on another stack; tell whether there is one."""
        twin = self._placed.get(diff_id) or self._library.catalog.chain_of(diff_id)
        if twin is None:
            return False
        content, snapshots = self._parts.content, self._parts.snapshots
        with self._library.leases.hold([twin]):
            try:
                await to_its_end(
                    self._parts.transfer(lambda: stage_twin(snapshots, content, twin, diff_id))
                )
            except NotFound:
                return False  # gone meanwhile
        return True

    async def _place(
        self,
        repository: Repository,
        layer: WantedLayer,
        below: ChainId | None,
        chain: ChainId,
        progress: Progress,
    ) -> int:
        """Commit the layer on top of `below`; return its size."""
        snapshots, diff_id = self._parts.snapshots, layer.diff_id

        def place() -> LayerStat:
            if snapshots.has_layer(chain):
                return snapshots.layer_stat(chain)
            size = layer.descriptor.size
            progress.show(counted("Extracting", layer.label, size, size))
            return snapshots.adopt_layer(below, diff_id)[1]

        # One at a time: what is staged goes to one stack, and must be staged again for another.
        async with self._adopting.hold(diff_id):
            try:
                stat = await to_its_end(self._parts.transfer(place))
            except NotFound:
                await self._bring(repository, layer, progress)
                stat = await to_its_end(self._parts.transfer(place))
        self._placed[diff_id] = chain
        await self._note_blob(layer, stat, repository)
        return stat.size

    async def _note_blob(
        self, layer: WantedLayer, stat: LayerStat, repository: Repository
    ) -> None:
        """Remember the blob of a layer that an earlier attempt staged, or was copied."""
        descriptor = layer.descriptor
        is_known = await self._parts.layer_blobs.by_digest(descriptor.digest) is not None
        if not is_known and stat.digest == descriptor.digest:
            blob = LayerBlob(
                stat.diff_id, stat.digest, stat.compressed_size, descriptor.media_type
            )
            await self._parts.layer_blobs.remember(blob, source=repository.name)

    def _forget(self, placed: Mapping[Digest, ChainId]) -> None:
        for diff_id, chain in placed.items():
            if self._placed.get(diff_id) == chain:
                del self._placed[diff_id]
