"""Files of builds: contexts as clients send them, trees to copy from, and roots to copy into.

A context is never unpacked for copying: its tar is kept as one file, and its members are known by
an index that was made, digests included, while it came in.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from pinnace.contracts.snapshots import ByteSource, ChainId, SnapshotKey

EntryKind = Literal["file", "directory", "symlink", "fifo", "char", "block", "hardlink"]


class SourceEntry(msgspec.Struct, frozen=True, gc=False):
    """One file of a tree to copy from.

    Attributes:
        path: Below the tree's root, without slashes at the ends; "" is the root.
        kind: `hardlink` only in what `receive` returns.
        mode: Permission bits, set-id and sticky.
        size: Bytes of content.
        link: Target of a symbolic link; of a hard link: the path of the other name.
        device: Major and minor.
        xattrs: Extended attributes that a layer keeps.
        sum: Docker's version 1 tarsum, hex: of its header without times and of its content.
        inode: Entries with the same number are names of one file; 0: it has one name.
        start: Where its content begins in a context's archive.
    """

    path: str
    kind: EntryKind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = {}
    sum: str = ""
    inode: int = 0
    start: int = 0


class SourceTree(Protocol):
    """A tree to copy from. Methods block; links never lead out of it."""

    def resolve(self, path: str) -> str | None:
        """Return where `path` leads to, links followed inside the tree; None: nowhere."""
        ...

    def entry(self, path: str) -> SourceEntry:
        """Return the entry at a path that leads through no link, with its sum.

        Raises:
            NotFound: There is none.
        """
        ...

    def children(self, path: str) -> Sequence[str]:
        """Return the names in a directory (a path through no link), sorted; none: no directory."""
        ...

    def walk(self, path: str) -> Sequence[SourceEntry]:
        """Return all below a directory, each after its directory, in the order of names."""
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes of entries are.

    Attributes:
        context: Name of a received context; "": an image's files.
        chain: Layer whose view has them; None with neither context: an empty tree.
    """

    context: str = ""
    chain: ChainId | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """One thing to copy.

    Attributes:
        name: What it is called in a target directory; may have slashes (`--parents`).
        base: Path of the entry itself in its tree.
        is_directory: Its content is copied, not itself.
        entries: The file's own entry, or everything below the directory.
        sum: Of the directory itself; "" for the top of a tree.
    """

    name: str
    base: str
    is_directory: bool
    entries: Sequence[SourceEntry]
    sum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyJob:
    """Selections to be copied into a root.

    Attributes:
        target: Absolute path in the root; with a slash at its end it is a directory.
        owner: `user[:group]` by the root's own files; "": 0:0; None: as the entries say.
        mode: Permission bits of everything copied, octal or symbolic; "": as the entries say.
        unpack: Files that are archives are unpacked into the target instead.
        mtime_ns: No time that is copied is later; None: they stay as they are.
        link: Links and files in the target's path count for nothing: they are replaced.
    """

    origin: Origin
    selections: Sequence[Selection]
    target: str
    owner: str | None = ""
    mode: str = ""
    unpack: bool = False
    mtime_ns: int | None = None
    link: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryJob:
    """A directory to make, with what is missing above it; `owner` as in `CopyJob`."""

    target: str
    owner: str = ""


FileJob = CopyJob | DirectoryJob


@dataclass(frozen=True, slots=True)
class ContextLimits:
    """Caps on contexts."""

    max_entries: int = 2_000_000
    max_bytes: int = 64 << 30
    max_path: int = 4096
    max_read: int = 16 << 20  # of a file that is read as a whole
    xattrs: frozenset[str] = field(default_factory=lambda: frozenset({"security.capability"}))


class BuildFiles(Protocol):
    """The files of builds. All methods block: call them in a worker."""

    def receive(self, context: str, source: ByteSource) -> Sequence[SourceEntry]:
        """Keep an archive (plain or compressed) as the context of that name; return its members.

        Raises:
            InvalidParameter: It is broken, hostile or over a limit; nothing remains.
        """
        ...

    def take_file(
        self, context: str, name: str, source: ByteSource, *, mtime_ns: int
    ) -> SourceEntry:
        """Keep a context of one file, mode 0600; return its entry.

        Raises:
            Internal: The host failed; nothing remains.
        """
        ...

    def take_files(
        self, context: str, files: Mapping[str, bytes], mtime_ns: int
    ) -> Sequence[SourceEntry]:
        """Keep a context of small files, mode 0644; return its members."""
        ...

    def digest(self, context: str, algorithm: str) -> str:
        """Return the digest, hex, of the bytes that `take_file` kept."""
        ...

    def read(self, context: str, entry: SourceEntry) -> bytes:
        """Return the content of a context's file.

        Raises:
            InvalidParameter: It is too large to be read as a whole.
        """
        ...

    def drop(self, context: str) -> None:
        """Remove a context; no error when it does not exist."""
        ...

    def tree(self, chain: ChainId | None) -> AbstractContextManager[SourceTree]:
        """Open the files of a layer and all below it as a tree."""
        ...

    def apply(self, key: SnapshotKey, parent: ChainId | None, jobs: Sequence[FileJob]) -> None:
        """Make an active snapshot on `parent` and do the jobs in it.

        Nothing remains mounted; after a failure the snapshot does not exist.

        Raises:
            InvalidParameter: A target or an owner cannot be; Docker's words.
            Internal: The host failed.
        """
        ...

    def open_source(
        self, key: SnapshotKey, chain: ChainId | None, jobs: Sequence[FileJob], path: str
    ) -> str:
        """Do jobs in a snapshot on `chain`, mount it, and return the host path of `path` in it.

        It stays until `close_source`.

        Raises:
            NotFound: There is no such path in it; nothing remains.
        """
        ...

    def close_source(self, key: SnapshotKey) -> None:
        """Undo `open_source`; no error when there is nothing."""
        ...

    def cache_directory(
        self,
        id: str,  # noqa: A002 - BuildKit's word
        number: int,
        *,
        mode: int,
        owner: tuple[int, int],
    ) -> str:
        """Return the directory of a cache mount, made if needed; mode and owner are for that."""
        ...

    def cache_size(self, id: str, number: int) -> int:  # noqa: A002 - BuildKit's word
        """Return the bytes in a cache directory; 0 when there is none."""
        ...

    def remove_cache(self, id: str, number: int) -> None:  # noqa: A002 - BuildKit's word
        """Remove a cache directory."""
        ...

    def remove_stubs(self, key: SnapshotKey, paths: Sequence[str]) -> None:
        """Remove those paths that are empty files or directories, through no link."""
        ...

    def repair(self) -> Sequence[str]:
        """Remove what an earlier daemon left; say what was done."""
        ...
