"""What a reference in a registry leads to: the manifest for the wanted platform; mostly pure.

Texts are dockerd's (moby, distribution/pull_v2.go).
"""

from dataclasses import dataclass, replace

from pinnace.contracts.registry import FetchedManifest, Repository
from pinnace.engine.images.layer_fetch import WantedLayer
from pinnace.errors import InvalidParameter, NotFound
from pinnace.oci.descriptor import (
    CONFIG_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    verify,
)
from pinnace.oci.digest import parse_digest
from pinnace.oci.manifest import (
    Manifest,
    choose_platform,
    parse_image_document,
    parse_index,
    parse_manifest,
    peek_config_type,
)
from pinnace.oci.platform import Platform
from pinnace.oci.reference import Reference, check_tag, parse_reference

SCHEMA1_TYPES = frozenset(
    (
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    )
)
_PLUGIN_CONFIG = "application/vnd.docker.plugin.v1+json"
_MAX_DEPTH = 3  # indexes in indexes


@dataclass(frozen=True, slots=True)
class PullLimits:
    """What a pulled image may be.

    Attributes:
        manifest_bytes: Of a manifest, an index and a config, each.
        layers: Their number.
    """

    manifest_bytes: int = 4 << 20
    layers: int = 127


@dataclass(frozen=True, slots=True)
class FoundManifest:
    """An image's manifest.

    Attributes:
        top: What the reference names: the manifest itself or an index.
        manifest: Its exact bytes, and what it is.
        parsed: The same, decoded.
    """

    top: FetchedManifest
    manifest: FetchedManifest
    parsed: Manifest


def pull_reference(name: str, tag: str) -> Reference:
    """Return what `fromImage` and `tag` ask for; without tag and digest: all tags.

    Args:
        name: Possibly with a tag or digest in it.
        tag: Tag or digest; wins over the one in `name`.

    Raises:
        InvalidParameter: No such reference.
    """
    reference = parse_reference(name.removesuffix(":"))
    if not tag:
        return reference
    try:
        digest = parse_digest(tag)
    except InvalidParameter:
        return replace(reference, tag=check_tag(tag))
    return replace(reference, tag=None, digest=digest)


async def find_manifest(
    repository: Repository,
    reference: Reference,
    *,
    top: FetchedManifest,
    wanted: Platform,
    limits: PullLimits,
) -> FoundManifest:
    """Return the image manifest behind what a reference names.

    Args:
        repository: Where it is.
        reference: For messages.
        top: What the reference names.
        wanted: Platform to choose from an index.
        limits: What is accepted.

    Raises:
        NotFound: The index has nothing for the platform.
        InvalidParameter: It is no image, or broken, or over a limit.
    """
    fetched = top
    for _ in range(_MAX_DEPTH):
        if len(fetched.content) > limits.manifest_bytes:
            raise InvalidParameter(f"manifest is larger than {limits.manifest_bytes} bytes")
        if fetched.descriptor.media_type not in INDEX_TYPES:
            return FoundManifest(top, fetched, image_manifest(fetched, reference, limits))
        chosen = _choose(fetched, wanted)
        fetched = await repository.manifest(chosen.digest)
        if fetched.descriptor.media_type != chosen.media_type:
            raise InvalidParameter(
                f"manifest {chosen.digest} has media type {fetched.descriptor.media_type!r}"
                f" instead of {chosen.media_type!r}"
            )
        verify(fetched.content, chosen)
    raise InvalidParameter("indexes are nested too deeply")


def image_manifest(fetched: FetchedManifest, reference: Reference, limits: PullLimits) -> Manifest:
    """Decode a manifest and check that it is one of an image.

    Raises:
        InvalidParameter: It is none.
    """
    media_type = fetched.descriptor.media_type
    if media_type in SCHEMA1_TYPES:
        raise InvalidParameter(
            "[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2,"
            " schema 1 support is disabled by default and will be removed in an upcoming release."
            f" Suggest the author of {reference.normalized()} to upgrade the image to the OCI"
            " Format or Docker Image manifest v2, schema 2. More information at"
            " https://docs.docker.com/go/deprecated-image-specs/"
        )
    if media_type not in MANIFEST_TYPES:
        raise InvalidParameter(f"unsupported media type {media_type}")
    config_type = peek_config_type(fetched.content)
    if config_type == _PLUGIN_CONFIG:
        raise InvalidParameter(f'encountered remote "{config_type}"(plugin) when fetching')
    if config_type is not None and config_type not in CONFIG_TYPES:
        raise InvalidParameter(f"unsupported media type {config_type}")
    manifest = parse_manifest(fetched.content, media_type)
    if len(manifest.layers) > limits.layers:
        raise InvalidParameter("max depth exceeded")
    if manifest.config.size > limits.manifest_bytes:
        raise InvalidParameter(f"image config is larger than {limits.manifest_bytes} bytes")
    return manifest


def wanted_layers(manifest: Manifest, config: bytes) -> list[WantedLayer]:
    """Return the layers of an image with what each unpacks to, lowest first.

    Raises:
        InvalidParameter: Manifest and config contradict each other, or it runs elsewhere only.
    """
    document = parse_image_document(config)
    if document.os not in ("", "linux"):
        raise InvalidParameter(
            f'image operating system "{document.os}" cannot be used on this platform:'
            " operating system is not supported"
        )
    diff_ids = document.diff_ids()
    if len(diff_ids) != len(manifest.layers):
        raise InvalidParameter("layers from manifest don't match image configuration")
    pairs = zip(manifest.layers, diff_ids, strict=True)
    return [WantedLayer(descriptor, diff_id) for descriptor, diff_id in pairs]


def _choose(index: FetchedManifest, wanted: Platform) -> Descriptor:
    parsed = parse_index(index.content, index.descriptor.media_type)
    images = [entry for entry in parsed.manifests if _is_image(entry)]
    stated = [
        (entry, Platform(entry.platform.os, entry.platform.architecture, entry.platform.variant))
        for entry in images
        if entry.platform is not None
    ]
    chosen = choose_platform(stated, wanted)
    if chosen is not None:
        return chosen
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    raise NotFound(f"no matching manifest for {wanted.text()} in the manifest list entries")


def _is_image(entry: Descriptor) -> bool:
    """Whether an entry of an index is for running; attestations are for `unknown/unknown`."""
    stated = entry.platform
    if stated is not None and "unknown" in (stated.os, stated.architecture):
        return False
    return entry.media_type in MANIFEST_TYPES or entry.media_type in INDEX_TYPES
