"""A file from elsewhere put into an image, which makes a new image of one more layer."""

import posixpath
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from pinnace.contracts.downloads import Download, Downloads
from pinnace.engine.images.bridge import Message, Progress
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.derivation import FILE_NAME, Derivation, Derived
from pinnace.engine.images.progress import counted
from pinnace.engine.images.transfer import with_progress
from pinnace.errors import InvalidParameter
from pinnace.model.image import ImageRecord


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file comes from and where it goes: a URL of http or https, a path in the image."""

    url: str
    path: str


class Insertion:
    """Puts files into images.

    Args:
        catalog: The images.
        downloads: Fetches files.
        derivation: Makes the image.
    """

    def __init__(self, catalog: Catalog, downloads: Downloads, derivation: Derivation) -> None:
        self._catalog = catalog
        self._downloads = downloads
        self._derivation = derivation

    async def insert(self, ref: str, place: Place) -> AsyncIterator[Message]:
        """Fetch a file and make an image of `ref` and it; yield progress and at last the id.

        Missing directories are made, an existing file is replaced. The new image keeps comment
        and author and has no defaults for containers, as in the engines that could do this.

        Raises:
            ImageNotFound: No such image.
            InvalidParameter: No URL, or no path that can be.
            NotFound: The server does not have it.
            Unavailable: The server cannot be reached, or breaks off.
        """
        record = self._catalog.resolve(ref)
        if not posixpath.basename(place.path):
            raise InvalidParameter(f"no file name in path: {place.path!r}")
        async with self._downloads.open(place.url) as found:

            async def work(progress: Progress) -> None:
                image = await self._make(record, place, shown(found, progress))
                progress.say({"status": image.id})

            async with aclosing(with_progress(work, name="image insert")) as messages:
                async for message in messages:
                    yield message

    async def _make(
        self, record: ImageRecord, place: Place, content: AsyncIterator[bytes]
    ) -> ImageRecord:
        comment = record.comment or (record.history[-1].comment if record.history else "")
        new = Derived(
            words=["echo", "insert", place.url, place.path],
            config=None,
            author=record.author,
            comment=comment,
        )
        async with self._derivation.file(content) as files:
            return await self._derivation.derive(record, new, [files.copy(FILE_NAME, place.path)])


async def shown(download: Download, progress: Progress) -> AsyncIterator[bytes]:
    """Yield the content of a download, showing how much of it has come."""
    current = 0
    async for chunk in download.content:
        current += len(chunk)
        progress.show(counted("Downloading", "", current, download.size or 0))
        yield chunk
