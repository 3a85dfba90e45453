"""The files of builds on this host."""

import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from pinnace.errors import Internal
from pinnace.host.builds.contexts import ContextDirectory
from pinnace.host.builds.placing import RootWriter
from pinnace.host.builds.trees import MountedTree
from pinnace.host.kernel import mount
from pinnace.host.kernel.paths import directory, open_in_root

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

    def take_file(self, context: str, name: str, content: bytes) -> Sequence[SourceEntry]:
        """See the contract."""
        return self._contexts.take_file(context, name, content)

    def read(self, context: str, entry: SourceEntry) -> bytes:
        """See the contract."""
        return self._contexts.read(context, entry)

    def unpack_context(self, context: str) -> str:
        """See the contract."""
        raise Internal(f"cannot unpack {context}")

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

    def repair(self) -> Sequence[str]:
        """See the contract."""
        return self._contexts.repair()

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
            try:
                self._snapshots.mount(key, top)
            except OSError as exc:
                raise Internal(f"cannot mount the files of a build step: {exc.strerror}") from exc
            undo.callback(mount.unmount, top)
            mount.make_private(top)
            yield undo.enter_context(directory(top))


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
