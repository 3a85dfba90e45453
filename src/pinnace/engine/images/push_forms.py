"""What a push says of an image: its names, its manifest, the types of its layers; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.save import check_platform
from pinnace.errors import InvalidParameter, NotFound
from pinnace.model.image import ImageRecord
from pinnace.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
)
from pinnace.oci.manifest import Manifest, parse_manifest
from pinnace.oci.platform import Platform
from pinnace.oci.reference import Reference, check_tag, parse_reference


@dataclass(frozen=True, slots=True)
class Form:
    """A family of media types.

    Attributes:
        layers: Type of a layer by the end of the type it was seen with; others do not suit.
    """

    manifest: str
    config: str
    gzip_layer: str
    layers: dict[str, str]

    def layer(self, blob: LayerBlob) -> Descriptor | None:
        """Return how a manifest of this form lists a blob; None: it cannot."""
        for ending, media_type in self.layers.items():
            if blob.media_type.endswith(ending):
                return Descriptor(media_type=media_type, digest=blob.digest, size=blob.size)
        return None

    def build(self, config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
        """Return a manifest."""
        return msgspec.json.encode(
            {
                "schemaVersion": 2,
                "mediaType": self.manifest,
                "config": config,
                "layers": layers,
            }
        )


DOCKER = Form(DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER, {"gzip": DOCKER_LAYER})
OCI = Form(
    OCI_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER + "+gzip",
    {"gzip": OCI_LAYER + "+gzip", "+zstd": OCI_LAYER + "+zstd"},
)


def form_of(record: ImageRecord) -> Form:
    """Return OCI's types for an image that came by an OCI manifest, else Docker's."""
    came_by_oci = record.manifest is not None and record.manifest.media_type == OCI_MANIFEST
    return OCI if came_by_oci else DOCKER


def original_manifest(record: ImageRecord, content: bytes | None) -> Manifest | None:
    """Return the manifest an image came by if it can stand for the image in a registry."""
    if record.manifest is None or content is None:
        return None
    try:
        manifest = parse_manifest(content, record.manifest.media_type)
    except InvalidParameter:
        return None
    fits = str(manifest.config.digest) == record.id and len(manifest.layers) == len(record.layers)
    return manifest if fits else None


def push_target(name: str, tag: str) -> Reference:
    """Return what to push: a repository, or one tag of it.

    Raises:
        InvalidParameter: No reference; or one with a digest, in the words of Docker.
    """
    reference = parse_reference(name)
    return replace(reference, tag=check_tag(tag)) if tag else reference


def chosen_images(
    catalog: Catalog, target: Reference, platform: Platform | None
) -> list[tuple[Reference, ImageRecord]]:
    """Return the images to push by the names they get.

    Raises:
        InvalidParameter: `target` has a digest.
        NotFound: There is no such image, or none for the platform; Docker's words.
    """
    if target.digest:
        raise InvalidParameter("cannot push a digest reference")
    names = (parse_reference(text) for text in sorted(catalog.tags))
    of_repository = [name for name in names if name.name == target.name]
    if not of_repository:
        raise NotFound(
            f"An image does not exist locally with the tag: {target.without_tag().familiar()}"
        )
    wanted = [name for name in of_repository if target.tag in (None, name.tag)]
    if not wanted:
        raise NotFound(f"tag does not exist: {target.familiar()}")
    chosen = [(name, catalog.images[catalog.tags[name.normalized()]]) for name in wanted]
    for name, record in chosen:
        check_platform(name.familiar(), record, [platform] if platform else [])
    return chosen
