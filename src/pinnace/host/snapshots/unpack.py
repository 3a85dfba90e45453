"""Writing the members of an archive below a root directory.

Nothing here joins paths: parents are resolved by `kernel.paths` inside the root, the last
component is created with O_EXCL and O_NOFOLLOW relative to its parent's descriptor, and
attributes are set through the descriptor of what was created. An attacker who renames things in
the same tree meanwhile can only misplace files inside of it.
"""

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from pinnace.contracts.snapshots import UnpackLimits
from pinnace.errors import Internal, InvalidParameter
from pinnace.host.kernel.paths import O_PATH_DIRECTORY, open_in_root, real_path
from pinnace.host.snapshots.recipe import RecipeWriter
from pinnace.oci.layer import (
    OPAQUE_MARK,
    WHITEOUT_PREFIX,
    is_kept_xattr,
    safe_path,
    whiteout_target,
)
from pinnace.oci.tar_reader import (
    BLOCK_DEVICE,
    CHAR_DEVICE,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    SYMLINK,
    TarEntry,
)

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_CACHED_DIRECTORIES = 256
_NODE_TYPES = {CHAR_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}
_HOST_FAILURES = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE))


class Members(Protocol):
    """Where members come from; `TarReader` is one."""

    def next_entry(self) -> TarEntry | None:
        """Return the next member; None after the last."""
        ...

    def content(self) -> Iterator[bytes]:
        """Yield the content of the member returned last."""
        ...


class TreeRules(Protocol):
    """What differs between a layer directory, a full copy and a live root."""

    def displace(self, parent: int, base: bytes, path: bytes, *, directory: bool) -> None:
        """Take away what is at `base`, because the archive has something else for `path`.

        Args:
            parent: Descriptor of the directory.
            base: Name in it.
            path: Path below the root.
            directory: What comes is a directory.
        """
        ...

    def whiteout(self, parent: int, base: bytes, path: bytes) -> None:
        """Hide `path` of the layers below."""
        ...

    def opaque(self, parent: int, path: bytes) -> None:
        """Hide all that the layers below have in the directory `path`."""
        ...

    def implied(self, descriptor: int, path: bytes) -> None:
        """Set the attributes of a directory which the archive uses and does not list."""
        ...

    def covered(self, parent: int, base: bytes, path: bytes) -> None:
        """Take note that a new directory took the place of what `displace` removed."""
        ...

    def created(self, path: bytes) -> None:
        """Take note of a path that the archive wrote."""
        ...


class DirectoryCache:
    """Descriptors of directories inside a root, by path."""

    def __init__(self, root_fd: int, implied: Callable[[int, bytes], None]) -> None:
        """Resolve inside `root_fd`, which stays the caller's; call `implied` on those made."""
        self._root_fd = root_fd
        self._implied = implied
        self._known: dict[bytes, tuple[int, bytes]] = {}
        self._stale: list[int] = []

    def open(self, path: bytes, *, make: bool) -> tuple[int, bytes]:
        """Return a path descriptor of the directory and its path without links.

        The descriptor is the cache's and valid until the next call.

        Raises:
            OSError: ENOENT without `make`, ENOTDIR, ELOOP.
        """
        if self._stale:
            self._close_stale()
        known = self._known.get(path)
        if known is not None:
            return known
        above, _, base = path.rpartition(b"/")
        if make and base and (parent := self._known.get(above)) is not None:
            # Most likely it is missing: an archive brings its directories, and those are known.
            with contextlib.suppress(FileExistsError):
                return self._make(parent, base, path)
        missing: list[bytes] = []
        found = self._try(path)
        while found is None:
            if not make or not path:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            path, _, base = path.rpartition(b"/")
            missing.append(base)
            found = self._try(path)
        for base in reversed(missing):
            path = path + b"/" + base if path else base
            found = self._make(found, base, path)
        return found

    def add(self, path: bytes, descriptor: int) -> None:
        """Take over the descriptor of a directory; there are no links in its path."""
        if path in self._known:
            self._stale.append(descriptor)
        else:
            self._keep(path, descriptor, path)

    def forget(self) -> None:
        """Resolve anew from here on: a directory or link was replaced."""
        self._stale += [descriptor for descriptor, _ in self._known.values()]
        self._known.clear()

    def close(self) -> None:
        """Close every descriptor."""
        self.forget()
        self._close_stale()

    def _close_stale(self) -> None:
        for descriptor in self._stale:
            os.close(descriptor)
        self._stale.clear()

    def _try(self, path: bytes) -> tuple[int, bytes] | None:
        try:
            return self._known.get(path) or self._resolve(path)
        except FileNotFoundError:
            return None

    def _resolve(self, path: bytes) -> tuple[int, bytes]:
        try:
            descriptor = open_in_root(self._root_fd, path, O_PATH_DIRECTORY, follow=False)
        except OSError as exc:
            if exc.errno != errno.ELOOP:
                raise
            descriptor = open_in_root(self._root_fd, path, O_PATH_DIRECTORY)
            return self._keep(path, descriptor, real_path(descriptor, self._root_fd))
        return self._keep(path, descriptor, path)

    def _make(self, parent: tuple[int, bytes], base: bytes, path: bytes) -> tuple[int, bytes]:
        parent_fd, parent_path = parent
        os.mkdir(base, 0o755, dir_fd=parent_fd)
        real = parent_path + b"/" + base if parent_path else base
        descriptor = os.open(base, _OPEN_DIRECTORY, dir_fd=parent_fd)
        found = self._keep(path, descriptor, real)
        self._implied(descriptor, real)
        return found

    def _keep(self, path: bytes, descriptor: int, real: bytes) -> tuple[int, bytes]:
        if len(self._known) >= _CACHED_DIRECTORIES:
            self.forget()
        self._known[path] = (descriptor, real)
        return descriptor, real


class TreeWriter:
    """Applies archive members to a tree."""

    def __init__(
        self,
        root_fd: int,
        rules: TreeRules,
        *,
        limits: UnpackLimits,
        recipe: RecipeWriter | None = None,
        prefix: bytes | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Write below `root_fd`.

        Args:
            root_fd: Directory opened for reading; stays the caller's.
            rules: See there.
            limits: Entries, path length and extended attributes.
            recipe: Takes where contents went.
            prefix: Where in the root the archive goes: not a layer but an archive for a live
                tree. `.wh.` names are plain files then, and the attributes of the top directory
                stay as they are. None: a layer.
            owner: (uid, gid) for everything; None: as the archive says.
        """
        self._root_fd = root_fd
        self._rules = rules
        self._limits = limits
        self._recipe = recipe
        self._prefix = prefix
        self._owner = owner
        # Nobody else reaches a layer yet; in a live tree a file opens up when it is complete.
        self._bits = 0o777 if prefix is None else 0o600
        self._directories = DirectoryCache(root_fd, self._implied)
        self._directory_times: dict[bytes, int] = {}
        self._entries = 0
        self.size = 0
        self.inodes = 0

    def write_all(self, reader: Members) -> None:
        """Apply every member.

        Raises:
            InvalidParameter: The archive is hostile or broken.
            Internal: The host failed, for example for lack of space.
        """
        try:
            while (entry := reader.next_entry()) is not None:
                self._count()
                self._apply(entry, reader)
            self._set_directory_times()
        except OSError as exc:
            raise _named(exc) from exc
        finally:
            self._directories.close()

    def _count(self) -> None:
        self._entries += 1
        if self._entries > self._limits.max_entries:
            raise InvalidParameter(f"more than {self._limits.max_entries} entries")

    def _implied(self, descriptor: int, path: bytes) -> None:
        self._count()
        self.inodes += 1
        self._rules.implied(descriptor, path)

    def _apply(self, entry: TarEntry, reader: Members) -> None:
        path = safe_path(entry.name, max_length=self._limits.max_path)
        if not path:
            if entry.kind == DIRECTORY and self._prefix is None:
                self._set_root(entry)
            return
        if self._prefix:
            path = self._prefix + b"/" + path
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        self._place(path, entry, reader)

    def _place(self, path: bytes, entry: TarEntry, reader: Members) -> None:
        above, _, base = path.rpartition(b"/")
        parent, above = self._directories.open(above, make=True)
        path = above + b"/" + base if above else base
        if self._prefix is None and base.startswith(WHITEOUT_PREFIX):
            self._whiteout(parent, base, above)
            return
        if entry.kind == b"0":
            self._file(parent, base, path, entry, reader.content())
        elif entry.kind == DIRECTORY:
            self._directory(parent, base, path, entry)
        elif entry.kind == SYMLINK:
            self._make(parent, base, path, lambda: os.symlink(entry.link, base, dir_fd=parent))
            self._set_unopened(parent, base, entry)
        elif entry.kind == HARD_LINK:
            self._hard_link(parent, base, path, entry)
        elif entry.kind in _NODE_TYPES:
            self._node(parent, base, path, entry)
        else:
            raise InvalidParameter(f"unsupported type {entry.kind!r} in archive: {path!r}")
        self._rules.created(path)

    def _make(self, parent: int, base: bytes, path: bytes, make: Callable[[], object]) -> None:
        """Call `make`, after taking away what is in the way."""
        try:
            make()
        except FileExistsError:
            self._displace(parent, base, path)
            make()
        self.inodes += 1

    def _displace(self, parent: int, base: bytes, path: bytes, *, directory: bool = False) -> None:
        below = path + b"/"
        for known in [at for at in self._directory_times if at == path or at.startswith(below)]:
            del self._directory_times[known]
        self._rules.displace(parent, base, path, directory=directory)
        self._directories.forget()

    def _file(
        self, parent: int, base: bytes, path: bytes, entry: TarEntry, content: Iterator[bytes]
    ) -> None:
        bits = entry.mode & self._bits
        try:
            descriptor = os.open(base, _CREATE, bits, dir_fd=parent)
        except FileExistsError:
            self._displace(parent, base, path)
            descriptor = os.open(base, _CREATE, bits, dir_fd=parent)
        try:
            for chunk in content:
                write_fully(descriptor, chunk)
            self._set_opened(descriptor, entry)
        finally:
            os.close(descriptor)
        self.size += entry.size
        self.inodes += 1
        if self._recipe is not None and entry.size:
            self._recipe.content(path, entry.size)

    def _directory(self, parent: int, base: bytes, path: bytes, entry: TarEntry) -> None:
        try:
            os.mkdir(base, 0o700, dir_fd=parent)
            self.inodes += 1
        except FileExistsError:
            if not _is_directory(base, parent):
                self._displace(parent, base, path, directory=True)
                os.mkdir(base, 0o700, dir_fd=parent)
                self._rules.covered(parent, base, path)
        descriptor = os.open(base, _OPEN_DIRECTORY, dir_fd=parent)
        self._directories.add(path, descriptor)
        self._set_opened(descriptor, entry)
        self._directory_times[path] = entry.mtime_ns

    def _hard_link(self, parent: int, base: bytes, path: bytes, entry: TarEntry) -> None:
        target = safe_path(entry.link, max_length=self._limits.max_path)
        if self._prefix:
            target = self._prefix + b"/" + target
        if target == path:
            return  # a link to itself changes nothing, and must not remove it
        above, _, target_base = target.rpartition(b"/")
        kept = os.dup(parent)
        try:
            source, _ = self._directories.open(above, make=False)
            link = functools.partial(
                os.link,
                target_base,
                base,
                src_dir_fd=source,
                dst_dir_fd=kept,
                follow_symlinks=False,
            )
            self._make(kept, base, path, link)
        finally:
            os.close(kept)

    def _node(self, parent: int, base: bytes, path: bytes, entry: TarEntry) -> None:
        if entry.kind == CHAR_DEVICE and entry.device == (0, 0):
            # The kernel would take it for a whiteout, so it is one.
            self._rules.whiteout(parent, base, path)
            return
        mode = _NODE_TYPES[entry.kind] | 0o600
        device = os.makedev(*entry.device)
        self._make(parent, base, path, lambda: os.mknod(base, mode, device, dir_fd=parent))
        self._set_unopened(parent, base, entry)

    def _whiteout(self, parent: int, base: bytes, above: bytes) -> None:
        if base == OPAQUE_MARK:
            self._rules.opaque(parent, above)
            return
        target = whiteout_target(base)
        if target is not None:
            self._rules.whiteout(parent, target, above + b"/" + target if above else target)

    def _set_root(self, entry: TarEntry) -> None:
        self._set_opened(self._root_fd, entry)
        self._rules.created(b"")
        self._directory_times[b""] = entry.mtime_ns

    def _set_opened(self, descriptor: int, entry: TarEntry) -> None:
        set_access(descriptor, entry.uid, entry.gid, entry.mode)
        for name, value in entry.xattrs.items():
            if is_kept_xattr(name, self._limits.xattrs):
                _set_xattr(descriptor, name, value)
        os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))

    def _set_unopened(self, parent: int, base: bytes, entry: TarEntry) -> None:
        """Set attributes of what must not be opened: links, devices, FIFOs."""
        os.chown(base, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind != SYMLINK:
            pinned = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                if not stat.S_ISLNK(os.fstat(pinned).st_mode):
                    Path(f"/proc/self/fd/{pinned}").chmod(entry.mode)
            finally:
                os.close(pinned)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(base, ns=times, dir_fd=parent, follow_symlinks=False)

    def _set_directory_times(self) -> None:
        """Set directories' times last, deepest first: filling them changed them."""
        for path in sorted(self._directory_times, reverse=True):
            times = (self._directory_times[path],) * 2
            if not path:
                os.utime(self._root_fd, ns=times)
                continue
            above, _, base = path.rpartition(b"/")
            try:
                parent, _ = self._directories.open(above, make=False)
                os.utime(base, ns=times, dir_fd=parent, follow_symlinks=False)
            except OSError as exc:
                if exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise


def set_access(descriptor: int, uid: int, gid: int, mode: int) -> None:
    """Set owner and permission bits, which mostly are what they should be in a new file."""
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)
    elif stat.S_IMODE(found.st_mode) == mode:
        return
    os.fchmod(descriptor, mode)  # after chown, which clears set-id bits


def write_fully(descriptor: int, data: bytes) -> None:
    """Write all of `data`."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _is_directory(base: bytes, parent: int) -> bool:
    status = os.stat(base, dir_fd=parent, follow_symlinks=False)
    return stat.S_ISDIR(status.st_mode)


def _set_xattr(descriptor: int, name: str, value: bytes) -> None:
    try:
        os.setxattr(descriptor, name, value)
    except OSError as exc:
        # The filesystem below has no such attributes: Docker goes on without them as well.
        if exc.errno != errno.ENOTSUP:
            raise


def _named(exc: OSError) -> InvalidParameter | Internal:
    if exc.errno in _HOST_FAILURES:
        return Internal(f"unpacking failed: {exc.strerror}")
    where = f": {exc.filename!r}" if exc.filename else ""
    return InvalidParameter(f"invalid archive: {exc.strerror}{where}")
