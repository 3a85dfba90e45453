"""What the API edge hands to `commit`."""

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
    """

    container: str
    repo: str = ""
    tag: str = ""
    comment: str = ""
    author: str = ""
    pause: bool = True
    changes: list[str] = field(default_factory=list)
    config: ContainerConfig | None = None
