"""Writing trees as tar: changes of a snapshot, whole roots, single paths.

The tree may be in use: what vanishes meanwhile is left out, a file that shrinks is filled up
with zeros, one that grows is cut. Links are archived, never followed, except where the caller
resolved the start. The same tree gives the same bytes.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from pinnace.contracts.snapshots import Change
from pinnace.errors import Internal
from pinnace.host.kernel.paths import open_in_root
from pinnace.oci.layer import WHITEOUT_PREFIX, is_kept_xattr
from pinnace.oci.tar_reader import (
    BLOCK_DEVICE,
    CHAR_DEVICE,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    SYMLINK,
    TarEntry,
)
from pinnace.oci.tar_writer import END_OF_ARCHIVE, entry_header, padding

_CHUNK = 1 << 20
_NODE = os.O_PATH | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_KINDS = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: SYMLINK,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFCHR: CHAR_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO))
_DELETED = 2
_CAPABILITIES = frozenset({"security.capability"})


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a tar has between the header of a regular file and its padding.

    Attributes:
        path: The file, below the tree's root.
        size: Bytes in all chunks.
        chunks: To be used up before the next piece is asked for.
    """

    path: bytes
    size: int
    chunks: Iterator[bytes]


Piece = bytes | FileContent
# Gets each member: a path descriptor, its path, and what the tar says of it.
Took = Callable[[int, bytes, TarEntry], None]


def pack_tree(root_fd: int, path: bytes, *, name: bytes) -> Iterator[bytes]:
    """Yield a tar of what is at `path` and below; members are called `name/...`.

    Args:
        root_fd: The tree's root; `path` must not lead through links.
        path: Relative; empty for the whole root.
        name: What `path` is called in the archive; empty leaves the top itself out.

    Raises:
        Internal: The tree cannot be read.
    """
    packer = _Packer(root_fd)
    pending = [(path, name)]
    while pending:
        at, called = pending.pop()
        yield from _flat(packer.member(at, called))
        children = packer.children(at)
        pending += [(_join(at, base), _join(called, base)) for base in reversed(children)]
    yield END_OF_ARCHIVE


def pack_changes(
    root_fd: int, changes: Iterable[Change], *, latest_ns: int | None = None
) -> Iterator[bytes]:
    """Yield the layer tar of `changes`, sorted by path, in the tree `root_fd`.

    Args:
        root_fd: The changed tree.
        changes: What to archive.
        latest_ns: Later times become this one, Unix nanoseconds; None: they stay.

    Raises:
        Internal: The tree cannot be read.
    """
    yield from _flat(change_pieces(root_fd, changes, latest_ns=latest_ns))


def change_pieces(
    root_fd: int,
    changes: Iterable[Change],
    *,
    latest_ns: int | None = None,
    took: Took | None = None,
) -> Iterator[Piece]:
    """Yield the tar of `pack_changes` in pieces: files' contents by themselves.

    Args:
        root_fd: The changed tree.
        changes: What to archive.
        latest_ns: As there.
        took: Called with each member that is no deletion, before its first piece.

    Raises:
        Internal: The tree cannot be read.
    """
    packer = _Packer(root_fd, whole_seconds=True, latest_ns=latest_ns, took=took)
    for change in changes:
        path = os.fsencode(change.path).lstrip(b"/")
        if change.kind == _DELETED:
            yield entry_header(TarEntry(name=whiteout_name(path), kind=b"0", mode=0))
        elif not path.rpartition(b"/")[2].startswith(WHITEOUT_PREFIX):
            # A file of that name would delete another one when the layer is unpacked.
            yield from packer.member(path, path)
    yield END_OF_ARCHIVE


def whiteout_name(path: bytes) -> bytes:
    """Return what the member is called that deletes `path`."""
    above, _, base = path.rpartition(b"/")
    return _join(above, WHITEOUT_PREFIX + base)


class _Packer:
    def __init__(
        self,
        root_fd: int,
        *,
        whole_seconds: bool = False,
        latest_ns: int | None = None,
        took: Took | None = None,
    ) -> None:
        self._root_fd = root_fd
        self._latest_ns = latest_ns
        self._whole_seconds = whole_seconds
        self._took = took
        self._links: dict[tuple[int, int], bytes] = {}

    def member(self, path: bytes, name: bytes) -> Iterator[Piece]:
        """Yield one member; nothing when it is gone, a socket, or has no name."""
        if not name:
            return
        with suppress(FileNotFoundError):
            node = self._open(path, _NODE)
            try:
                status = os.fstat(node)
                kind = _KINDS.get(stat.S_IFMT(status.st_mode))
                if kind is None:
                    return  # a socket: nothing would listen on it
                entry = self._entry(node, status, kind, name)
                if self._took is not None:
                    self._took(node, path, entry)
            finally:
                os.close(node)
            if entry.kind != b"0":
                yield entry_header(entry)
            else:
                yield from self._file(path, entry)

    def children(self, path: bytes) -> list[bytes]:
        """Return the names in a directory, sorted; none for anything else."""
        try:
            descriptor = self._open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return []
        try:
            return sorted(map(os.fsencode, os.listdir(descriptor)))  # noqa: PTH208 - descriptor
        finally:
            os.close(descriptor)

    def _open(self, path: bytes, flags: int) -> int:
        """Open below the root without following any link.

        Raises:
            FileNotFoundError: Gone, or replaced by something else.
        """
        try:
            return open_in_root(self._root_fd, path, flags, follow=False)
        except OSError as exc:
            if exc.errno in _GONE:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from exc
            raise Internal(f"cannot archive {path[:200]!r}: {exc.strerror}") from exc

    def _entry(self, node: int, status: os.stat_result, kind: bytes, name: bytes) -> TarEntry:
        entry = TarEntry(
            name=name,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
        )
        if self._latest_ns is not None:
            entry.mtime_ns = min(entry.mtime_ns, self._latest_ns)
        if self._whole_seconds:
            entry.mtime_ns -= entry.mtime_ns % 1_000_000_000
        if status.st_nlink > 1 and kind != DIRECTORY:
            first = self._links.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                entry.kind, entry.link = HARD_LINK, first
                return entry
        if kind == SYMLINK:
            entry.link = os.fsencode(os.readlink(b"", dir_fd=node))
        elif kind in (CHAR_DEVICE, BLOCK_DEVICE):
            entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        else:
            entry.xattrs = kept_xattrs(node)
            entry.size = status.st_size if kind == b"0" else 0
        return entry

    def _file(self, path: bytes, entry: TarEntry) -> Iterator[Piece]:
        descriptor = self._open(path, _READ)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return
            entry.size = status.st_size
            yield entry_header(entry)
            if entry.size:
                yield FileContent(path, entry.size, _content(descriptor, entry.size))
                yield padding(entry.size)
        finally:
            os.close(descriptor)


class ChunkReader:
    """Reads from an iterator of chunks as from a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = b""

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer at the end; they are read again."""
        while len(self._left) < size and (chunk := next(self._chunks, None)) is not None:
            self._left += chunk
        return self._left[:size]

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; nothing at the end."""
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._left = chunk
        data = self._left if size < 0 else self._left[:size]
        self._left = self._left[len(data) :]
        return data


def kept_xattrs(node: int) -> dict[str, bytes]:
    """Return what a layer keeps of the file `node`: capabilities and user attributes.

    Names that a tar cannot hold, or that unpacking it would drop, are left out.
    """
    path = f"/proc/self/fd/{node}"
    try:
        names = os.listxattr(path)
    except OSError as exc:
        if exc.errno == errno.ENOTSUP:
            return {}
        raise
    kept = {}
    for name in sorted(names):
        # In a header `=` ends the name.
        if is_kept_xattr(name, _CAPABILITIES) and "=" not in name:
            with suppress(OSError):  # removed meanwhile
                kept[name] = os.getxattr(path, name)
    return kept


def _content(descriptor: int, size: int) -> Iterator[bytes]:
    while size:
        data = os.read(descriptor, min(size, _CHUNK)) or bytes(min(size, _CHUNK))
        size -= len(data)
        yield data


def _flat(pieces: Iterable[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            yield from piece.chunks


def _join(above: bytes, base: bytes) -> bytes:
    return above + b"/" + base if above else base
