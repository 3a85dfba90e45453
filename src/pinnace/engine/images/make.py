"""Configs of images that are made here: commits, imports and insertions; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from pinnace.model.container import ContainerConfig
from pinnace.model.image import image_config
from pinnace.oci.digest import Digest
from pinnace.oci.manifest import parse_image_document
from pinnace.oci.platform import Platform
from pinnace.version import __version__

# The digest of a tar without members: such a layer adds a step to the history and nothing else.
EMPTY_DIFF_ID = Digest("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How an image came to be.

    Attributes:
        created: RFC 3339.
        created_by: The command.
        author: Name in image and history.
        comment: Message in the history.
        container: Id of the container it was committed from; "": none.
        container_config: That container's config, in wire names; None: none.
    """

    created: str
    created_by: str = ""
    author: str = ""
    comment: str = ""
    container: str = ""
    container_config: Mapping[str, object] | None = None


def child_config(
    parent: bytes | None,
    config: ContainerConfig | None,
    *,
    diff_id: Digest,
    step: Step,
    platform: Platform,
    further: Mapping[str, object] | None = None,
) -> bytes:
    """Return the config of an image made of its parent and one more layer.

    Args:
        parent: The parent's config; None: there is none.
        config: Defaults for containers; None: the image says nothing of containers.
        diff_id: The new layer.
        step: The new entry of the history.
        platform: What the image runs on, when there is no parent.
        further: More members of `config`, which containers made by today's API pay no heed to.
    """
    fields: dict[str, object] = {}
    history: list[object] = []
    layers: list[str] = []
    if parent is not None:
        document = parse_image_document(parent)
        platform = document.platform()
        layers += document.diff_ids()
        history += [msgspec.to_builtins(entry) for entry in document.history or []]
    is_empty = diff_id == EMPTY_DIFF_ID
    if not is_empty:
        layers.append(diff_id)
    entry: dict[str, object] = {
        "created": step.created,
        "author": step.author,
        "created_by": step.created_by,
        "comment": step.comment,
        "empty_layer": is_empty,
    }
    history.append({key: value for key, value in entry.items() if value})
    fields["architecture"] = platform.architecture
    fields["author"] = step.author
    if config is not None:
        fields["config"] = {**msgspec.to_builtins(image_config(config)), **(further or {})}
    fields["container"] = step.container
    fields["container_config"] = step.container_config
    fields["created"] = step.created
    fields["docker_version"] = __version__
    fields["history"] = history
    fields["os"] = platform.os
    fields["rootfs"] = {"type": "layers", "diff_ids": layers}
    fields["variant"] = platform.variant
    return msgspec.json.encode(
        {key: value for key, value in fields.items() if value not in ("", None)}
    )
