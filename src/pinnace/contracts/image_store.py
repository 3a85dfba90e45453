"""Where image records are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId


@dataclass(frozen=True, slots=True)
class ImageState:
    """Everything that is known of images.

    Attributes:
        images: By id.
        tags: Image by normalised reference with a tag.
        digests: Image by normalised reference with a digest.
    """

    images: Mapping[ImageId, ImageRecord] = field(default_factory=dict)
    tags: Mapping[str, ImageId] = field(default_factory=dict)
    digests: Mapping[str, ImageId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image to store with the exact bytes that its id and its manifest's digest cover."""

    record: ImageRecord
    config: bytes
    manifest: bytes | None = None


@dataclass(frozen=True, slots=True)
class ImageChange:
    """A change to be made as a whole: puts, then sets, then removals.

    Attributes:
        put: Images to store, or store anew.
        update: Records to replace; their bytes stay.
        set_tags: References to point at images.
        set_digests: Digest references to point at images.
        drop_tags: References to forget.
        drop_digests: Digest references to forget.
        drop: Images to forget, with every reference to them.
    """

    put: Sequence[StoredImage] = ()
    update: Sequence[ImageRecord] = ()
    set_tags: Mapping[str, ImageId] = field(default_factory=dict)
    set_digests: Mapping[str, ImageId] = field(default_factory=dict)
    drop_tags: Sequence[str] = ()
    drop_digests: Sequence[str] = ()
    drop: Sequence[ImageId] = ()


class ImageStore(Protocol):
    """Image records that outlive the daemon."""

    async def load(self) -> ImageState:
        """Return everything."""
        ...

    async def apply(self, change: ImageChange) -> None:
        """Make a change, all of it or nothing."""
        ...

    async def config_bytes(self, image: ImageId) -> bytes:
        """Return the exact config.

        Raises:
            ImageNotFound: No such image.
        """
        ...

    async def manifest_bytes(self, image: ImageId) -> bytes | None:
        """Return the exact manifest it came by; None when it came by none.

        Raises:
            ImageNotFound: No such image.
        """
        ...
