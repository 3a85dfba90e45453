"""Removing unused images by itself when the disk gets full; off unless it is asked for."""

import logging
import time
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from pinnace.contracts.image_store import ImageChange
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.deletion import Deletion, DeletionPlanner
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.parts import ImageParts, ImageUsers
from pinnace.errors import Conflict, ImageNotFound
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId

log = logging.getLogger(__name__)

_NOTED_EVERY_NS = 3600 * 1_000_000_000  # how exactly the last use is known
_GRACE_NS = 600 * 1_000_000_000  # what has just come may be about to be used


class DiskPolicy:
    """Keeps the disk below a mark by removing the images unused for the longest time.

    Args:
        parts: What images are made of.
        library: The images.
        threshold: Percent of the disk in use; 0: nothing is ever removed.
        disk_used: Returns the percentage in use; blocks.
    """

    def __init__(
        self,
        parts: ImageParts,
        library: ImageLibrary,
        *,
        threshold: int,
        disk_used: Callable[[], float],
    ) -> None:
        self._parts = parts
        self._library = library
        self._threshold = threshold
        self._disk_used = disk_used
        self._seen: dict[ImageId, int] = {}

    async def apply(self) -> int:
        """Note which images are in use and remove others while the disk is too full.

        Returns:
            Bytes that came back.
        """
        if not self._threshold:
            return 0
        now = time.time_ns()
        await self._note_use(now)
        freed = 0
        catalog = self._library.catalog
        self._seen = {image: self._seen.get(image, now) for image in catalog.images}
        for image in longest_unused(catalog, self._parts.users, self._seen, now):
            if await self._parts.offload(self._disk_used) <= self._threshold:
                break
            freed += await self._remove(image)
        return freed

    async def _note_use(self, now: int) -> None:
        users = self._parts.users
        used = [
            replace(record, last_used_ns=now)
            for record in self._library.catalog.images.values()
            if record.last_used_ns + _NOTED_EVERY_NS <= now and users.containers_using(record.id)
        ]
        for record in used:
            await self._library.apply_to(record.id, ImageChange(update=[record]))

    async def _remove(self, image: ImageId) -> int:
        def decide() -> Deletion:
            using = self._parts.users.containers_using
            if using(image):
                raise Conflict("the image is used since")
            planner = DeletionPlanner(self._library.catalog, using)
            return planner.plan(image, force=True, prune=True)

        try:
            deleted = await self._library.carry_out(decide)
        except (Conflict, ImageNotFound):
            return 0
        log.info(
            "removed an unused image: the disk is too full",
            extra={"image": image, "reclaimed_bytes": deleted.reclaimed},
        )
        return deleted.reclaimed


def longest_unused(
    catalog: Catalog, users: ImageUsers, seen: Mapping[ImageId, int], now: int
) -> list[ImageId]:
    """Return the images that may go, the one unused for the longest time first; pure.

    Args:
        catalog: The images.
        users: Containers by image.
        seen: When each image was first noticed, Unix nanoseconds.
        now: Unix nanoseconds.
    """
    unused = [
        record
        for record in catalog.images.values()
        if not users.containers_using(record.id)
        and not catalog.children_of(record.id)
        and max(_last_use(record), seen[record.id]) + _GRACE_NS <= now
    ]
    return [record.id for record in sorted(unused, key=_last_use)]


def _last_use(record: ImageRecord) -> int:
    return max(record.last_used_ns, record.last_tag_ns)
