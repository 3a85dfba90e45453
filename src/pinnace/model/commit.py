"""What the API edge hands to `commit`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pinnace.model.container import ContainerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitParams:
    """An image to be made of a container's changes.

    Attributes:
        container: Reference of the container.
        repo: Repository to tag, possibly with a tag in it; "": the image stays untagged.
        tag: "": `latest`.
        comment: Message in the image's history.
        author: Name in the image.
        pause: Freeze the container meanwhile.
        changes: Dockerfile instructions applied to the config.
        config: Replaces the container's config; None: the container's own.
        inherit: What `config` leaves open is taken from the container's config.
        further: More members of the image's `config`; see `engine.images.make.child_config`.
    """

    container: str
    repo: str = ""
    tag: str = ""
    comment: str = ""
    author: str = ""
    pause: bool = True
    changes: list[str] = field(default_factory=list)
    config: ContainerConfig | None = None
    inherit: bool = True
    further: Mapping[str, object] = field(default_factory=dict)
