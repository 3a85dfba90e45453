"""What is known about layers in the form registries keep them: compressed, by digest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pinnace.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """A layer as a blob.

    Attributes:
        diff_id: Digest of the uncompressed tar.
        digest: Digest of the blob.
        size: Bytes of the blob.
        media_type: As its manifest says.
    """

    diff_id: Digest
    digest: Digest
    size: int
    media_type: str


class LayerBlobs(Protocol):
    """Facts that outlive the daemon. Whether the bytes are here is for `Content` to say."""

    async def of_layer(self, diff_id: Digest) -> Sequence[LayerBlob]:
        """Return every form the layer was seen in, the latest first."""
        ...

    async def by_digest(self, digest: Digest) -> LayerBlob | None:
        """Return what layer a blob holds."""
        ...

    async def everything(self) -> Sequence[LayerBlob]:
        """Return all that is known, in no order."""
        ...

    async def remember(self, blob: LayerBlob, *, source: str | None = None) -> None:
        """Keep a fact; `source`: full name of a repository that holds the blob."""
        ...

    async def sources(self, digest: Digest) -> Sequence[str]:
        """Return repositories that held the blob, the latest first."""
        ...

    async def forget(self, diff_ids: Iterable[Digest]) -> None:
        """Drop everything about layers that are gone."""
        ...
