"""Layers as blobs, in memory."""

from collections.abc import Iterable, Sequence

from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.oci.digest import Digest


class FakeLayerBlobs:
    """Implements `contracts.layer_blobs.LayerBlobs`."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, LayerBlob] = {}
        self._sources: dict[Digest, list[str]] = {}

    async def of_layer(self, diff_id: Digest) -> Sequence[LayerBlob]:
        """See the contract."""
        return [blob for blob in reversed(self._blobs.values()) if blob.diff_id == diff_id]

    async def by_digest(self, digest: Digest) -> LayerBlob | None:
        """See the contract."""
        return self._blobs.get(digest)

    async def everything(self) -> Sequence[LayerBlob]:
        """See the contract."""
        return list(self._blobs.values())

    async def remember(self, blob: LayerBlob, *, source: str | None = None) -> None:
        """See the contract."""
        self._blobs.pop(blob.digest, None)
        self._blobs[blob.digest] = blob
        known = self._sources.setdefault(blob.digest, [])
        if source is not None:
            if source in known:
                known.remove(source)
            known.insert(0, source)

    async def sources(self, digest: Digest) -> Sequence[str]:
        """See the contract."""
        return list(self._sources.get(digest, ()))

    async def forget(self, diff_ids: Iterable[Digest]) -> None:
        """See the contract."""
        gone = set(diff_ids)
        for blob in [blob for blob in self._blobs.values() if blob.diff_id in gone]:
            del self._blobs[blob.digest]
            self._sources.pop(blob.digest, None)
