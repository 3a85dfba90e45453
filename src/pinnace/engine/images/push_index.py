"""Pushing the index an image was pulled by, when the registry has or can take over the rest of it.

Only one platform of an index is on this host. The others' manifests may be in the target
repository already, or in a neighbour of the same registry, which then takes their blobs over
itself. Nothing is fetched from one registry to be sent to another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from pinnace.contracts.registry import Credentials, Registries, Repository
from pinnace.engine.images.parts import ImageParts
from pinnace.errors import Forbidden, InvalidParameter, NotFound, Unauthorized
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.descriptor import OCI_INDEX, Descriptor
from pinnace.oci.digest import Digest
from pinnace.oci.manifest import MAX_DOCUMENT_BYTES, parse_index
from pinnace.oci.reference import Reference, parse_reference


class _Stated(msgspec.Struct, rename="camel"):
    """What a document says of itself."""

    media_type: str = OCI_INDEX


class _Blobs(msgspec.Struct):
    """What a manifest of any kind needs."""

    config: Descriptor
    layers: list[Descriptor]


@dataclass(frozen=True, slots=True)
class KeptIndex:
    """An index that an image was pulled by.

    Attributes:
        descriptor: Of its bytes.
        content: Its bytes.
        manifests: What it lists.
        sources: Full names of the repositories it was pulled from.
    """

    descriptor: Descriptor
    content: bytes
    manifests: Sequence[Descriptor]
    sources: Sequence[str]


async def find_index(
    parts: ImageParts, digests: Mapping[str, ImageId], record: ImageRecord, target: Reference
) -> KeptIndex | None:
    """Return the index an image was pulled by, best from the target repository; None: none kept.

    Args:
        parts: Where bytes are kept.
        digests: Image by normalised reference with a digest.
        record: The image.
        target: Where it shall go.
    """
    if record.manifest is None:
        return None
    sources: dict[Digest, list[str]] = {}
    for text, image in digests.items():
        reference = parse_reference(text)
        if image == record.id and reference.digest not in (None, record.manifest.digest):
            sources.setdefault(reference.digest, []).append(reference.name)
    for digest in sorted(sources, key=lambda digest: target.name not in sources[digest]):
        found = await _read(parts, digest, sources[digest])
        if found and any(item.digest == record.manifest.digest for item in found.manifests):
            return found
    return None


class IndexPusher:
    """Completes a repository for an index.

    Args:
        registries: Where neighbours are opened.
        repository: The target.
        credentials: Of the client.
    """

    def __init__(
        self, registries: Registries, repository: Repository, credentials: Credentials
    ) -> None:
        self._registries = registries
        self._repository = repository
        self._credentials = credentials

    async def complete(self, index: KeptIndex, present: Digest) -> bool:
        """See to it that the target has all that an index lists; tell whether it has.

        Args:
            index: Which.
            present: Manifest that is there.
        """
        target = parse_reference(self._repository.name)
        near = [
            source
            for source in index.sources
            if source != target.name and parse_reference(source).domain == target.domain
        ]
        for manifest in index.manifests:
            if manifest.digest == present or await self._has(manifest):
                continue
            if not await self._take_over(manifest, near):
                return False
        return True

    async def _has(self, manifest: Descriptor) -> bool:
        try:
            await self._repository.resolve(manifest.digest)
        except NotFound:
            return False
        return True

    async def _take_over(self, manifest: Descriptor, near: Sequence[str]) -> bool:
        for name in near:
            async with self._registries.repository(name, self._credentials) as source:
                try:
                    fetched = await source.manifest(manifest.digest)
                except (NotFound, Unauthorized, Forbidden):
                    continue
            if await self._mount(fetched.content, name):
                await self._repository.put_manifest(
                    fetched.content, fetched.descriptor.media_type, manifest.digest
                )
                return True
        return False

    async def _mount(self, content: bytes, source: str) -> bool:
        for digest in _needed(content):
            if await self._repository.has_blob(digest):
                continue
            try:
                if not await self._repository.mount_blob(digest, source):
                    return False
            except (NotFound, Unauthorized, Forbidden):
                return False
        return True


async def _read(parts: ImageParts, digest: Digest, sources: Sequence[str]) -> KeptIndex | None:
    def read() -> bytes:
        with parts.content.open(digest) as file:
            return file.read(MAX_DOCUMENT_BYTES)

    try:
        content = await parts.offload(read)
        media_type = msgspec.json.decode(content, type=_Stated).media_type
        manifests = parse_index(content, media_type).manifests
    except (NotFound, InvalidParameter, msgspec.MsgspecError):
        return None
    descriptor = Descriptor(media_type=media_type, digest=digest, size=len(content))
    return KeptIndex(descriptor, content, manifests, sources)


def _needed(content: bytes) -> Iterator[Digest]:
    """Yield the blobs of a manifest.

    Raises:
        InvalidParameter: It is none.
    """
    try:
        blobs = msgspec.json.decode(content, type=_Blobs)
    except msgspec.MsgspecError as exc:
        raise InvalidParameter(f"invalid manifest: {exc}") from exc
    for descriptor in (blobs.config, *blobs.layers):
        descriptor.check()
        yield descriptor.digest
