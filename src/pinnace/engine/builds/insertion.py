"""A file from elsewhere put into an image: one step of its own, outside any Dockerfile."""

import posixpath
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from pinnace.contracts.build_files import CopyJob, Origin, Selection
from pinnace.contracts.downloads import Download
from pinnace.engine.builds.fetching import MAX_DOWNLOAD_BYTES, keep_file
from pinnace.engine.builds.graph import Built, Copying, Vertex
from pinnace.engine.builds.output import StageOutput
from pinnace.engine.builds.session import Session
from pinnace.engine.builds.sources import content_digest
from pinnace.engine.images.bridge import Message, Progress
from pinnace.engine.images.progress import counted
from pinnace.engine.images.transfer import with_progress
from pinnace.errors import InvalidParameter

_NAME = "file"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file comes from and where it goes: a URL of http or https, a path in the image."""

    url: str
    path: str


async def insert_file(session: Session, ref: str, place: Place) -> AsyncGenerator[Message, None]:
    """Fetch a file and make an image of `ref` and it; yield progress and at last the id.

    Missing directories are made, an existing file is replaced. The new image keeps comment and
    author and has no defaults for containers, as in the engines that could do this.

    Raises:
        ImageNotFound: No such image.
        InvalidParameter: No URL, or no path that can be.
        NotFound: The server does not have it.
        Unavailable: The server cannot be reached, or breaks off.
    """
    parts = session.parts
    base = await session.known(parts.images.resolve(ref))
    if not posixpath.basename(place.path):
        raise InvalidParameter(f"no file name in path: {place.path!r}")
    async with parts.downloads.open(place.url) as found:

        async def work(progress: Progress) -> None:
            copying = await _copying(session, shown(found, progress), place.path)
            image = await session.solve(_vertex(base, copying, place), StageOutput())
            progress.say({"status": image.id})

        async with aclosing(with_progress(work, name="image insert")) as messages:
            async for message in messages:
                yield message


async def shown(download: Download, progress: Progress) -> AsyncIterator[bytes]:
    """Yield the content of a download, showing how much of it has come."""
    current = 0
    async for chunk in download.content:
        current += len(chunk)
        progress.show(counted("Downloading", "", current, download.size or 0))
        yield chunk


async def _copying(session: Session, content: AsyncIterator[bytes], path: str) -> Copying:
    entry = await keep_file(
        session.parts,
        session.name,
        content,
        name=_NAME,
        limit=MAX_DOWNLOAD_BYTES,
        mtime_ns=time.time_ns(),
    )
    selections = [Selection(_NAME, entry.path, is_directory=False, entries=[entry])]
    target = posixpath.normpath("/" + path.lstrip("/"))
    job = CopyJob(origin=Origin(session.name), selections=selections, target=target, mode="0644")
    return Copying((job,), content_digest(selections))


def _vertex(base: Built, copying: Copying, place: Place) -> Vertex:
    words = ["echo", "insert", place.url, place.path]
    record = base.record
    history = record.history if record else []
    return Vertex(
        parent=base,
        operation=copying,
        config=None,
        created_by=" ".join(words),
        author=record.author if record else "",
        comment=(record.comment if record else "") or (history[-1].comment if history else ""),
        cached=False,
        container_config={"Cmd": words},
    )
