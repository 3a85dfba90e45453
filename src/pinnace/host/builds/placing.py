"""Copying into the mounted root of a build step, as COPY and ADD do.

The root is an image's and may hold any link: targets are resolved by the kernel inside it, and
the writing is `snapshots.unpack`'s, which never joins paths. Rules of names and attributes are
those of Docker's classic builder (moby, builder/dockerfile/copy.go).
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pinnace.contracts.build_files import (
    CopyJob,
    DirectoryJob,
    EntryKind,
    Selection,
    SourceEntry,
)
from pinnace.contracts.snapshots import ByteSource, UnpackLimits
from pinnace.errors import Internal, InvalidParameter
from pinnace.host.builds.modes import changed_mode
from pinnace.host.content.inflate import CorruptStream, InflatedLayer
from pinnace.host.kernel.paths import O_PATH_DIRECTORY, open_in_root
from pinnace.host.runtime.users import identity, read_file
from pinnace.host.snapshots.tree import remove_at
from pinnace.host.snapshots.unpack import TreeWriter
from pinnace.oci.tar_reader import (
    BLOCK_DEVICE,
    CHAR_DEVICE,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    SYMLINK,
    BrokenArchive,
    ByteStream,
    TarEntry,
    TarReader,
)

_CHUNK = 1 << 20
_MAX_LINKS = 40
_HEADERS = 4 << 20  # more than the headers before any member take
_KINDS: Mapping[EntryKind, bytes] = {
    "file": b"0",
    "hardlink": HARD_LINK,
    "symlink": SYMLINK,
    "char": CHAR_DEVICE,
    "block": BLOCK_DEVICE,
    "directory": DIRECTORY,
    "fifo": FIFO,
}


class Contents(Protocol):
    """Gives the bytes of entries."""

    def open(self, entry: SourceEntry) -> tuple[int, int]:
        """Return a descriptor (the caller closes it) and where in it the content begins."""
        ...


@dataclass(frozen=True, slots=True)
class _Ownership:
    """Who gets what is copied: the entries' own ids when `ids` is None."""

    ids: tuple[int, int] | None
    mode: str
    mtime_ns: int | None


class RootWriter:
    """Does jobs in one mounted root."""

    def __init__(self, root_fd: int, limits: UnpackLimits) -> None:
        """Write below `root_fd`, which stays the caller's."""
        self._root_fd = root_fd
        self._limits = limits

    def make_directory(self, job: DirectoryJob) -> None:
        """Make a directory and what is missing above it.

        Raises:
            InvalidParameter: Something else is there, or the owner is unknown.
        """
        path = self._final(os.fsencode(job.target))
        ids = self._ids(job.owner)
        try:
            self._make(path, ids)
        except InvalidParameter:
            raise InvalidParameter(f"cannot mkdir: {job.target} is not a directory") from None

    def copy(self, job: CopyJob, contents: Contents) -> None:
        """Copy selections to their target.

        Raises:
            InvalidParameter: The target or the owner cannot be.
            Internal: The host failed.
        """
        owner = _Ownership(
            None if job.owner is None else self._ids(job.owner), job.mode, job.mtime_ns
        )
        try:
            for selection in job.selections:
                if selection.is_directory:
                    self._copy_directory(job, selection, contents, owner)
                else:
                    self._copy_file(job, selection, contents, owner)
        except InvalidParameter as exc:
            raise InvalidParameter(f"failed to copy files: {exc.message}") from exc

    def _copy_directory(
        self, job: CopyJob, selection: Selection, contents: Contents, owner: _Ownership
    ) -> None:
        above = os.fsencode(job.target)
        if selection.name:
            above += b"/" + os.fsencode(selection.name)
        target = self._target(job, above)
        if not self._is_directory(target):
            self._make(self._parent(target), (0, 0), replacing=job.link)
            self._make(target, owner.ids or (0, 0), replacing=job.link)
        prefix = len(selection.base) + 1 if selection.base else 0
        members = _Members(selection.entries, contents, owner, prefix=prefix)
        self._write(target, members, owner)

    def _copy_file(
        self, job: CopyJob, selection: Selection, contents: Contents, owner: _Ownership
    ) -> None:
        entry = selection.entries[0]
        if job.unpack and entry.kind == "file" and _is_archive(entry, contents):
            self._unpack(job, entry, contents)
            return
        target = self._target(job, os.fsencode(job.target))
        if job.target.endswith("/") or (not job.link and self._is_directory(target)):
            target = _join(target, os.fsencode(selection.name))
        above, _, base = target.rpartition(b"/")
        if not base:
            raise InvalidParameter("cannot copy a file over the root directory")
        self._make(above, owner.ids or (0, 0), replacing=job.link)
        members = _Members([entry], contents, owner, rename=base)
        self._write(above, members, owner)

    def _unpack(self, job: CopyJob, entry: SourceEntry, contents: Contents) -> None:
        target = self._target(job, os.fsencode(job.target))
        self._make(target, (0, 0), replacing=job.link)
        rules = _Rules((0, 0))
        with (
            _Reader(entry, contents) as source,
            InflatedLayer(source, self._limits) as inflated,
        ):
            writer = TreeWriter(self._root_fd, rules, limits=self._limits, prefix=target)
            writer.write_all(TarReader(ByteStream(iter(inflated))))

    def _write(self, target: bytes, members: "_Members", owner: _Ownership) -> None:
        writer = TreeWriter(
            self._root_fd,
            _Rules(owner.ids or (0, 0)),
            limits=self._limits,
            prefix=target,
            owner=owner.ids,
        )
        writer.write_all(members)

    def _ids(self, owner: str) -> tuple[int, int]:
        if not owner:
            return 0, 0
        user, colon, group = owner.partition(":")
        passwd = read_file(self._root_fd, "/etc/passwd")
        groups = read_file(self._root_fd, "/etc/group")
        try:
            uid = identity(user, (), passwd=passwd, group=groups).uid
        except InvalidParameter:
            raise _unknown("uid", "user", user) from None
        # Without a group its name is the user's, too: parseChownFlag of moby.
        named = group if colon else user
        try:
            return uid, identity(f"0:{named}", (), passwd=passwd, group=groups).gid
        except InvalidParameter:
            raise _unknown("gid", "group", named) from None

    def _target(self, job: CopyJob, path: bytes) -> bytes:
        """Return where something goes; with `link` whatever links are there count for nothing."""
        if not job.link:
            return self._final(path)
        at: list[bytes] = []
        for part in path.split(b"/"):
            if part == b"..":
                at = at[:-1]
            elif part not in (b"", b"."):
                at.append(part)
        return b"/".join(at)

    def _make(self, path: bytes, ids: tuple[int, int], *, replacing: bool = False) -> None:
        """Make a directory at a path without links, with what is missing above it.

        Args:
            path: In the root.
            ids: Owner of what is made.
            replacing: Whatever is in the way is removed.
        """
        if not path:
            return
        if self._is_directory(path):
            return
        above, base = self._parent(path), path.rpartition(b"/")[2]
        self._make(above, ids, replacing=replacing)
        parent = open_in_root(self._root_fd, above, O_PATH_DIRECTORY, follow=False)
        try:
            if replacing:
                with suppress(FileNotFoundError):
                    remove_at(parent, base)
            os.mkdir(base, 0o755, dir_fd=parent)
            os.chown(base, *ids, dir_fd=parent, follow_symlinks=False)
        except FileExistsError as exc:
            raise InvalidParameter(f"mkdir /{os.fsdecode(path)}: not a directory") from exc
        except OSError as exc:
            raise Internal(f"mkdir /{os.fsdecode(path)}: {exc.strerror}") from exc
        finally:
            os.close(parent)

    def _is_directory(self, path: bytes) -> bool:
        try:
            os.close(open_in_root(self._root_fd, path, O_PATH_DIRECTORY, follow=False))
        except OSError:
            return False
        return True

    def _final(self, path: bytes, links: int = 0) -> bytes:
        """Return where `path` leads to in the root, also when nothing is there yet."""
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        at = b""
        while parts:
            part = parts.pop(0)
            if part == b"..":
                at = self._parent(at)
                continue
            below = _join(at, part)
            link = self._link(below)
            if link is None:
                at = below
                continue
            links += 1
            if links > _MAX_LINKS:
                raise InvalidParameter(f"too many links: {os.fsdecode(path)}")
            if link.startswith(b"/"):
                at = b""
            parts = [word for word in link.split(b"/") if word not in (b"", b".")] + parts
        return at

    def _link(self, path: bytes) -> bytes | None:
        try:
            found = open_in_root(self._root_fd, path, os.O_PATH | os.O_NOFOLLOW, follow=True)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise Internal(f"/{os.fsdecode(path)}: {exc.strerror}") from exc
        try:
            if not stat.S_ISLNK(os.fstat(found).st_mode):
                return None
            return os.readlink(b"", dir_fd=found)
        finally:
            os.close(found)

    @staticmethod
    def _parent(path: bytes) -> bytes:
        return path.rpartition(b"/")[0]


class _Rules:
    """Writes into a root that nobody else uses."""

    def __init__(self, ids: tuple[int, int]) -> None:
        self._ids = ids

    def displace(self, parent: int, base: bytes, path: bytes, *, directory: bool) -> None:
        remove_at(parent, base)

    def covered(self, parent: int, base: bytes, path: bytes) -> None:
        """Nothing is below."""

    def whiteout(self, parent: int, base: bytes, path: bytes) -> None:
        raise InvalidParameter(f"invalid device number in archive: {path!r}")

    def opaque(self, parent: int, path: bytes) -> None:
        """Nothing is below."""

    def implied(self, descriptor: int, path: bytes) -> None:
        os.fchown(descriptor, *self._ids)
        os.fchmod(descriptor, 0o755)

    def created(self, path: bytes) -> None:
        """Nothing to note."""


class _Members:
    """Selected entries as members of an archive; implements `unpack.Members`."""

    def __init__(
        self,
        entries: Sequence[SourceEntry],
        contents: Contents,
        owner: _Ownership,
        *,
        prefix: int = 0,
        rename: bytes = b"",
    ) -> None:
        self._entries = iter(entries)
        self._contents = contents
        self._owner = owner
        self._prefix = prefix
        self._rename = rename
        self._names: dict[int, bytes] = {}
        self._current: SourceEntry | None = None

    def next_entry(self) -> TarEntry | None:
        entry = self._current = next(self._entries, None)
        if entry is None:
            return None
        name = self._rename or os.fsencode(entry.path[self._prefix :])
        mode = entry.mode
        if self._owner.mode and entry.kind != "symlink":
            mode = changed_mode(mode, self._owner.mode, is_directory=entry.kind == "directory")
        mtime_ns = entry.mtime_ns
        if self._owner.mtime_ns is not None:
            mtime_ns = min(mtime_ns, self._owner.mtime_ns)
        member = TarEntry(
            name=name,
            kind=_KINDS[entry.kind],
            mode=mode,
            uid=entry.uid,
            gid=entry.gid,
            size=entry.size,
            mtime_ns=mtime_ns,
            link=os.fsencode(entry.link),
            device=entry.device,
            xattrs=entry.xattrs,
        )
        if entry.inode:
            first = self._names.setdefault(entry.inode, name)
            if first != name:
                member.kind, member.link, member.size = HARD_LINK, first, 0
        return member

    def content(self) -> Iterator[bytes]:
        if self._current is not None and self._current.size:
            yield from _content(self._current, self._contents)


def _unknown(id_: str, kind: str, name: str) -> InvalidParameter:
    return InvalidParameter(
        "unable to convert uid/gid chown string to host mapping: "
        f"can't find {id_} for {kind} {name}: no such {kind}: {name}"
    )


def _content(entry: SourceEntry, contents: Contents) -> Iterator[bytes]:
    descriptor, at = contents.open(entry)
    try:
        left = entry.size
        while left:
            data = os.pread(descriptor, min(left, _CHUNK), at)
            if not data:
                raise Internal(f"{entry.path} is shorter than it was")
            yield data
            left -= len(data)
            at += len(data)
    finally:
        os.close(descriptor)


class _Reader:
    """Reads an entry's content as a file."""

    def __init__(self, entry: SourceEntry, contents: Contents) -> None:
        self._descriptor, self._at = contents.open(entry)
        self._left = entry.size

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = os.pread(self._descriptor, min(wanted, _CHUNK), self._at)
        self._left -= len(data)
        self._at += len(data)
        return data


def _is_archive(entry: SourceEntry, contents: Contents) -> bool:
    """Whether a file is a tar with at least one member, compressed or not."""
    if entry.size == 0:
        return False
    with _Reader(entry, contents) as source, InflatedLayer(source, UnpackLimits()) as inflated:
        try:
            return TarReader(ByteStream(_begun(inflated))).next_entry() is not None
        except (BrokenArchive, CorruptStream):
            return False


def _begun(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the first chunks, which have room for any header."""
    total = 0
    for chunk in chunks:
        yield chunk
        total += len(chunk)
        if total > _HEADERS:
            break


def _join(above: bytes, base: bytes) -> bytes:
    return above + b"/" + base if above else base
