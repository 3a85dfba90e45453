"""Copying files into and out of containers, and exporting whole ones.

A container's files are seen through a view (`contracts.files`): its root filesystem with its
volumes and etc files, whether it runs or not. Reading and unpacking happen in threads of their
own, so that slow clients cannot use up the workers that starts need.
"""

import asyncio
import concurrent.futures
import posixpath
import stat
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from msgspec import field

from pinnace.contracts.files import ContainerFiles, FileStat, FileView, ViewMount
from pinnace.engine.containers.lookup import ContainerLookup, Publish, container_attributes
from pinnace.engine.containers.views import rfc3339
from pinnace.errors import Conflict, InvalidParameter, NotFound
from pinnace.model.container import Container
from pinnace.model.record import ContainerId, Record

BATCH_BYTES = 1 << 20
_ETC_FILES = ("resolv.conf", "hostname", "hosts")
_T = TypeVar("_T")

# Go's os.FileMode, which is not st_mode: pkg.go.dev/io/fs#FileMode
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


class PathStat(Record, frozen=True, kw_only=True):
    """What `X-Docker-Container-Path-Stat` holds, before base64.

    Attributes:
        name: Last component of the path as asked for.
        mode: Go's FileMode bits.
        mtime: RFC 3339.
        link_target: Where a symbolic link leads in the container; "" for anything else.
    """

    name: str = field(name="name")
    size: int = field(name="size")
    mode: int = field(name="mode")
    mtime: str = field(name="mtime")
    link_target: str = field(name="linkTarget", default="")


class PathNotFound(NotFound):
    """There is no such path in the container."""

    def __init__(self, path: str, ref: str) -> None:
        super().__init__(f"Could not find the file {path} in container {ref}")
        self.path = path


def go_mode(mode: int) -> int:
    """Return `st_mode` as Go's FileMode."""
    kind = _GO_TYPES.get(stat.S_IFMT(mode), 0)
    bits = sum(go for bit, go in _GO_BITS.items() if mode & bit)
    return (mode & 0o777) | kind | bits


def archive_name(path: str) -> str:
    """Return what the top member of a path's archive is called: its last component as written.

    `/a/b/` gives `b`, `/a/b/.` gives `.`, and the root gives `/`.
    """
    if path == "." or path.endswith("/."):
        return "."
    return posixpath.basename(posixpath.normpath("/" + path)) or "/"


class ArchiveService:
    """Serves `docker cp` and `docker export`."""

    def __init__(
        self,
        containers: ContainerLookup,
        files: ContainerFiles,
        directory: Callable[[ContainerId], Path],
        publish: Publish,
        executor: Executor,
    ) -> None:
        """Work in threads of `executor`, one for each transfer at a time.

        Args:
            containers: Finds records.
            files: Opens views.
            directory: Returns where a container's etc files are.
            publish: Tells events.
            executor: Not shared with short work: an upload holds its thread until its end.
        """
        self._containers = containers
        self._files = files
        self._directory = directory
        self._publish = publish
        self._executor = executor

    async def stat(self, ref: str, path: str) -> PathStat:
        """Look at a path in a container.

        Raises:
            ContainerNotFound: No such container.
            NotFound: No such path.
        """
        container = self._container(ref)

        def look() -> FileStat:
            with self._view(container) as view:
                return view.stat(path)

        with _named(path, ref):
            return _path_stat(path, await self._run(look))

    async def get(self, ref: str, path: str) -> tuple[PathStat, AsyncGenerator[bytes, None]]:
        """Return what is at a path, and its tar; the stream must be read or closed.

        Raises:
            ContainerNotFound: No such container.
            NotFound: No such path.
        """
        container = self._container(ref)
        transfer = _Transfer(self._view(container))

        def begin() -> FileStat:
            view = transfer.open()
            found = view.stat(path)
            transfer.chunks = view.pack(path, name=archive_name(path))
            return found

        with _named(path, ref):
            found = await self._begin(transfer, begin)
        self._tell(container, "archive-path")
        return _path_stat(path, found), await self._stream(transfer)

    async def export(self, ref: str) -> AsyncGenerator[bytes, None]:
        """Return a tar of the container's root filesystem, without volumes.

        Raises:
            ContainerNotFound: No such container.
        """
        container = self._container(ref)
        transfer = _Transfer(self._files.view(container.id))

        def begin() -> None:
            transfer.chunks = transfer.open().export()

        await self._begin(transfer, begin)
        self._tell(container, "export")
        return await self._stream(transfer)

    async def put(
        self,
        ref: str,
        path: str,
        stream: AsyncIterator[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uidgid: bool = False,
    ) -> None:
        """Unpack a tar, plain or compressed, into a directory of a container.

        Args:
            ref: The container.
            path: A directory in it, or a link to one.
            stream: The archive.
            no_overwrite_dir_non_dir: Refuse to replace a directory by something else, and the
                reverse.
            copy_uidgid: Everything belongs to the container's user instead of the archive's.

        Raises:
            ContainerNotFound: No such container.
            NotFound: No such path.
            InvalidParameter: The path is no directory, or the archive is broken or hostile.
            Forbidden: The root or the volume is read-only.

        Cancelled: what was unpacked so far stays.
        """
        container = self._container(ref)
        upload = _Upload(asyncio.get_running_loop(), stream)
        user = container.config.user

        def unpack() -> None:
            with self._view(container) as view:
                view.check_writable(path)
                view.extract(
                    upload,
                    path,
                    no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
                    owner=view.owner(user) if copy_uidgid and user else None,
                )

        with _named(path, ref):
            await self._run(unpack, on_cancel=upload.abort)
        self._tell(container, "extract-to-dir")

    def _container(self, ref: str) -> Container:
        container = self._containers.get(ref)
        if container.state.status in ("removing", "dead"):
            raise Conflict(f"container {container.id} is marked for removal")
        return container

    def _view(self, container: Container) -> AbstractContextManager[FileView]:
        directory = self._directory(container.id)
        mounts = [
            ViewMount(
                source=one.source,
                destination=one.destination,
                subpath=one.subpath,
                recursive=one.recursive and one.type == "bind",
                read_only=not one.rw,
            )
            for one in container.mounts
            if one.type in ("bind", "volume") and one.source
        ]
        taken = {one.destination for one in mounts}
        etc = [
            ViewMount(str(directory / name), f"/etc/{name}", optional=True)
            for name in _ETC_FILES
            if f"/etc/{name}" not in taken and (directory / name).is_file()
        ]
        return self._files.view(
            container.id,
            [*mounts, *etc],
            read_only_root=container.host_config.readonly_rootfs,
        )

    async def _begin(self, transfer: "_Transfer", begin: Callable[[], _T]) -> _T:
        try:
            return await self._run(begin)
        except BaseException:
            await self._run(transfer.close)
            raise

    async def _stream(self, transfer: "_Transfer") -> AsyncGenerator[bytes, None]:
        """Return the transfer's batches, as a generator that has begun.

        Only one that has begun lets go of the view when it is closed or dropped.
        """
        batches = self._batches(transfer)
        await anext(batches)
        return batches

    async def _batches(self, transfer: "_Transfer") -> AsyncGenerator[bytes, None]:
        try:
            yield b""
            while batch := await self._run(transfer.next_batch):
                yield batch
        finally:
            await asyncio.shield(self._run(transfer.close))

    async def _run(
        self, work: Callable[[], _T], *, on_cancel: Callable[[], None] | None = None
    ) -> _T:
        """Run blocking work in a thread; when cancelled, wait for its end first."""
        running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # the cancellation is what counts
            raise

    def _tell(self, container: Container, action: str) -> None:
        self._publish("container", action, container.id, container_attributes(container))


class _Transfer:
    """A tar on its way out and the view it is read from; used by one worker at a time."""

    def __init__(self, view: AbstractContextManager[FileView]) -> None:
        self._view = view
        self._opened = False
        self.chunks: Iterator[bytes] = iter(())

    def open(self) -> FileView:
        view = self._view.__enter__()
        self._opened = True
        return view

    def next_batch(self) -> bytes:
        """Return about `BATCH_BYTES`; nothing at the end."""
        parts: list[bytes] = []
        size = 0
        for chunk in self.chunks:
            parts.append(chunk)
            size += len(chunk)
            if size >= BATCH_BYTES:
                break
        return b"".join(parts)

    def close(self) -> None:
        if self._opened:
            self._opened = False
            close = getattr(self.chunks, "close", None)
            if close is not None:
                close()  # lets go of the file it stands in
            self._view.__exit__(None, None, None)


class _Upload:
    """A blocking reader, for a worker, of a stream that the event loop delivers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stream: AsyncIterator[bytes]) -> None:
        self._loop = loop
        self._stream = stream
        self._left = b""
        self._waiting: concurrent.futures.Future[bytes | None] | None = None
        self._aborted = threading.Event()

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; nothing at the end.

        Raises:
            InvalidParameter: The client left before the end.
        """
        while not self._left:
            chunk = self._next_chunk()
            if chunk is None:
                return b""
            self._left = chunk
        data = self._left if size < 0 else self._left[:size]
        self._left = self._left[len(data) :]
        return data

    def abort(self) -> None:
        """Make a waiting and every later `read` fail; called in the event loop."""
        self._aborted.set()
        if self._waiting is not None:
            self._waiting.cancel()

    def _next_chunk(self) -> bytes | None:
        if self._aborted.is_set():
            raise InvalidParameter("the upload was cancelled")
        self._waiting = asyncio.run_coroutine_threadsafe(self._receive(), self._loop)
        if self._aborted.is_set():  # `abort` may have come before the assignment
            self._waiting.cancel()
        try:
            return self._waiting.result()
        except concurrent.futures.CancelledError:
            raise InvalidParameter("the upload was cancelled") from None

    async def _receive(self) -> bytes | None:
        return await anext(self._stream, None)


@contextmanager
def _named(path: str, ref: str) -> Iterator[None]:
    """Give a missing path Docker's text, with path and container as the caller wrote them."""
    try:
        yield
    except NotFound as exc:
        raise PathNotFound(path, ref) from exc


def _path_stat(path: str, found: FileStat) -> PathStat:
    return PathStat(
        name=archive_name(path),
        size=found.size,
        mode=go_mode(found.mode),
        mtime=rfc3339(found.mtime_ns),
        link_target=found.link_target,
    )
