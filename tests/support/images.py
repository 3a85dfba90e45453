"""Tiny images for tests: busybox, or busybox with other files and another config."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.client.busybox import architecture, build_busybox_archive, busybox_layer
from pinnace.client.image_archive import PATH, Entry, build_archive, pack_layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BUSYBOX = Path("/bin/busybox")


@functools.cache
def busybox_archive() -> bytes:
    """Return the docker-archive of busybox:latest."""
    return build_busybox_archive(BUSYBOX)


def tiny_image(
    tag: str, *layers: Sequence[Entry], config: Mapping[str, object] | None = None
) -> bytes:
    """Return a docker-archive of an image with busybox and more layers.

    Args:
        tag: Its reference, with tag.
        layers: Entries of further layers, lowest first; see `pinnace.client.image_archive`.
        config: The image's `config`; Env and Cmd have defaults.
    """
    return build_archive(
        [tag],
        [busybox_layer(BUSYBOX), *(pack_layer(layer) for layer in layers)],
        architecture=architecture(BUSYBOX.read_bytes()),
        config={"Env": [f"PATH={PATH}"], "Cmd": ["sh"], **(config or {})},
    )


def program_image(tag: str, program: Path, config: Mapping[str, object] | None = None) -> bytes:
    """Return a docker-archive of an image with nothing but one static program, as /program."""
    layer = pack_layer([Entry("program", mode=0o755, data=program.read_bytes())])
    return build_archive(
        [tag],
        [layer],
        architecture=architecture(program.read_bytes()),
        config={"Entrypoint": ["/program"], **(config or {})},
    )
