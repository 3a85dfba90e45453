"""The configuration of images: flags, and what they come to."""

import argparse
from typing import TYPE_CHECKING

from pinnace.contracts.snapshots import UnpackLimits
from pinnace.engine.images.pull import PullSettings
from pinnace.engine.images.pull_plan import PullLimits
from pinnace.errors import InvalidParameter
from pinnace.oci.manifest import MAX_DOCUMENT_BYTES, MAX_LAYERS

if TYPE_CHECKING:
    from pinnace.daemon.config import Config

_MIN_DOCUMENT_BYTES = 4096


def add_image_arguments(made: argparse.ArgumentParser) -> None:
    """Add the flags about images."""
    add = made.add_argument
    add("--keep-layer-blobs", action=argparse.BooleanOptionalAction,
        help="keep layers also as registries sent them, so that pushes are identical")  # fmt: skip
    add("--max-image-layers", type=int, metavar="N")
    add("--max-layer-bytes", type=int, metavar="BYTES", help="of a layer, unpacked")
    add("--max-manifest-bytes", type=int, metavar="BYTES", help="of a manifest or image config")
    add("--image-gc-threshold", type=int, metavar="PERCENT",
        help="remove unused images when the disk is fuller than this; 0: never")  # fmt: skip


def check_images(*, layers: int, layer_bytes: int, manifest_bytes: int, gc_threshold: int) -> None:
    """Check the numbers.

    Raises:
        InvalidParameter: One of them is impossible.
    """
    for key, value, least, most in (
        ("max-image-layers", layers, 1, MAX_LAYERS),
        ("max-layer-bytes", layer_bytes, 1, 1 << 62),
        ("max-manifest-bytes", manifest_bytes, _MIN_DOCUMENT_BYTES, MAX_DOCUMENT_BYTES),
        ("image-gc-threshold", gc_threshold, 0, 99),
    ):
        if not least <= value <= most:
            raise InvalidParameter(f"invalid {key}: {value} is not between {least} and {most}")


def unpack_limits(config: "Config") -> UnpackLimits:
    """Return the caps of unpacking."""
    return UnpackLimits(max_bytes=config.max_layer_bytes)


def pull_settings(config: "Config") -> PullSettings:
    """Return how images are pulled."""
    limits = PullLimits(manifest_bytes=config.max_manifest_bytes, layers=config.max_image_layers)
    return PullSettings(keep_blobs=config.keep_layer_blobs, limits=limits)
