"""Writing image archives as `docker save` does: an OCI layout with Docker's `manifest.json`.

Runs in a worker thread and streams: everything but the layers' content is known beforehand, and
a layer's tar is written from its recipe straight into the archive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from pinnace.contracts.snapshots import ByteSink, Snapshots
from pinnace.errors import NotFound
from pinnace.model.image import ImageLayer, ImageRecord
from pinnace.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from pinnace.oci.digest import Digest, sha256_digest
from pinnace.oci.platform import Platform
from pinnace.oci.reference import Reference
from pinnace.oci.tar_reader import DIRECTORY, TarEntry
from pinnace.oci.tar_writer import END_OF_ARCHIVE, entry_header, padding

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_IMAGE_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"

Document = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image to save, with the tags to save it under."""

    record: ImageRecord
    config: bytes
    tags: Sequence[Reference]


def check_platform(ref: str, record: ImageRecord, wanted: Sequence[Platform]) -> None:
    """Check that an image runs on one of the platforms asked for, if any are.

    Raises:
        NotFound: On none of them.
    """
    has = Platform(record.os, record.architecture, record.variant)
    if wanted and not any(platform.runs(has) for platform in wanted):
        names = ", ".join(platform.text() for platform in wanted)
        raise NotFound(
            f"image with reference {ref} was found but its platform ({has.text()}) does not match"
            f" the specified platform ({names})"
        )


class ArchiveWriter:
    """Writes one archive."""

    def __init__(self, snapshots: Snapshots, target: ByteSink) -> None:
        self._snapshots = snapshots
        self._target = target
        self._blobs: dict[Digest, bytes] = {}
        self._layers: dict[Digest, tuple[ImageLayer, ImageLayer | None, int]] = {}

    def write(self, images: Sequence[SavedImage]) -> None:
        """Write the archive of `images`.

        Raises:
            Internal: A layer is damaged; the archive is cut off then and cannot be loaded.
        """
        items = [self._docker_item(image) for image in images]
        index = self._index(images)
        self._directory(b"blobs")
        self._directory(b"blobs/sha256")
        self._file("oci-layout", _LAYOUT)
        self._file("index.json", index)
        self._file("manifest.json", msgspec.json.encode(items))
        self._file("repositories", msgspec.json.encode(_repositories(images)))
        for digest, content in self._blobs.items():
            self._file(_blob_path(digest), content)
        for layer, below, size in self._layers.values():
            self._target.write(_header(_blob_path(layer.diff_id), size))
            parent = below.chain if below else None
            self._snapshots.export_layer(layer.chain, parent, self._target)
            self._target.write(padding(size))
        self._target.write(END_OF_ARCHIVE)

    def _docker_item(self, image: SavedImage) -> Document:
        layers = [self._layer(image.record, number) for number in range(len(image.record.layers))]
        return {
            "Config": _blob_path(self._blob(image.config)),
            "RepoTags": [tag.familiar() for tag in image.tags] or None,
            "Layers": [_blob_path(layer.digest) for layer in layers],
            "LayerSources": {layer.digest: msgspec.to_builtins(layer) for layer in layers},
        }

    def _index(self, images: Sequence[SavedImage]) -> bytes:
        manifests: list[Descriptor] = []
        for image in images:
            manifest = self._manifest(image)
            manifests += [
                msgspec.structs.replace(manifest, annotations=_annotations(tag))
                for tag in image.tags
            ] or [manifest]
        return msgspec.json.encode(
            {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        )

    def _manifest(self, image: SavedImage) -> Descriptor:
        config = Descriptor(
            media_type=OCI_CONFIG, digest=self._blob(image.config), size=len(image.config)
        )
        layers = [self._layer(image.record, number) for number in range(len(image.record.layers))]
        content = msgspec.json.encode(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": config,
                "layers": layers,
            }
        )
        return Descriptor(media_type=OCI_MANIFEST, digest=self._blob(content), size=len(content))

    def _layer(self, record: ImageRecord, number: int) -> Descriptor:
        layer = record.layers[number]
        size = self._snapshots.layer_stat(layer.chain).tar_size
        below = record.layers[number - 1] if number else None
        self._layers.setdefault(layer.diff_id, (layer, below, size))
        return Descriptor(media_type=OCI_LAYER, digest=layer.diff_id, size=size)

    def _blob(self, content: bytes) -> Digest:
        digest = sha256_digest(content)
        self._blobs[digest] = content
        return digest

    def _directory(self, name: bytes) -> None:
        self._target.write(entry_header(TarEntry(name=name, kind=DIRECTORY, mode=0o755)))

    def _file(self, name: str, content: bytes) -> None:
        self._target.write(_header(name, len(content)) + content + padding(len(content)))


def _header(name: str, size: int) -> bytes:
    return entry_header(TarEntry(name=name.encode(), kind=b"0", mode=0o644, size=size))


def _blob_path(digest: Digest) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _annotations(tag: Reference) -> dict[str, str]:
    return {_IMAGE_NAME: tag.normalized(), _REF_NAME: tag.tag or ""}


def _repositories(images: Sequence[SavedImage]) -> dict[str, dict[str, str]]:
    """Return the index of the 2013 format: repository, tag, top layer."""
    found: dict[str, dict[str, str]] = {}
    for image in images:
        if not image.record.layers:
            continue
        top = image.record.layers[-1].diff_id.partition(":")[2]
        for tag in image.tags:
            found.setdefault(tag.familiar_name, {})[tag.tag or ""] = top
    return found
