"""Making a layer of the upper directory of an overlay as it is, without copying any file.

One pass reads what changed: the bytes of the layer's tar are hashed, those that are not content
go into the recipe (docs/adr/0003-layer-recipes.md), and every file gets the attributes that it
would have if the tar had been unpacked. Then what the tar leaves out is removed. The tree was
written by whoever ran in the container: no link in it is followed, and a layer's limits hold.
"""

import errno
import hashlib
import os
from collections.abc import Collection, Iterable, Sequence

from pinnace.contracts.snapshots import Change, LayerStat, UnpackLimits
from pinnace.errors import InvalidParameter
from pinnace.host.content.inflate import check_growth
from pinnace.host.kernel.paths import open_in_root
from pinnace.host.snapshots.compare import DELETED, OPAQUE_XATTR
from pinnace.host.snapshots.layers import Arrival
from pinnace.host.snapshots.pack import change_pieces, whiteout_name
from pinnace.host.snapshots.recipe import RecipeWriter
from pinnace.host.snapshots.tree import remove_at
from pinnace.oci.digest import Digest
from pinnace.oci.layer import is_kept_xattr, safe_path
from pinnace.oci.tar_reader import (
    BLOCK,
    DIRECTORY,
    HARD_LINK,
    MAX_EXTENSION_BYTES,
    BrokenArchive,
    TarEntry,
)

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_MARK = "/.wh."
_MAX_HEADER_BYTES = MAX_EXTENSION_BYTES + 2 * BLOCK


def has_mark_names(changes: Iterable[Change]) -> bool:
    """Whether a file is called like a whiteout.

    A layer's tar cannot hold such a file, and what is in such a directory comes out of the tar
    differently: those changes have to be packed and unpacked.
    """
    return any(_MARK in change.path for change in changes)


def seal_tree(
    upper_fd: int,
    changes: Sequence[Change],
    recipe: RecipeWriter,
    *,
    limits: UnpackLimits,
    latest_ns: int | None,
) -> Arrival:
    """Give a tree the form of a layer, but for the attributes of its root, and write the recipe.

    Args:
        upper_fd: The upper directory of an overlay that is not mounted.
        changes: All that changed, sorted by path; see `has_mark_names`.
        recipe: Takes the tar; it is closed at the end.
        limits: As for unpacking the tar.
        latest_ns: As for `pack.pack_changes`.

    Raises:
        InvalidParameter: The changes are over a limit.
        Internal: The tree cannot be read.
        OSError: Its attributes cannot be set.
    """
    settling = _Settling(limits)
    settling.deleted(os.fsencode(at.path[1:]) for at in changes if at.kind == DELETED)
    digest = hashlib.sha256()
    total = 0
    pieces = change_pieces(upper_fd, changes, latest_ns=latest_ns, took=settling)
    for piece in pieces:
        total += len(piece) if isinstance(piece, bytes) else piece.size
        check_growth(total, total, limits)
        if isinstance(piece, bytes):
            _check_header(piece)
            recipe.raw(piece)
            digest.update(piece)
            continue
        recipe.content(piece.path, piece.size)
        for chunk in piece.chunks:
            digest.update(chunk)
    recipe.close()
    _prune(upper_fd, settling.kept)
    _strip(f"/proc/self/fd/{upper_fd}", ())
    diff_id = Digest("sha256:" + digest.hexdigest())
    return Arrival(LayerStat(diff_id, settling.size, diff_id, total, total), settling.inodes)


class _Settling:
    """Gives members of the tar, as they come by, the attributes that unpacking would give them.

    Attributes:
        kept: The paths that belong to the layer.
        size: Sum of the files' sizes.
        inodes: Counted as unpacking counts them.
    """

    def __init__(self, limits: UnpackLimits) -> None:
        self._limits = limits
        self.kept: set[bytes] = set()
        self.size = 0
        self.inodes = 0

    def deleted(self, paths: Iterable[bytes]) -> None:
        """Take note of the whiteouts."""
        for path in paths:
            safe_path(whiteout_name(path), max_length=self._limits.max_path)
            self._keep(path)

    def __call__(self, node: int, path: bytes, entry: TarEntry) -> None:
        safe_path(path, max_length=self._limits.max_path)
        self._keep(path)
        self.inodes += 1
        if entry.kind == HARD_LINK:
            return  # the first name of the same file has come by
        self.size += entry.size
        where = f"/proc/self/fd/{node}"
        marks = (OPAQUE_XATTR,) if entry.kind == DIRECTORY else ()
        kept = [name for name in entry.xattrs if is_kept_xattr(name, self._limits.xattrs)]
        _strip(where, (*kept, *marks))
        os.utime(where, ns=(entry.mtime_ns, entry.mtime_ns))

    def _keep(self, path: bytes) -> None:
        self.kept.add(path)
        if len(self.kept) > self._limits.max_entries:
            raise InvalidParameter(f"more than {self._limits.max_entries} entries")


def _check_header(piece: bytes) -> None:
    """Refuse what the reader of tars would."""
    if len(piece) > _MAX_HEADER_BYTES:
        raise BrokenArchive("extension header is too long")


def _strip(where: str, kept: Collection[str]) -> None:
    """Remove extended attributes that a layer does not have.

    That are access lists, what a command set of its own, and all notes of overlayfs but the
    opaque marks. Labels of the host's security modules stay: every file has the host's.
    """
    try:
        names = os.listxattr(where)
    except OSError as exc:
        if exc.errno == errno.ENOTSUP:
            return
        raise
    for name in names:
        label = name.startswith("security.") and name != "security.capability"
        if name not in kept and not label:
            os.removexattr(where, name)


def _prune(root_fd: int, kept: Collection[bytes]) -> None:
    """Remove every path that is not among `kept`; directories keep their times."""
    pending = [b""]
    while pending:
        at = pending.pop()
        descriptor = open_in_root(root_fd, at, _OPEN, follow=False)
        try:
            pending += _prune_directory(descriptor, at, kept)
        finally:
            os.close(descriptor)


def _prune_directory(descriptor: int, at: bytes, kept: Collection[bytes]) -> list[bytes]:
    """Remove entries of one directory; return the paths of directories that stay."""
    prefix = at + b"/" if at else b""
    with os.scandir(descriptor) as entries:
        found = [(os.fsencode(one.name), one.is_dir(follow_symlinks=False)) for one in entries]
    left_out = [name for name, _ in found if prefix + name not in kept]
    if left_out:
        modified_ns = os.fstat(descriptor).st_mtime_ns
        for name in left_out:
            remove_at(descriptor, name)
        os.utime(descriptor, ns=(modified_ns, modified_ns))
    return [prefix + name for name, is_dir in found if is_dir and prefix + name in kept]
