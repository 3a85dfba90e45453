"""Trees of images and stages to copy from: real directories, every step resolved in their root."""

import errno
import os
import stat
from collections.abc import Sequence

from pinnace.contracts.build_files import EntryKind, SourceEntry
from pinnace.errors import Internal, NotFound
from pinnace.host.builds import tarsum
from pinnace.host.kernel.paths import open_in_root, real_path
from pinnace.host.snapshots.pack import kept_xattrs

_NODE = os.O_PATH | os.O_NOFOLLOW
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_CHUNK = 1 << 20
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))
_KINDS: dict[int, EntryKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


class MountedTree:
    """Implements `contracts.build_files.SourceTree` over a mounted root; docstrings hold here."""

    def __init__(self, root_fd: int) -> None:
        """Read below `root_fd`, which stays the caller's."""
        self._root_fd = root_fd
        self._inodes: dict[tuple[int, int], int] = {}

    def resolve(self, path: str) -> str | None:
        """See the contract."""
        try:
            found = open_in_root(self._root_fd, os.fsencode(path), os.O_PATH)
        except OSError as exc:
            if exc.errno in _GONE:
                return None
            raise _unreadable(path, exc) from exc
        try:
            return os.fsdecode(real_path(found, self._root_fd))
        finally:
            os.close(found)

    def entry(self, path: str) -> SourceEntry:
        """See the contract."""
        found = self._entry(path)
        if found is None:
            raise NotFound(f"stat {path}: file does not exist")
        return found

    def children(self, path: str) -> Sequence[str]:
        """See the contract."""
        try:
            descriptor = open_in_root(self._root_fd, os.fsencode(path), _LIST, follow=False)
        except OSError as exc:
            if exc.errno in _GONE:
                return []
            raise _unreadable(path, exc) from exc
        try:
            return sorted(os.listdir(descriptor))  # noqa: PTH208 - descriptor
        finally:
            os.close(descriptor)

    def walk(self, path: str) -> Sequence[SourceEntry]:
        """See the contract."""
        found: list[SourceEntry] = []
        pending = [_join(path, name) for name in reversed(self.children(path))]
        while pending:
            at = pending.pop()
            entry = self._entry(at)
            if entry is None:
                continue  # a socket, which no layer has
            found.append(entry)
            if entry.kind == "directory":
                pending += [_join(at, name) for name in reversed(self.children(at))]
        return found

    def _entry(self, path: str) -> SourceEntry | None:
        try:
            node = open_in_root(self._root_fd, os.fsencode(path), _NODE, follow=False)
        except OSError as exc:
            if exc.errno in _GONE:
                raise NotFound(f"stat {path}: file does not exist") from exc
            raise _unreadable(path, exc) from exc
        try:
            return self._described(path, node)
        finally:
            os.close(node)

    def _described(self, path: str, node: int) -> SourceEntry | None:
        status = os.fstat(node)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return None
        link = os.readlink("", dir_fd=node) if kind == "symlink" else ""
        xattrs = {} if kind == "symlink" else kept_xattrs(node)
        return SourceEntry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if kind == "file" else 0,
            mtime_ns=status.st_mtime_ns,
            link=link,
            device=_device(status) if kind in ("char", "block") else (0, 0),
            xattrs=xattrs,
            sum=self._sum(path, status, link, xattrs),
            inode=self._inode(status) if kind != "directory" else 0,
        )

    def _inode(self, status: os.stat_result) -> int:
        if status.st_nlink < 2:
            return 0
        return self._inodes.setdefault((status.st_dev, status.st_ino), len(self._inodes) + 1)

    def _sum(self, path: str, status: os.stat_result, link: str, xattrs: dict[str, bytes]) -> str:
        capability = {k: v for k, v in xattrs.items() if k.startswith("security.")}
        total = tarsum.begin_status(path, status, link=link, xattrs=capability)
        if stat.S_ISREG(status.st_mode) and status.st_size:
            descriptor = open_in_root(self._root_fd, os.fsencode(path), _READ, follow=False)
            try:
                while data := os.read(descriptor, _CHUNK):
                    total.update(data)
            finally:
                os.close(descriptor)
        return total.hexdigest()


def _device(status: os.stat_result) -> tuple[int, int]:
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def _join(above: str, base: str) -> str:
    return f"{above}/{base}" if above else base


def _unreadable(path: str, cause: OSError) -> Internal:
    return Internal(f"cannot read {path}: {cause.strerror}")
