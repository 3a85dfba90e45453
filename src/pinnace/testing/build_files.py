"""The files of builds in memory, on top of `FakeSnapshots`."""

import gzip
import hashlib
import posixpath
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from pinnace.contracts.build_files import (
    ContextLimits,
    CopyJob,
    FileJob,
    Origin,
    Selection,
    SourceEntry,
)
from pinnace.contracts.snapshots import ByteSource, ChainId, Change, SnapshotKey
from pinnace.errors import InvalidParameter, NotFound
from pinnace.testing.build_tree import MemoryTree, Node, entry_sum, members, split
from pinnace.testing.snapshots import FakeSnapshots

_ADDED = 1


class FakeBuildFiles:
    """Implements `contracts.build_files.BuildFiles`.

    What jobs write is what the snapshot's `commit` finds. Owners are numbers, or names in the
    root's /etc/passwd and /etc/group; modes are octal; of compressed archives only gzip is known.

    Args:
        snapshots: Holds layers and takes what jobs write.
        limits: Caps on what is read as a whole; the others are not kept.

    Attributes:
        contexts: Archives, or single files, by name.
        sources: Path that is shown, by the key of `open_source`.
        caches: Bytes in cache directories, by id and number.
    """

    def __init__(self, snapshots: FakeSnapshots, limits: ContextLimits | None = None) -> None:
        self.contexts: dict[str, bytes] = {}
        self.sources: dict[SnapshotKey, str] = {}
        self.caches: dict[tuple[str, int], int] = {}
        self._snapshots = snapshots
        self._limits = limits or ContextLimits()
        self._failures: dict[str, Exception] = {}

    def fail_next(self, operation: str, error: Exception) -> None:
        """Let the next call of `operation` raise `error` and do nothing."""
        self._failures[operation] = error

    def receive(self, context: str, source: ByteSource) -> Sequence[SourceEntry]:
        """See the contract."""
        self._enter("receive")
        archive = _inflate(_drain(source))
        entries, at = [], 0
        for node in members(archive):
            entry = node.entry
            at = archive.index(node.content, at) if node.content else at
            entries.append(replace(entry, start=at, sum=entry_sum(entry, node.content)))
        self.contexts[context] = archive
        return entries

    def take_file(
        self, context: str, name: str, source: ByteSource, *, mtime_ns: int
    ) -> SourceEntry:
        """See the contract."""
        self._enter("take_file")
        content = _drain(source)
        self.contexts[context] = content
        entry = SourceEntry(name, "file", mode=0o600, size=len(content), mtime_ns=mtime_ns)
        return replace(entry, sum=entry_sum(entry, content))

    def take_files(
        self, context: str, files: Mapping[str, bytes], mtime_ns: int
    ) -> Sequence[SourceEntry]:
        """See the contract."""
        self._enter("take_files")
        entries = []
        archive = b""
        for name, content in files.items():
            entry = SourceEntry(
                name, "file", mode=0o644, size=len(content), mtime_ns=mtime_ns, start=len(archive)
            )
            entries.append(replace(entry, sum=entry_sum(entry, content)))
            archive += content
        self.contexts[context] = archive
        return entries

    def digest(self, context: str, algorithm: str) -> str:
        """See the contract."""
        self._enter("digest")
        return hashlib.new(algorithm, self._context(context)).hexdigest()

    def read(self, context: str, entry: SourceEntry) -> bytes:
        """See the contract."""
        self._enter("read")
        if entry.size > self._limits.max_read:
            raise InvalidParameter(f"{entry.path} is larger than {self._limits.max_read} bytes")
        return self._context(context)[entry.start : entry.start + entry.size]

    def drop(self, context: str) -> None:
        """See the contract."""
        self._enter("drop")
        self.contexts.pop(context, None)

    @contextmanager
    def tree(self, chain: ChainId | None) -> Iterator[MemoryTree]:
        """See the contract."""
        self._enter("tree")
        yield self._tree(chain)

    def apply(self, key: SnapshotKey, parent: ChainId | None, jobs: Sequence[FileJob]) -> None:
        """See the contract."""
        self._enter("apply")
        self._snapshots.prepare(key, parent)
        try:
            tree = self._tree(parent)
            before = set(tree.nodes)
            for job in jobs:
                if isinstance(job, CopyJob):
                    self._copy(tree, job)
                else:
                    tree.make_directory(tree.final(job.target), _owner(tree, job.owner))
        except BaseException:
            self._snapshots.remove(key)
            raise
        self._show(key, tree, before)

    def open_source(
        self, key: SnapshotKey, chain: ChainId | None, jobs: Sequence[FileJob], path: str
    ) -> str:
        """See the contract."""
        self._enter("open_source")
        self.apply(key, chain, jobs)
        tree = self._tree(chain)
        tree.lay(members(self._snapshots.pending[key]))
        found = tree.resolve(path)
        if found is None:
            self._snapshots.remove(key)
            raise NotFound(f"stat {path}: file does not exist")
        top = Path("/fake/builds", key)
        self._snapshots.mount(key, top)
        self.sources[key] = found
        return str(top / found)

    def close_source(self, key: SnapshotKey) -> None:
        """See the contract."""
        self._enter("close_source")
        self._snapshots.unmount(Path("/fake/builds", key))
        self._snapshots.remove(key)
        self.sources.pop(key, None)

    def cache_directory(
        self,
        id: str,  # noqa: A002 - the contract's
        number: int,
        *,
        mode: int,
        owner: tuple[int, int],
    ) -> str:
        """See the contract."""
        self._enter("cache_directory")
        self.caches.setdefault((id, number), 0)
        return f"/fake/caches/{hashlib.sha256(id.encode()).hexdigest()}-{number}"

    def cache_size(self, id: str, number: int) -> int:  # noqa: A002 - the contract's
        """See the contract."""
        self._enter("cache_size")
        return self.caches.get((id, number), 0)

    def remove_cache(self, id: str, number: int) -> None:  # noqa: A002 - the contract's
        """See the contract."""
        self._enter("remove_cache")
        self.caches.pop((id, number), None)

    def remove_stubs(self, key: SnapshotKey, paths: Sequence[str]) -> None:
        """See the contract."""
        self._enter("remove_stubs")
        tree = MemoryTree([self._snapshots.pending.get(key, b"\0" * 1024)])
        tree.written.update(tree.nodes)
        for path in paths:
            at = path.strip("/")
            node = tree.find(at)
            if node is not None and not node.content and not tree.children(at):
                tree.remove(at)
        gone = tree.written - tree.nodes.keys()
        tree.written -= gone
        self._snapshots.pending[key] = tree.tar(tree.written)
        changes = self._snapshots.pending_changes.get(key, ())
        self._snapshots.pending_changes[key] = [
            change for change in changes if change.path.strip("/") not in gone
        ]

    def repair(self) -> Sequence[str]:
        """See the contract."""
        self._enter("repair")
        left = sorted(self.contexts)
        self.contexts.clear()
        return [f"removed build context {name}" for name in left]

    def _context(self, context: str) -> bytes:
        if context not in self.contexts:
            raise NotFound(f"no such build context: {context}")
        return self.contexts[context]

    def _tree(self, chain: ChainId | None) -> MemoryTree:
        if chain is None:
            return MemoryTree()
        below = reversed(self._snapshots.ancestry(chain))
        return MemoryTree([self._snapshots.layer_tar(layer) for layer in below])

    def _show(self, key: SnapshotKey, tree: MemoryTree, before: set[str]) -> None:
        """Let the snapshot have what was written."""
        self._snapshots.pending[key] = tree.tar(tree.written)
        self._snapshots.pending_changes[key] = [
            Change(f"/{path}", 0 if path in before else _ADDED) for path in sorted(tree.written)
        ]

    def _copy(self, tree: MemoryTree, job: CopyJob) -> None:
        owner = None if job.owner is None else _owner(tree, job.owner)
        try:
            for selection in job.selections:
                top = self._target(tree, job, selection)
                made = owner or (0, 0)
                tree.make_directory(posixpath.dirname(top), made, replacing=job.link)
                if selection.is_directory:
                    tree.make_directory(top, made, replacing=job.link)
                for entry in selection.entries:
                    at = top
                    if selection.is_directory:
                        at = posixpath.join(top, entry.path[len(selection.base) :].lstrip("/"))
                    self._place(tree, at, entry, job=job, owner=owner)
        except InvalidParameter as exc:
            raise InvalidParameter(f"failed to copy files: {exc.message}") from exc

    def _target(self, tree: MemoryTree, job: CopyJob, selection: Selection) -> str:
        lead = _plain if job.link else tree.final
        if selection.is_directory:
            return lead(f"{job.target}/{selection.name}")
        target = lead(job.target)
        content = self._content(job.origin, selection.entries[0])
        if job.unpack and _is_archive(content):
            return target
        if job.target.endswith("/") or (not job.link and tree.is_directory(target)):
            return posixpath.join(target, selection.name)
        return target

    def _place(
        self,
        tree: MemoryTree,
        at: str,
        entry: SourceEntry,
        *,
        job: CopyJob,
        owner: tuple[int, int] | None,
    ) -> None:
        content = self._content(job.origin, entry)
        if job.unpack and _is_archive(content):
            tree.make_directory(at, replacing=job.link)
            tree.lay(_unpacked(content), below=at)
            return
        uid, gid = owner or (entry.uid, entry.gid)
        mtime_ns = entry.mtime_ns if job.mtime_ns is None else min(entry.mtime_ns, job.mtime_ns)
        mode = int(job.mode, 8) if job.mode and entry.kind != "symlink" else entry.mode
        made = replace(entry, uid=uid, gid=gid, mtime_ns=mtime_ns, mode=mode, inode=0, start=0)
        tree.put(at, made, content)

    def _content(self, origin: Origin, entry: SourceEntry) -> bytes:
        if entry.kind != "file":
            return b""
        if origin.context:
            return self._context(origin.context)[entry.start : entry.start + entry.size]
        node = self._tree(origin.chain).find(entry.path)
        return node.content if node is not None else b""

    def _enter(self, operation: str) -> None:
        error = self._failures.pop(operation, None)
        if error is not None:
            raise error


def _drain(source: ByteSource) -> bytes:
    return b"".join(iter(lambda: source.read(1 << 16), b""))


def _inflate(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as exc:
        raise InvalidParameter(f"invalid compressed archive: {exc}") from exc


def _unpacked(data: bytes) -> list[Node]:
    return members(_inflate(data))


def _is_archive(data: bytes) -> bool:
    try:
        return bool(data and _unpacked(data))
    except InvalidParameter:
        return False


def _plain(path: str) -> str:
    """Return a path in which links count for nothing."""
    return posixpath.normpath("/" + "/".join(split(path))).lstrip("/")


def _owner(tree: MemoryTree, owner: str) -> tuple[int, int]:
    user, colon, group = owner.partition(":")
    return (
        _number(tree, "etc/passwd", "user", user or "0"),
        _number(tree, "etc/group", "group", (group if colon else user) or "0"),
    )


def _number(tree: MemoryTree, file: str, kind: str, name: str) -> int:
    if name.isdecimal():
        return int(name)
    node = tree.find(file)
    for line in (node.content.decode() if node else "").splitlines():
        first, _, number, *_ = [*line.split(":"), "", ""]
        if first == name:
            return int(number)
    raise InvalidParameter(f"can't find {kind} {name}: no such {kind}: {name}")
