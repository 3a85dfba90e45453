"""Reading image archives: docker-archive (new and 2013's) and OCI layouts.

Runs in a worker thread. Nothing is believed: config, layers and manifests are checked against
every digest that names them before an image comes of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import msgspec

from pinnace.contracts.content import ReceivedArchive
from pinnace.contracts.image_store import StoredImage
from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.contracts.snapshots import LayerStat, Snapshots
from pinnace.engine.images.arriving import ArrivingLayers, Metered
from pinnace.engine.images.bridge import Message
from pinnace.engine.images.legacy import LegacyImage, legacy_images
from pinnace.engine.images.progress import Meter
from pinnace.engine.images.records import image_record
from pinnace.errors import InvalidParameter, NotFound
from pinnace.model.image import ImageLayer
from pinnace.oci.chain import ChainId, chain_ids
from pinnace.oci.descriptor import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    Descriptor,
    verify,
)
from pinnace.oci.digest import Digest, digest_hex
from pinnace.oci.manifest import (
    MAX_DOCUMENT_BYTES,
    choose_platform,
    parse_image_document,
    parse_index,
    parse_manifest,
)
from pinnace.oci.platform import Platform
from pinnace.oci.reference import Reference, parse_reference

T = TypeVar("T")

_IMAGE_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"


class ArchiveItem(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of `manifest.json`."""

    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image whose layers are committed, and what it shall be called.

    Attributes:
        blobs: Layers whose compressed form is kept.
    """

    image: StoredImage
    tags: Sequence[Reference]
    blobs: Sequence[LayerBlob] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    """Where an image's parts are in the archive.

    Attributes:
        layers: Names of the layer files, lowest first.
        descriptors: Of these files, as the manifest gives them; empty when there is none.
    """

    config: bytes
    layers: Sequence[str]
    descriptors: Sequence[Descriptor]
    tags: Sequence[Reference]
    manifest: Descriptor | None = None
    manifest_bytes: bytes | None = None


class ArchiveLoader:
    """Unpacks the images of one archive."""

    def __init__(
        self,
        archive: ReceivedArchive,
        arrived: ArrivingLayers,
        snapshots: Snapshots,
        *,
        host: Platform,
        show: Callable[[Message], None],
        platforms: Sequence[Platform] = (),
        keep_blobs: bool = False,
    ) -> None:
        """Load from `archive` what runs on `platforms`; everything when there are none.

        Layers that `arrived` are not in the archive any more. With `keep_blobs`, compressed
        layers that a manifest names stay as blobs.
        """
        self._keep_blobs = keep_blobs
        self._platforms = platforms
        self._archive = archive
        self._arrived = arrived
        self._snapshots = snapshots
        self._host = host
        self._show = show

    def chains(self, sources: Sequence[_Source]) -> list[ChainId]:
        """Return every layer that the images will stand on."""
        return [
            chain
            for source in sources
            for chain in chain_ids(parse_image_document(source.config).diff_ids())
        ]

    def digests(self, sources: Sequence[_Source]) -> list[Digest]:
        """Return every blob that may be kept."""
        return [descriptor.digest for source in sources for descriptor in source.descriptors]

    def sources(self) -> list[_Source]:
        """Return the images of the archive.

        Raises:
            InvalidParameter: It holds none, or contradicts itself.
            NotFound: It holds none of the platforms asked for.
        """
        found = self._all_sources()
        if not self._platforms:
            return found
        chosen = [source for source in found if self._is_wanted(source)]
        if not chosen:
            names = ", ".join(platform.text() for platform in self._platforms)
            raise NotFound(f"requested platform ({names}) not found in the archive")
        return chosen

    def _is_wanted(self, source: _Source) -> bool:
        has = parse_image_document(source.config).platform()
        return any(wanted.runs(has) for wanted in self._platforms)

    def _all_sources(self) -> list[_Source]:
        if self._archive.has("manifest.json"):
            items = self._json("manifest.json", list[ArchiveItem])
            return [self._docker_item(item) for item in items]
        if self._archive.has("index.json"):
            return list(self._oci_layout())
        if self._archive.has("repositories"):
            return [
                self._legacy_source(image) for image in legacy_images(self._archive, self._bytes)
            ]
        raise InvalidParameter("invalid archive: it has neither manifest.json nor index.json")

    def load(self, source: _Source) -> LoadedImage:
        """Commit the layers of one image.

        Raises:
            InvalidParameter: A layer is broken or is not the one it should be.
        """
        document = parse_image_document(source.config)
        diff_ids = document.diff_ids()
        if len(diff_ids) != len(source.layers):
            raise InvalidParameter(
                f"invalid manifest, layers length mismatch: expected {len(diff_ids)},"
                f" got {len(source.layers)}"
            )
        layers: list[ImageLayer] = []
        blobs: list[LayerBlob] = []
        for number, (diff_id, chain) in enumerate(zip(diff_ids, chain_ids(diff_ids), strict=True)):
            parent = layers[-1].chain if layers else None
            if not self._snapshots.has_layer(chain):
                arrived = self._arrived_as(source.layers[number])
                if arrived is not None:
                    _check_arrived(source, number, arrived, diff_id=diff_id)
                    self._arrived.place(diff_id, parent, chain)
                else:
                    self._unpack(source, number, diff_id=diff_id, parent=parent)
                    blobs += self._keep(source, number, diff_id)
            size = self._snapshots.layer_usage(chain).size
            layers.append(ImageLayer(chain=chain, diff_id=diff_id, size=size))
        record = image_record(source.config, layers, manifest=source.manifest)
        image = StoredImage(record, source.config, source.manifest_bytes)
        return LoadedImage(image, source.tags, blobs)

    def _unpack(
        self, source: _Source, number: int, *, diff_id: Digest, parent: ChainId | None
    ) -> None:
        name = source.layers[number]
        total = self._archive.size(name)
        with self._open(name) as file:
            meter = Meter(self._show, "Loading layer", digest_hex(diff_id)[:12], total)
            reader = Metered(file, meter)
            wanted = source.descriptors[number].digest if source.descriptors else None
            self._snapshots.ingest_layer(parent, reader, diff_id=diff_id, digest=wanted)

    def _keep(self, source: _Source, number: int, diff_id: Digest) -> list[LayerBlob]:
        """Keep the blob of a layer that was just unpacked, and so checked."""
        if not self._keep_blobs or not source.descriptors:
            return []
        descriptor = source.descriptors[number]
        if descriptor.digest == diff_id:
            return []  # a plain tar: the layer itself can give it back
        self._archive.keep(source.layers[number], descriptor.digest)
        size = self._archive.size(source.layers[number])
        return [LayerBlob(diff_id, descriptor.digest, size, descriptor.media_type)]

    def _legacy_source(self, image: LegacyImage) -> _Source:
        """Find out the diff ids, which archives of that time do not have."""
        diff_ids = [self._diff_id(name) for name in image.layer_names()]
        return _Source(image.config(diff_ids), image.layer_names(), (), image.tags)

    def _diff_id(self, name: str) -> Digest:
        arrived = self._arrived_as(name)
        if arrived is not None:
            return arrived.diff_id
        with self._open(name) as file:
            return self._archive.diff_id(file)

    def _arrived_as(self, name: str) -> LayerStat | None:
        return (
            self._arrived.find(self._archive.file_name(name)) if self._archive.has(name) else None
        )

    def _docker_item(self, item: ArchiveItem) -> _Source:
        tags = []
        for text in item.repo_tags or []:
            reference = parse_reference(text)
            if reference.tag is None:
                raise InvalidParameter(f"invalid tag {text!r}")
            tags.append(reference.without_digest())
        return _Source(self._bytes(item.config), item.layers or [], (), tags)

    def _oci_layout(self) -> Iterator[_Source]:
        top = parse_index(self._bytes("index.json"), OCI_INDEX)
        for descriptor in top.manifests:
            for found in self._manifests(descriptor):
                content = self._blob(found)
                manifest = parse_manifest(content, found.media_type)
                yield _Source(
                    self._blob(manifest.config),
                    [layer.blob_path() for layer in manifest.layers],
                    manifest.layers,
                    _layout_names(descriptor),
                    found,
                    content,
                )

    def _manifests(self, descriptor: Descriptor) -> list[Descriptor]:
        """Return the manifests to load: itself, or the best of an index; none for other things."""
        if descriptor.media_type in MANIFEST_TYPES:
            return [descriptor]
        if descriptor.media_type not in INDEX_TYPES:
            return []
        index = parse_index(self._blob(descriptor), descriptor.media_type)
        present = [
            item
            for item in index.manifests
            if item.media_type in MANIFEST_TYPES and self._archive.has(item.blob_path())
        ]
        if len(present) == 1:
            return present
        stated = [(item, _platform(item)) for item in present]
        best = [choose_platform(stated, wanted) for wanted in self._platforms or [self._host]]
        return list({item.digest: item for item in best if item is not None}.values())

    def _blob(self, descriptor: Descriptor) -> bytes:
        return verify(self._bytes(descriptor.blob_path()), descriptor)

    def _json(self, name: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self._bytes(name), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidParameter(f"invalid {name}: {exc}") from exc

    def _bytes(self, name: str) -> bytes:
        with self._open(name) as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(content) > MAX_DOCUMENT_BYTES:
            raise InvalidParameter(f"{name} is larger than {MAX_DOCUMENT_BYTES} bytes")
        return content

    def _open(self, name: str) -> BinaryIO:
        try:
            return self._archive.open(name)
        except NotFound as exc:
            raise InvalidParameter(f"open {name}: no such file in the archive") from exc


def _check_arrived(source: _Source, number: int, arrived: LayerStat, *, diff_id: Digest) -> None:
    """Check that the layer is the one that config and manifest name.

    Raises:
        InvalidParameter: It is another one.
    """
    named = source.descriptors[number].digest if source.descriptors else arrived.digest
    if named != arrived.digest:
        raise InvalidParameter(f"layer has digest {arrived.digest} instead of {named}")
    if diff_id != arrived.diff_id:
        raise InvalidParameter(
            f'invalid diffID for layer: expected "{diff_id}", got "{arrived.diff_id}"'
        )


def _platform(descriptor: Descriptor) -> Platform:
    stated = descriptor.platform
    if stated is None:
        return Platform("", "", "")
    return Platform(stated.os, stated.architecture, stated.variant)


def _layout_names(descriptor: Descriptor) -> list[Reference]:
    """Return what an index calls the image; a bare tag names nothing here."""
    annotations = descriptor.annotations or {}
    text = annotations.get(_IMAGE_NAME) or annotations.get(_REF_NAME, "")
    if _IMAGE_NAME not in annotations and "/" not in text and ":" not in text:
        return []
    return [parse_reference(text).tagged().without_digest()] if text else []
