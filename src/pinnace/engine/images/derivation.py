"""Images made one out of another without a container: a config, a step, and files perhaps."""

import io
import posixpath
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from pinnace.contracts.build_files import (
    BuildFiles,
    CopyJob,
    Origin,
    SourceEntry,
)
from pinnace.contracts.repositories import Repositories, RepositorySource
from pinnace.contracts.snapshots import ByteSink, LayerStat, SnapshotKey
from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.sources import SourceRules, select
from pinnace.engine.images.bridge import ByteInlet
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.make import EMPTY_DIFF_ID, Step, child_config
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.records import format_time
from pinnace.engine.images.transfer import with_upload
from pinnace.errors import InvalidParameter, NotFound
from pinnace.model.container import ContainerConfig
from pinnace.model.image import ImageLayer, ImageRecord
from pinnace.oci.chain import ChainId
from pinnace.oci.tar_reader import TarEntry
from pinnace.oci.tar_writer import END_OF_ARCHIVE, entry_header, padding

MAX_FILE_BYTES = 16 << 30
FILE_NAME = "file"
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What is new in an image.

    Attributes:
        words: The command that made it, for history and container config.
        config: Defaults for containers; None: it has none.
        further: More members of that config; see `make.child_config`.
        container_config: Members of the container config beside the command.
        author: "": none.
        comment: "": none.
    """

    words: Sequence[str]
    config: ContainerConfig | None
    further: Mapping[str, object] = field(default_factory=dict)
    container_config: Mapping[str, object] = field(default_factory=dict)
    author: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Files:
    """Files that were received, to be copied into images for the time of a `with` block.

    Attributes:
        name: What they are kept under.
        tree: The files.
    """

    name: str
    tree: ContextTree

    def copy(self, source: str, target: str) -> CopyJob:
        """Return the job that copies a file, or the content of a directory.

        Raises:
            InvalidParameter: There is no such file, or it is outside.
        """
        selections = select(self.tree, source, SourceRules())
        if not selections:
            raise InvalidParameter(f"{source}: no such file or directory")
        return CopyJob(origin=Origin(self.name), selections=selections, target=_absolute(target))


class Derivation:
    """Makes images out of images.

    Args:
        parts: The host's side.
        library: The images.
        files: Receives files, and writes them into layers.
        repositories: Fetches trees.
    """

    def __init__(
        self,
        parts: ImageParts,
        library: ImageLibrary,
        files: BuildFiles,
        repositories: Repositories,
    ) -> None:
        self._parts = parts
        self._library = library
        self._files = files
        self._repositories = repositories

    @asynccontextmanager
    async def archive(self, stream: AsyncIterator[bytes]) -> AsyncIterator[Files]:
        """Receive a tar, plain or compressed.

        Raises:
            InvalidParameter: It is broken, hostile or over a limit.
        """
        name = f"files-{secrets.token_hex(8)}"

        def receive(inlet: ByteInlet) -> Sequence[SourceEntry]:
            return self._files.receive(name, inlet)

        async with self._received(name, receive, stream) as files:
            yield files

    @asynccontextmanager
    async def file(self, stream: AsyncIterator[bytes]) -> AsyncIterator[Files]:
        """Receive one file, called as `FILE_NAME` says, of mode 0644.

        Raises:
            InvalidParameter: It is too large.
        """
        name = f"files-{secrets.token_hex(8)}"

        def receive(inlet: ByteInlet) -> Sequence[SourceEntry]:
            with self._parts.content.spool(lambda sink: _pour(inlet, sink)) as spooled:
                archive = _Archive(spooled.file, spooled.size, time.time_ns())
                return self._files.receive(name, archive)

        async with self._received(name, receive, stream) as files:
            yield files

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[Files]:
        """Fetch one file; see `file`.

        Raises:
            InvalidParameter: No URL of http or https; or the file is too large.
            NotFound: The server does not have it.
            Unavailable: The server cannot be reached, or breaks off.
        """
        async with (
            self._parts.downloads.open(url) as found,
            self.file(found.content) as files,
        ):
            yield files

    @asynccontextmanager
    async def checkout(self, source: RepositorySource) -> AsyncIterator[Files]:
        """Fetch the files of a repository.

        Raises:
            PinnaceError: See `contracts.repositories.Repositories.archive`.
        """
        async with (
            self._repositories.archive(source) as packed,
            self.archive(packed) as files,
        ):
            yield files

    async def read(self, files: Files, path: str) -> bytes:
        """Return a small file.

        Raises:
            NotFound: There is none.
            InvalidParameter: It is too large.
        """
        resolved = files.tree.resolve(path)
        if resolved is None:
            raise NotFound(f"{path}: no such file or directory")
        entry = files.tree.entry(resolved)
        return await self._parts.offload(lambda: self._files.read(files.name, entry))

    async def derive(
        self, base: ImageRecord, new: Derived, jobs: Sequence[CopyJob] = ()
    ) -> ImageRecord:
        """Make an image of `base` and what is new; without jobs it has no new layer.

        Raises:
            ImageNotFound: The base is gone.
            InvalidParameter: A file cannot be put where it should go.
        """
        created_ns = time.time_ns()
        with self._library.leases.hold_all():
            layers = list(base.layers)
            diff_id = EMPTY_DIFF_ID
            if jobs:
                top = base.top
                chain, stat = await self._parts.transfer(lambda: self._layer(top, jobs))
                diff_id = stat.diff_id
                if diff_id != EMPTY_DIFF_ID:
                    layers.append(ImageLayer(chain=chain, diff_id=diff_id, size=stat.size))
            step = Step(
                created=format_time(created_ns),
                created_by=" ".join(new.words),
                author=new.author,
                comment=new.comment,
                container_config={**new.container_config, "Cmd": list(new.words)},
            )
            config = child_config(
                await self._parts.store.config_bytes(base.id),
                new.config,
                diff_id=diff_id,
                step=step,
                platform=self._parts.host,
                further=new.further,
            )
            return await self._library.add(config, layers, parent=base.id)

    @asynccontextmanager
    async def _received(
        self,
        name: str,
        receive: Callable[[ByteInlet], Sequence[SourceEntry]],
        stream: AsyncIterator[bytes],
    ) -> AsyncIterator[Files]:
        try:
            entries = await with_upload(self._parts.transfer, stream, receive)
            yield Files(name, ContextTree(entries))
        finally:
            await self._parts.offload(lambda: self._files.drop(name))

    def _layer(self, top: ChainId | None, jobs: Sequence[CopyJob]) -> tuple[ChainId, LayerStat]:
        """Make a layer; blocks."""
        key = SnapshotKey(f"derive-{secrets.token_hex(8)}")
        self._files.apply(key, top, jobs)
        try:
            return self._parts.snapshots.commit(key, top)
        finally:
            self._parts.snapshots.remove(key)


def _absolute(target: str) -> str:
    return posixpath.normpath("/" + target.lstrip("/"))


def _pour(inlet: ByteInlet, sink: ByteSink) -> None:
    size = 0
    while chunk := inlet.read(_PIECE):
        size += len(chunk)
        if size > MAX_FILE_BYTES:
            raise InvalidParameter(f"the file is larger than {MAX_FILE_BYTES} bytes")
        sink.write(chunk)


class _Archive:
    """A tar of one file, read piece by piece."""

    def __init__(self, content: BinaryIO, size: int, mtime_ns: int) -> None:
        member = TarEntry(
            name=FILE_NAME.encode(), kind=b"0", mode=0o644, size=size, mtime_ns=mtime_ns
        )
        content.seek(0)
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
