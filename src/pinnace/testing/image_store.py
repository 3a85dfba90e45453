"""Image records in memory."""

from collections.abc import Callable

from pinnace.contracts.image_store import ImageChange, ImageState
from pinnace.errors import ImageNotFound
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId


class FakeImageStore:
    """Implements `contracts.image_store.ImageStore`."""

    def __init__(self) -> None:
        self._images = dict[ImageId, ImageRecord]()
        self._bytes: dict[ImageId, tuple[bytes, bytes | None]] = {}
        self._tags: dict[str, ImageId] = {}
        self._digests: dict[str, ImageId] = {}
        self._failure: Exception | None = None
        self._watchers: list[Callable[[ImageId], None]] = []

    def fail_next(self, error: Exception) -> None:
        """Let the next `apply` raise `error` and do nothing."""
        self._failure = error

    def has(self, image: ImageId) -> bool:
        """Whether the image is there."""
        return image in self._images

    def watch(self, dropped: Callable[[ImageId], None]) -> None:
        """Call `dropped` for every image that goes, as a database cascades."""
        self._watchers.append(dropped)

    async def load(self) -> ImageState:
        """See the contract."""
        return ImageState(dict(self._images), dict(self._tags), dict(self._digests))

    async def apply(self, change: ImageChange) -> None:
        """See the contract."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        for image in change.put:
            self._images[image.record.id] = image.record
            _, manifest = self._bytes.get(image.record.id, (b"", None))
            self._bytes[image.record.id] = (image.config, image.manifest or manifest)
        self._images |= {record.id: record for record in change.update}
        self._tags |= change.set_tags
        self._digests |= change.set_digests
        for reference in (*change.drop_tags, *change.drop_digests):
            self._tags.pop(reference, None)
            self._digests.pop(reference, None)
        for gone in change.drop:
            self._images.pop(gone, None)
            self._bytes.pop(gone, None)
            for dropped in self._watchers:
                dropped(gone)
            self._tags = {key: value for key, value in self._tags.items() if value != gone}
            self._digests = {key: value for key, value in self._digests.items() if value != gone}

    async def config_bytes(self, image: ImageId) -> bytes:
        """See the contract."""
        return self._find(image)[0]

    async def manifest_bytes(self, image: ImageId) -> bytes | None:
        """See the contract."""
        return self._find(image)[1]

    def _find(self, image: ImageId) -> tuple[bytes, bytes | None]:
        if image not in self._bytes:
            raise ImageNotFound(image)
        return self._bytes[image]
