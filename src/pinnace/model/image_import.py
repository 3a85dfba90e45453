"""What the API edge hands to `import`."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportParams:
    """An image to be made of the tar of a root filesystem.

    Attributes:
        repo: Name for the image; "": none.
        tag: "": `latest`.
        changes: Dockerfile instructions for its config.
        message: For its history; "": where it came from.
        platform: What it runs on; None: what this host does.
    """

    repo: str = ""
    tag: str = ""
    changes: Sequence[str] = ()
    message: str = ""
    platform: str | None = None
