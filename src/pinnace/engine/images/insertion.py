"""A file from elsewhere put into an image, which makes a new image of one more layer."""

import io
import posixpath
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import BinaryIO

from pinnace.contracts.build_files import BuildFiles, CopyJob, Origin, Selection
from pinnace.contracts.downloads import Download
from pinnace.contracts.snapshots import ByteSink, LayerStat, SnapshotKey
from pinnace.engine.images.bridge import ByteInlet, Message, Progress
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.make import Step, child_config
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.progress import counted
from pinnace.engine.images.records import format_time
from pinnace.engine.images.transfer import with_progress, with_upload
from pinnace.errors import InvalidParameter
from pinnace.model.image import ImageLayer, ImageRecord
from pinnace.oci.chain import ChainId
from pinnace.oci.tar_reader import TarEntry
from pinnace.oci.tar_writer import END_OF_ARCHIVE, entry_header, padding

MAX_BYTES = 16 << 30
_MEMBER = "file"
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file comes from and where it goes: a URL of http or https, a path in the image."""

    url: str
    path: str


class Insertion:
    """Puts files into images.

    Args:
        parts: The host's side.
        library: The images.
        files: Writes into the layer.
    """

    def __init__(self, parts: ImageParts, library: ImageLibrary, files: BuildFiles) -> None:
        self._parts = parts
        self._library = library
        self._files = files

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
        record = self._library.catalog.resolve(ref)
        if not posixpath.basename(place.path):
            raise InvalidParameter(f"no file name in path: {place.path!r}")
        async with self._parts.downloads.open(place.url) as found:

            async def work(progress: Progress) -> None:
                image = await self._make(record, place, found, progress)
                progress.say({"status": image.id})

            messages = with_progress(work, name="image insert")
            async with aclosing(messages):
                async for message in messages:
                    yield message

    async def _make(
        self, record: ImageRecord, place: Place, found: Download, progress: Progress
    ) -> ImageRecord:
        total = found.size or 0

        async def bytes_of_file() -> AsyncIterator[bytes]:
            current = 0
            async for chunk in found.content:
                current += len(chunk)
                progress.show(counted("Downloading", "", current, total))
                yield chunk

        created_ns = time.time_ns()
        top = record.top

        def write(inlet: ByteInlet) -> tuple[ChainId, LayerStat]:
            return self._write(inlet, top, place.path, created_ns)

        with self._library.leases.hold_all():
            chain, stat = await with_upload(self._parts, bytes_of_file(), write)
            return await self._add(record, place, created_ns, (chain, stat))

    async def _add(
        self,
        record: ImageRecord,
        place: Place,
        created_ns: int,
        made: tuple[ChainId, LayerStat],
    ) -> ImageRecord:
        chain, stat = made
        words = ["echo", "insert", place.url, place.path]
        step = Step(
            created=format_time(created_ns),
            created_by=" ".join(words),
            author=record.author,
            comment=record.comment or (record.history[-1].comment if record.history else ""),
            container_config={"Cmd": words},
        )
        config = child_config(
            await self._parts.store.config_bytes(record.id),
            None,
            diff_id=stat.diff_id,
            step=step,
            platform=self._parts.host,
        )
        layer = ImageLayer(chain=chain, diff_id=stat.diff_id, size=stat.size)
        return await self._library.add(config, [*record.layers, layer], parent=record.id)

    def _write(
        self, inlet: ByteInlet, top: ChainId | None, path: str, created_ns: int
    ) -> tuple[ChainId, LayerStat]:
        """Make the layer; blocks."""
        name = f"insert-{secrets.token_hex(8)}"
        key = SnapshotKey(name)

        def receive(sink: ByteSink) -> None:
            size = 0
            while chunk := inlet.read(_PIECE):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise InvalidParameter(f"the file is larger than {MAX_BYTES} bytes")
                sink.write(chunk)

        try:
            with self._parts.content.spool(receive) as spooled:
                archive = _Archive(spooled.file, spooled.size, created_ns)
                entries = self._files.receive(name, archive)
            file = Selection(_MEMBER, _MEMBER, is_directory=False, entries=entries)
            target = posixpath.normpath("/" + path.lstrip("/"))
            job = CopyJob(origin=Origin(name), selections=[file], target=target)
            self._files.apply(key, top, [job])
            return self._parts.snapshots.commit(key, top)
        finally:
            self._files.drop(name)
            self._parts.snapshots.remove(key)


class _Archive:
    """A tar of one file, read piece by piece."""

    def __init__(self, content: BinaryIO, size: int, mtime_ns: int) -> None:
        member = TarEntry(
            name=_MEMBER.encode(), kind=b"0", mode=0o644, size=size, mtime_ns=mtime_ns
        )
        self._parts = [
            io.BytesIO(entry_header(member)),
            content,
            io.BytesIO(padding(size) + END_OF_ARCHIVE),
        ]

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        while self._parts:
            if data := self._parts[0].read(size):
                return data
            self._parts.pop(0)
        return b""
