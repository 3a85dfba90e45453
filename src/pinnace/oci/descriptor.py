"""Descriptors and media types (OCI image-spec, descriptor.md, media-types.md)."""

import msgspec

from pinnace.errors import InvalidParameter
from pinnace.oci.digest import Digest, digest_hex, parse_digest, sha256_digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEX_TYPES = frozenset((OCI_INDEX, DOCKER_LIST))
MANIFEST_TYPES = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
CONFIG_TYPES = frozenset((OCI_CONFIG, DOCKER_CONFIG))
_LAYER_PREFIXES = (OCI_LAYER, "application/vnd.docker.image.rootfs.")


class DescriptorPlatform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a manifest in an index runs on."""

    architecture: str = ""
    os: str = ""
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: list[str] | None = msgspec.field(name="os.features", default=None)
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Points to content: what it is, its digest and its size in bytes."""

    media_type: str
    digest: Digest
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    data: str | None = None
    artifact_type: str | None = None
    platform: DescriptorPlatform | None = None

    def check(self) -> None:
        """Check what the types cannot.

        Raises:
            InvalidParameter: A malformed digest or a negative size.
        """
        parse_digest(self.digest)
        if self.size < 0:
            raise InvalidParameter(f"invalid size of {self.digest}: {self.size}")

    def is_layer(self) -> bool:
        """Whether the media type is that of a layer tar this engine may unpack."""
        return self.media_type.startswith(_LAYER_PREFIXES) and "encrypted" not in self.media_type

    def blob_path(self) -> str:
        """Return where an OCI layout keeps the content."""
        return f"blobs/{self.digest.partition(':')[0]}/{digest_hex(self.digest)}"


def verify(content: bytes, descriptor: Descriptor) -> bytes:
    """Return `content` if it is what the descriptor points to.

    Raises:
        InvalidParameter: The size or the digest differs.
    """
    if len(content) != descriptor.size:
        raise InvalidParameter(
            f"{descriptor.digest} has {len(content)} bytes instead of {descriptor.size}"
        )
    if sha256_digest(content) != descriptor.digest:
        raise InvalidParameter(f"content does not match its digest {descriptor.digest}")
    return content
