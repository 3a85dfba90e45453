"""The files of builds on this host."""

import hashlib
import logging
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pinnace.contracts.build_files import (
    ContextLimits,
    CopyJob,
    FileJob,
    Origin,
    SourceEntry,
    SourceTree,
)
from pinnace.contracts.snapshots import ByteSource, ChainId, SnapshotKey, Snapshots, UnpackLimits
from pinnace.errors import Internal, NotFound
from pinnace.host.builds.contexts import ContextDirectory
from pinnace.host.builds.placing import RootWriter
from pinnace.host.builds.trees import MountedTree
from pinnace.host.kernel import mount
from pinnace.host.kernel.paths import O_PATH_DIRECTORY, directory, open_in_root, real_path
from pinnace.host.snapshots.tree import measure, remove_tree

log = logging.getLogger(__name__)

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class HostBuildFiles:
    """Implements `contracts.build_files.BuildFiles`; its docstrings hold here."""

    def __init__(
        self,
        data_root: Path,
        exec_root: Path,
        snapshots: Snapshots,
        *,
        limits: ContextLimits | None = None,
        layer_limits: UnpackLimits | None = None,
    ) -> None:
        """Keep contexts below `data_root`/builds and mount below `exec_root`/builds.

        What an earlier daemon left mounted is taken away at once: snapshots are swept later.
        """
        self._contexts = ContextDirectory(
            data_root / "builds" / "contexts", limits or ContextLimits()
        )
        self._caches = data_root / "builds" / "caches"
        self._caches.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mounts = exec_root / "builds"
        self._snapshots = snapshots
        self._limits = layer_limits or UnpackLimits()
        self._mounts.mkdir(mode=0o700, exist_ok=True)
        for top in self._mounts.iterdir():
            while mount.unmount(top):
                pass
            top.rmdir()
            log.warning("repaired: removed the mount of a build step %s", top.name)

    def receive(self, context: str, source: ByteSource) -> Sequence[SourceEntry]:
        """See the contract."""
        return self._contexts.receive(context, source)

    def take_file(
        self, context: str, name: str, source: ByteSource, *, mtime_ns: int
    ) -> SourceEntry:
        """See the contract."""
        return self._contexts.take_file(context, name, source, mtime_ns=mtime_ns)

    def take_files(
        self, context: str, files: Mapping[str, bytes], mtime_ns: int
    ) -> Sequence[SourceEntry]:
        """See the contract."""
        return self._contexts.take_files(context, files, mtime_ns)

    def digest(self, context: str, algorithm: str) -> str:
        """See the contract."""
        return self._contexts.digest(context, algorithm)

    def read(self, context: str, entry: SourceEntry) -> bytes:
        """See the contract."""
        return self._contexts.read(context, entry)

    def drop(self, context: str) -> None:
        """See the contract."""
        self._contexts.drop(context)

    @contextmanager
    def tree(self, chain: ChainId | None) -> Iterator[SourceTree]:
        """See the contract."""
        with self._view(chain) as root_fd:
            yield MountedTree(root_fd)

    def apply(self, key: SnapshotKey, parent: ChainId | None, jobs: Sequence[FileJob]) -> None:
        """See the contract."""
        self._snapshots.prepare(key, parent)
        try:
            with self._mounted(key) as root_fd:
                writer = RootWriter(root_fd, self._limits)
                for job in jobs:
                    if isinstance(job, CopyJob):
                        with self._contents(job.origin) as contents:
                            writer.copy(job, contents)
                    else:
                        writer.make_directory(job)
        except BaseException:
            self._snapshots.remove(key)
            raise

    def open_source(
        self, key: SnapshotKey, chain: ChainId | None, jobs: Sequence[FileJob], path: str
    ) -> str:
        """See the contract."""
        self.apply(key, chain, jobs)
        top = self._mounts / key
        try:
            top.mkdir(mode=0o700)
            self._mount(key, top)
            with directory(top) as root_fd:
                found = open_in_root(root_fd, os.fsencode(path), os.O_PATH)
                try:
                    return os.fsdecode(os.fsencode(top) + b"/" + real_path(found, root_fd))
                finally:
                    os.close(found)
        except FileNotFoundError as exc:
            self.close_source(key)
            raise NotFound(f"stat {path}: file does not exist") from exc
        except BaseException:
            self.close_source(key)
            raise

    def close_source(self, key: SnapshotKey) -> None:
        """See the contract."""
        top = self._mounts / key
        while mount.unmount(top):
            pass
        if top.exists():
            top.rmdir()
        self._snapshots.remove(key)

    def cache_directory(
        self,
        id: str,  # noqa: A002 - the contract's
        number: int,
        *,
        mode: int,
        owner: tuple[int, int],
    ) -> str:
        """See the contract."""
        path = self._cache(id, number)
        if not path.is_dir():
            staged = Path(tempfile.mkdtemp(prefix="new-", dir=self._caches))
            os.chown(staged, *owner)
            staged.chmod(mode)
            try:
                staged.rename(path)
            except OSError:
                remove_tree(staged)
                if not path.is_dir():
                    raise
        return str(path)

    def cache_size(self, id: str, number: int) -> int:  # noqa: A002 - the contract's
        """See the contract."""
        path = self._cache(id, number)
        return measure(path).size if path.is_dir() else 0

    def remove_cache(self, id: str, number: int) -> None:  # noqa: A002 - the contract's
        """See the contract."""
        grave = self._caches / f"removed-{secrets.token_hex(8)}"
        try:
            self._cache(id, number).rename(grave)
        except FileNotFoundError:
            return
        remove_tree(grave)

    def remove_stubs(self, key: SnapshotKey, paths: Sequence[str]) -> None:
        """See the contract."""
        with self._mounted(key) as root_fd:
            for path in map(os.fsencode, paths):
                above, _, base = path.rstrip(b"/").rpartition(b"/")
                try:
                    parent = open_in_root(root_fd, above, O_PATH_DIRECTORY, follow=False)
                except OSError:
                    continue  # the command put something else there
                try:
                    _remove_stub(parent, base)
                finally:
                    os.close(parent)

    def _cache(self, id_: str, number: int) -> Path:
        """Return where a cache directory is: no id becomes a name on the host."""
        digest = hashlib.sha256(id_.encode("utf-8", "surrogateescape")).hexdigest()
        return self._caches / f"{digest}-{number}"

    def repair(self) -> Sequence[str]:
        """See the contract."""
        done = self._contexts.repair()
        for path in self._caches.iterdir():
            if path.name.startswith(("new-", "removed-")):
                remove_tree(path)
                done.append(f"removed unfinished {path.name}")
        return done

    @contextmanager
    def _contents(self, origin: Origin) -> "Iterator[_ContextContents | _TreeContents]":
        if origin.context:
            with self._contexts.open(origin.context) as archive:
                yield _ContextContents(archive.fileno())
            return
        with self._view(origin.chain) as root_fd:
            yield _TreeContents(root_fd)

    @contextmanager
    def _view(self, chain: ChainId | None) -> Iterator[int]:
        """Mount a layer for reading: as a snapshot of its own, which is thrown away."""
        key = SnapshotKey(f"view-{secrets.token_hex(8)}")
        self._snapshots.prepare(key, chain)
        try:
            with self._mounted(key) as root_fd:
                yield root_fd
        finally:
            self._snapshots.remove(key)

    @contextmanager
    def _mounted(self, key: SnapshotKey) -> Iterator[int]:
        top = Path(tempfile.mkdtemp(prefix="step-", dir=self._mounts))
        with ExitStack() as undo:
            undo.callback(top.rmdir)
            self._mount(key, top)
            undo.callback(mount.unmount, top)
            yield undo.enter_context(directory(top))

    def _mount(self, key: SnapshotKey, top: Path) -> None:
        try:
            self._snapshots.mount(key, top, bare=True)
            mount.make_private(top)
        except OSError as exc:
            mount.unmount(top)
            raise Internal(f"cannot mount the files of a build step: {exc.strerror}") from exc


def _remove_stub(parent: int, base: bytes) -> None:
    with suppress(OSError):  # gone, or not empty
        status = os.stat(base, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(base, dir_fd=parent)
        elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
            os.unlink(base, dir_fd=parent)


class _ContextContents:
    """Implements `placing.Contents` over a context's archive."""

    def __init__(self, archive: int) -> None:
        self._archive = archive

    def open(self, entry: SourceEntry) -> tuple[int, int]:
        return os.dup(self._archive), entry.start


class _TreeContents:
    """Implements `placing.Contents` over a mounted tree."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd

    def open(self, entry: SourceEntry) -> tuple[int, int]:
        path = os.fsencode(entry.path)
        try:
            return open_in_root(self._root_fd, path, _READ, follow=False), 0
        except OSError as exc:
            raise Internal(f"cannot read {entry.path}: {exc.strerror}") from exc
