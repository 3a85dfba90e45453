"""What a writable tree changed, compared with the layers below it."""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pinnace.contracts.snapshots import Change
from pinnace.host.kernel.paths import open_in_root

OPAQUE_XATTR = "trusted.overlay.opaque"
MODIFIED, ADDED, DELETED = 0, 1, 2
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_CAPABILITY = "security.capability"

_Directory = tuple[bytes, Sequence[int], bool]  # path, layers merged there, nothing shines through


@dataclass(frozen=True, slots=True)
class _Below:
    """One path in the layers: what is visible, and the directories that are merged there."""

    status: os.stat_result | None
    merged: Sequence[int]


class TreeComparison:
    """Compares an upper tree with lower ones.

    Args:
        upper_fd: The changed tree.
        lower_fds: Layers, topmost first, in the form of overlayfs.
        full: The upper tree is complete by itself: what it lacks was deleted. Otherwise it is an
            upper directory of overlayfs and lists deletions by whiteouts and opaque marks.
        contents: A file present in an upper directory counts as changed even when size and times
            say otherwise.
    """

    def __init__(
        self, upper_fd: int, lower_fds: Sequence[int], *, full: bool, contents: bool = False
    ) -> None:
        self._upper_fd = upper_fd
        self._lower_fds = lower_fds
        self._full = full
        self._contents = contents and not full
        self._found: dict[bytes, int] = {}

    def changes(self) -> list[Change]:
        """Return the changes sorted by path; directories above a change count as modified."""
        pending: list[_Directory] = [(b"", range(len(self._lower_fds)), self._full)]
        while pending:
            path, merged, full = pending.pop()
            pending += self._directory(path, merged, full=full)
        for path in list(self._found):
            above = path.rpartition(b"/")[0]
            while above and above not in self._found:
                self._found[above] = MODIFIED
                above = above.rpartition(b"/")[0]
        return [Change("/" + os.fsdecode(at), kind) for at, kind in sorted(self._found.items())]

    def _directory(
        self, path: bytes, merged: Sequence[int], *, full: bool
    ) -> Iterable[_Directory]:
        names = _names(self._upper_fd, path)
        full = full or self._is_opaque(self._upper_fd, path)
        if full:
            self._deleted(path, merged, set(names))
        for name in names:
            at = path + b"/" + name if path else name
            status = _status(self._upper_fd, at)
            if status is None:
                continue
            below = self._below(at, merged)
            if is_whiteout(status) and not self._full:
                if below.status is not None:
                    self._found[at] = DELETED
                continue
            self._compare(at, status, below)
            if stat.S_ISDIR(status.st_mode):
                yield at, below.merged, full

    def _compare(self, path: bytes, status: os.stat_result, below: _Below) -> None:
        if below.status is None:
            self._found[path] = ADDED
        elif self._differs(path, status, below):
            self._found[path] = MODIFIED

    def _differs(self, path: bytes, new: os.stat_result, below: _Below) -> bool:
        old = below.status
        if old is None or (new.st_mode, new.st_uid, new.st_gid) != (
            old.st_mode,
            old.st_uid,
            old.st_gid,
        ):
            return True
        if stat.S_ISDIR(new.st_mode):
            return False
        if self._contents or new.st_rdev != old.st_rdev or new.st_size != old.st_size:
            return True
        if not _same_time(new.st_mtime_ns, old.st_mtime_ns):
            return True
        return stat.S_ISREG(new.st_mode) and self._capability(path) != self._old_capability(
            path, old
        )

    def _capability(self, path: bytes) -> bytes:
        return _xattr(self._upper_fd, path, _CAPABILITY)

    def _old_capability(self, path: bytes, old: os.stat_result) -> bytes:
        for lower in self._lower_fds:
            status = _status(lower, path)
            if status is not None and status.st_ino == old.st_ino:
                return _xattr(lower, path, _CAPABILITY)
        return b""

    def _deleted(self, path: bytes, merged: Sequence[int], present: set[bytes]) -> None:
        """Note what the layers have in a directory and the upper tree has not."""
        names = {name for index in merged for name in _names(self._lower_fds[index], path)}
        for name in names - present:
            at = path + b"/" + name if path else name
            if self._below(at, merged).status is not None:
                self._found[at] = DELETED

    def _below(self, path: bytes, merged: Sequence[int]) -> _Below:
        """Look a path up in the layers as overlayfs does."""
        visible: os.stat_result | None = None
        directories: list[int] = []
        for index in merged:
            status = _status(self._lower_fds[index], path)
            if status is None:
                continue
            if is_whiteout(status) or (visible is not None and not stat.S_ISDIR(status.st_mode)):
                break
            visible = visible or status
            if not stat.S_ISDIR(status.st_mode):
                break
            directories.append(index)
            if self._is_opaque(self._lower_fds[index], path):
                break
        return _Below(visible, directories)

    def _is_opaque(self, root_fd: int, path: bytes) -> bool:
        return _xattr(root_fd, path, OPAQUE_XATTR) == b"y"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether overlayfs takes this for a deleted entry."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _same_time(one: int, other: int) -> bool:
    """Compare times; one without a fraction came through a tar and lost it."""
    if one == other:
        return True
    whole = 1_000_000_000
    return one // whole == other // whole and (one % whole == 0 or other % whole == 0)


def _names(root_fd: int, path: bytes) -> list[bytes]:
    try:
        descriptor = open_in_root(root_fd, path, os.O_RDONLY | os.O_DIRECTORY, follow=False)
    except OSError as exc:
        if exc.errno in _GONE:
            return []
        raise
    try:
        return sorted(map(os.fsencode, os.listdir(descriptor)))  # noqa: PTH208 - descriptor
    finally:
        os.close(descriptor)


def _status(root_fd: int, path: bytes) -> os.stat_result | None:
    try:
        descriptor = open_in_root(root_fd, path, os.O_PATH | os.O_NOFOLLOW, follow=False)
    except OSError as exc:
        if exc.errno in _GONE:
            return None
        raise
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _xattr(root_fd: int, path: bytes, name: str) -> bytes:
    try:
        descriptor = open_in_root(root_fd, path, os.O_PATH | os.O_NOFOLLOW, follow=False)
    except OSError as exc:
        if exc.errno in _GONE:
            return b""
        raise
    try:
        return os.getxattr(f"/proc/self/fd/{descriptor}", name)
    except OSError as exc:
        if exc.errno in (errno.ENODATA, errno.ENOTSUP, errno.ELOOP):
            return b""
        raise
    finally:
        os.close(descriptor)
