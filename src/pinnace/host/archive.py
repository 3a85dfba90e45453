"""Archives of, and into, the root of a container: `docker cp`, export.

Every path is resolved by the kernel inside the root that `root_fd` is open on, so a container
that renames directories or plants links meanwhile stays inside its own tree.
"""

import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from pinnace.contracts.snapshots import ByteSource, UnpackLimits
from pinnace.errors import InvalidParameter, NotFound
from pinnace.host.content.inflate import InflatedLayer
from pinnace.host.kernel.paths import O_PATH_DIRECTORY, open_in_root, real_path
from pinnace.host.snapshots.pack import pack_tree
from pinnace.host.snapshots.tree import remove_at
from pinnace.host.snapshots.unpack import TreeWriter
from pinnace.oci.tar_reader import ByteStream, TarReader


@dataclass(frozen=True, slots=True)
class PathStat:
    """What is at a path.

    Attributes:
        name: Last component of the path as asked for.
        size: Bytes.
        mode: `st_mode`.
        mtime_ns: Unix nanoseconds.
        link_target: Of a symbolic link, resolved inside the root (absolute); else "".
    """

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""


def stat_path(root_fd: int, path: str) -> PathStat:
    """Look at `path`; its last component is not followed unless a slash ends it.

    Raises:
        NotFound: It is not there.
    """
    descriptor, where = _open_last(root_fd, path)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    target = ""
    if stat.S_ISLNK(status.st_mode):
        target = _resolved(root_fd, where)
    name = os.fsdecode(_clean(path).rpartition(b"/")[2]) or "/"
    return PathStat(name, status.st_size, status.st_mode, status.st_mtime_ns, target)


def pack_path(root_fd: int, path: str, *, name: str | None = None) -> Iterator[bytes]:
    """Return a tar of what is at `path`, as `GET /containers/{id}/archive` gives it.

    Args:
        root_fd: The container's root.
        path: A trailing slash or `/.` asks for what a link leads to.
        name: What the top member is called; None: the last component of `path`.

    Raises:
        NotFound: It is not there.
    """
    descriptor, where = _open_last(root_fd, path)
    os.close(descriptor)
    called = os.fsencode(name) if name is not None else _clean(path).rpartition(b"/")[2]
    if not called:
        called = b"."
    return pack_tree(root_fd, where, name=called)


def export_root(root_fd: int) -> Iterator[bytes]:
    """Return a tar of the whole root, as `docker export` gives it."""
    return pack_tree(root_fd, b"", name=b"")


def extract_archive(
    source: ByteSource,
    root_fd: int,
    path: str,
    *,
    no_overwrite_dir_non_dir: bool = False,
    owner: tuple[int, int] | None = None,
    limits: UnpackLimits | None = None,
) -> None:
    """Unpack a tar (plain or compressed) into the directory `path` of the root.

    What exists is replaced, directories are merged.

    Args:
        source: The archive.
        root_fd: The container's root.
        path: A directory, or a link to one inside the root.
        no_overwrite_dir_non_dir: Refuse to replace a directory by something else, and the reverse.
        owner: (uid, gid) for everything; None: as in the archive.
        limits: Caps.

    Raises:
        NotFound: `path` is not there.
        InvalidParameter: `path` is no directory, or the archive is broken or
            hostile, or `no_overwrite_dir_non_dir` forbids it.
    """
    limits = limits or UnpackLimits()
    where = _directory_path(root_fd, path)
    rules = _LiveRules(strict=no_overwrite_dir_non_dir)
    with InflatedLayer(source, limits) as inflated:
        writer = TreeWriter(root_fd, rules, limits=limits, prefix=where, owner=owner)
        writer.write_all(TarReader(ByteStream(iter(inflated))))


class _LiveRules:
    """Unpacks into a tree that is in use."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict

    def displace(self, parent: int, base: bytes, path: bytes, *, directory: bool) -> None:
        if self._strict:
            status = os.stat(base, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) != directory:
                here, there = ("non-directory", "directory")[:: -1 if not directory else 1]
                name = os.fsdecode(path)
                raise InvalidParameter(f'cannot overwrite {here} "/{name}" with {there} "{name}"')
        remove_at(parent, base)

    def covered(self, parent: int, base: bytes, path: bytes) -> None:
        """Nothing is below."""

    def whiteout(self, parent: int, base: bytes, path: bytes) -> None:
        """A device 0/0 of the archive: a container's tree cannot have one."""
        raise InvalidParameter(f"invalid device number in archive: {path!r}")

    def opaque(self, parent: int, path: bytes) -> None:
        """Nothing is below."""

    def implied(self, descriptor: int, path: bytes) -> None:
        """A new directory keeps root and 0755."""
        os.fchmod(descriptor, 0o755)

    def created(self, path: bytes) -> None:
        """Nothing to note."""


def _open_last(root_fd: int, path: str) -> tuple[int, bytes]:
    """Open what `path` names, for its attributes only; return it with its path in the root."""
    flags = os.O_PATH
    if not path.endswith(("/", "/.")) and path != ".":
        flags |= os.O_NOFOLLOW
    try:
        descriptor = open_in_root(root_fd, os.fsencode(path), flags)
    except OSError as exc:
        raise NotFound(f"no such file or directory: {path}") from exc
    try:
        return descriptor, real_path(descriptor, root_fd)
    except BaseException:
        os.close(descriptor)
        raise


def _directory_path(root_fd: int, path: str) -> bytes:
    try:
        descriptor = open_in_root(root_fd, os.fsencode(path), O_PATH_DIRECTORY)
    except NotADirectoryError as exc:
        raise InvalidParameter("extraction point is not a directory") from exc
    except OSError as exc:
        raise NotFound(f"no such file or directory: {path}") from exc
    try:
        return real_path(descriptor, root_fd)
    finally:
        os.close(descriptor)


def _resolved(root_fd: int, link: bytes) -> str:
    """Return where a link leads to inside the root; also when nothing is there."""
    try:
        descriptor = open_in_root(root_fd, link, os.O_PATH)
    except OSError:
        above = open_in_root(root_fd, link.rpartition(b"/")[0], O_PATH_DIRECTORY)
        try:
            base = link.rpartition(b"/")[2]
            target = os.fsdecode(os.readlink(base, dir_fd=above))
        finally:
            os.close(above)
        above_text = "/" + os.fsdecode(link.rpartition(b"/")[0])
        return posixpath.normpath(posixpath.join(above_text, target))
    try:
        return "/" + os.fsdecode(real_path(descriptor, root_fd))
    finally:
        os.close(descriptor)


def _clean(path: str) -> bytes:
    return os.fsencode(posixpath.normpath("/" + path).lstrip("/"))
