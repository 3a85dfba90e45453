"""Manifests, indexes and image configs, of OCI and of Docker, read with suspicion.

One document must not mean two things (CVE-2021-41190): the media type a document states must be
the one it was announced as, and a document that has both `layers` and `manifests` is refused.
"""

import json
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from pinnace.errors import InvalidParameter
from pinnace.oci.descriptor import CONFIG_TYPES, INDEX_TYPES, MANIFEST_TYPES, Descriptor
from pinnace.oci.digest import Digest, parse_digest
from pinnace.oci.platform import Platform

T = TypeVar("T")

MAX_DOCUMENT_BYTES = 8 << 20
MAX_LAYERS = 127  # what overlayfs and Docker stack


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An image manifest: one config and its layers, lowest first."""

    schema_version: int
    config: Descriptor
    layers: list[Descriptor]
    media_type: str = ""
    annotations: dict[str, str] | None = None
    artifact_type: str | None = None
    subject: Descriptor | None = None


class _ConfigType(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    media_type: str | None = None


class _ConfigOnly(msgspec.Struct, frozen=True, kw_only=True):
    config: _ConfigType = _ConfigType()


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An image index (Docker: manifest list)."""

    schema_version: int
    manifests: list[Descriptor]
    media_type: str = ""
    annotations: dict[str, str] | None = None


class RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """The layers of an image config, lowest first."""

    type: str = "layers"
    diff_ids: list[Digest] | None = None


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of an image's making."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class ImageDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An image config as far as the engine reads it; its digest is the image id.

    Attributes:
        config: Docker's container defaults, not yet interpreted.
    """

    architecture: str = ""
    os: str = ""
    os_version: str | None = msgspec.field(name="os.version", default=None)
    variant: str | None = None
    created: str | None = None
    author: str | None = None
    comment: str | None = None
    docker_version: str | None = None
    container: str | None = None
    parent: str | None = None
    config: dict[str, object] | None = None
    container_config: dict[str, object] | None = None
    rootfs: RootFs | None = None
    history: list[History] | None = None

    def diff_ids(self) -> Sequence[Digest]:
        """Return the layers, lowest first."""
        return (self.rootfs.diff_ids if self.rootfs else None) or []

    def platform(self) -> Platform:
        """Return what the image runs on."""
        return Platform(self.os or "linux", self.architecture, self.variant or "")


def parse_manifest(content: bytes, media_type: str) -> Manifest:
    """Decode an image manifest announced as `media_type`.

    Raises:
        InvalidParameter: Broken, ambiguous, or something else.
    """
    _unambiguous(content, media_type, MANIFEST_TYPES, forbidden=("manifests", "fsLayers"))
    manifest = _decode(content, Manifest, "manifest")
    if manifest.schema_version != 2:
        raise InvalidParameter(f"unsupported manifest schema version {manifest.schema_version}")
    for descriptor in (manifest.config, *manifest.layers):
        descriptor.check()
    if len(manifest.layers) > MAX_LAYERS:
        raise InvalidParameter("max depth exceeded")
    if manifest.config.media_type not in CONFIG_TYPES:
        raise InvalidParameter(f"unsupported config media type {manifest.config.media_type!r}")
    for layer in manifest.layers:
        if not layer.is_layer():
            raise InvalidParameter(f"unsupported layer media type {layer.media_type!r}")
    return manifest


def peek_config_type(content: bytes) -> str | None:
    """Return what a manifest calls its config, before anything else is believed; None: nothing."""
    return _decode(content, _ConfigOnly, "manifest").config.media_type


def parse_index(content: bytes, media_type: str) -> Index:
    """Decode an index announced as `media_type`.

    Raises:
        InvalidParameter: Broken, ambiguous, or something else.
    """
    _unambiguous(content, media_type, INDEX_TYPES, forbidden=("layers", "config", "fsLayers"))
    index = _decode(content, Index, "index")
    if index.schema_version != 2:
        raise InvalidParameter(f"unsupported manifest schema version {index.schema_version}")
    for descriptor in index.manifests:
        descriptor.check()
    return index


def parse_image_document(content: bytes) -> ImageDocument:
    """Decode an image config.

    Raises:
        InvalidParameter: Broken, or with malformed or too many layers.
    """
    document = _decode(content, ImageDocument, "image config")
    if len(document.diff_ids()) > MAX_LAYERS:
        raise InvalidParameter("max depth exceeded")
    for diff_id in document.diff_ids():
        parse_digest(diff_id)
    filled = [entry for entry in document.history or [] if not entry.empty_layer]
    if document.history and len(filled) > len(document.diff_ids()):
        raise InvalidParameter("invalid image config: history has more layers than the rootfs")
    return document


def choose_platform(
    candidates: Sequence[tuple[Descriptor, Platform]], wanted: Platform
) -> Descriptor | None:
    """Return the descriptor that suits `wanted` best: the same variant, else one that runs."""
    exact = [descriptor for descriptor, platform in candidates if platform == wanted]
    if exact:
        return exact[0]
    runs = [item for item in candidates if wanted.runs(item[1])]
    runs.sort(key=lambda item: item[1].variant, reverse=True)
    return runs[0][0] if runs else None


def _unambiguous(
    content: bytes, media_type: str, types: frozenset[str], *, forbidden: Sequence[str]
) -> None:
    if media_type not in types:
        raise InvalidParameter(f"unsupported media type {media_type!r}")
    fields = _members(content)
    stated = dict(fields).get("mediaType")
    if stated is not None and stated != media_type:
        raise InvalidParameter(f"media type {media_type!r} does not match the stated {stated!r}")
    lowered = [name.lower() for name, _ in fields]
    if len(set(lowered)) != len(lowered):
        raise InvalidParameter("ambiguous manifest: the same field twice")
    for name in forbidden:
        if name.lower() in lowered:
            raise InvalidParameter(f"ambiguous manifest: it has the field {name!r}")


def _members(content: bytes) -> list[tuple[str, object]]:
    """Return the members of a JSON object with repeated ones: readers differ in what they take."""
    _decode(content, dict[str, object], "manifest")
    collected: list[list[tuple[str, object]]] = []

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        collected.append(pairs)
        return dict(pairs)

    json.loads(content, object_pairs_hook=collect)
    return collected[-1]  # the outermost object ends last


def _decode(content: bytes, kind: type[T], what: str) -> T:
    if len(content) > MAX_DOCUMENT_BYTES:
        raise InvalidParameter(f"{what} is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidParameter(f"invalid {what}: {exc}") from exc
