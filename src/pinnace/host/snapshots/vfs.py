"""Snapshots as full copies, for hosts and filesystems where overlayfs does not work.

Slow and large, and nothing more is asked of the kernel than a bind mount. A layer's `diff/` is the
whole tree with all layers below it.
"""

import dataclasses
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from pinnace.contracts.snapshots import (
    ByteSink,
    ByteSource,
    ChainId,
    Change,
    LayerStat,
    SnapshotKey,
    StagedLayer,
    UnpackLimits,
    Usage,
)
from pinnace.errors import Internal, NotFound
from pinnace.host.kernel import mount
from pinnace.host.kernel.paths import directory
from pinnace.host.snapshots.active import ActiveDirectory
from pinnace.host.snapshots.compare import TreeComparison
from pinnace.host.snapshots.copytree import copy_tree
from pinnace.host.snapshots.layers import (
    Arrival,
    LayerDirectory,
    UnpackingLayer,
    check_arrival,
)
from pinnace.host.snapshots.pack import ChunkReader, pack_changes
from pinnace.host.snapshots.staging import StageRecord, StagingDirectory
from pinnace.host.snapshots.tree import remove_at
from pinnace.host.snapshots.unpack import set_access
from pinnace.oci.digest import Digest

_TAR = "layer.tar"


class VfsSnapshots:
    """Implements `contracts.snapshots.Snapshots`; its docstrings hold here."""

    driver = "vfs"

    def __init__(self, root: Path, *, limits: UnpackLimits | None = None) -> None:
        """Keep layers and snapshots below `root`, which is made if needed (mode 0700)."""
        self._limits = limits or UnpackLimits()
        self._layers = LayerDirectory(root)
        self._staging = StagingDirectory(root, self._layers)
        self._active = ActiveDirectory(root, self._layers)

    def has_layer(self, chain: ChainId) -> bool:
        """See the contract."""
        return self._layers.has(chain)

    def ingest_layer(
        self,
        parent: ChainId | None,
        source: ByteSource,
        *,
        diff_id: Digest | None = None,
        digest: Digest | None = None,
    ) -> tuple[ChainId, LayerStat]:
        """See the contract."""
        with self._layers.stage() as unpacking:
            arrived = self._unpack(unpacking, source, parent)
            check_arrival(arrived, diff_id=diff_id, digest=digest)
            return self._layers.commit(unpacking.path, arrived, parent)

    def stage_layer(
        self, source: ByteSource, *, diff_id: Digest | None = None, digest: Digest | None = None
    ) -> LayerStat:
        """See the contract; what is staged is the plain tar, for a tree stands on its parent."""
        with self._layers.stage() as unpacking:
            arrived = self._layers.receive(unpacking.path / _TAR, source, limits=self._limits)
            check_arrival(arrived, diff_id=diff_id, digest=digest)
            self._staging.keep(unpacking.path, StageRecord.of(arrived, opaque=False, implied=[]))
            return arrived.stat

    def adopt_layer(self, parent: ChainId | None, diff_id: Digest) -> tuple[ChainId, LayerStat]:
        """See the contract."""
        record = self._staging.read(diff_id)
        with (
            _opened(self._staging.path(diff_id) / _TAR) as source,
            self._layers.stage() as unpacking,
        ):
            arrived = self._unpack(unpacking, source, parent)
            check_arrival(arrived, diff_id=diff_id, digest=None)
            arrived = dataclasses.replace(arrived, stat=record.arrival.stat)
            adopted = self._layers.commit(unpacking.path, arrived, parent)
        self._staging.remove(diff_id)
        return adopted

    def has_staged(self, diff_id: Digest) -> bool:
        """See the contract."""
        return self._staging.has(diff_id)

    def staged_layers(self) -> Sequence[StagedLayer]:
        """See the contract."""
        return self._staging.all()

    def remove_staged(self, diff_id: Digest) -> None:
        """See the contract."""
        self._staging.remove(diff_id)

    def prepare(self, key: SnapshotKey, parent: ChainId | None) -> None:
        """See the contract."""
        with self._active.create(key, parent) as staged:
            root = staged / "root"
            root.mkdir(mode=0o755)
            if parent is not None:
                copy_tree(self._layers.path(parent) / "diff", root)

    def mount(self, key: SnapshotKey, target: Path, *, bare: bool = False) -> None:
        """See the contract; it is always bare."""
        mount.bind(self._active.existing(key) / "root", target)

    def unmount(self, target: Path) -> None:
        """See the contract."""
        mount.unmount(target)

    def commit(
        self, key: SnapshotKey, parent: ChainId | None, *, latest_ns: int | None = None
    ) -> tuple[ChainId, LayerStat]:
        """See the contract."""
        changes = self.changes(key, parent)
        with directory(self._active.existing(key) / "root") as root_fd:
            chunks = pack_changes(root_fd, changes, latest_ns=latest_ns)
            return self.ingest_layer(parent, ChunkReader(chunks))

    def seal(
        self, key: SnapshotKey, parent: ChainId | None, *, latest_ns: int | None = None
    ) -> tuple[ChainId, LayerStat]:
        """See the contract; a layer is a copy here all the same."""
        self._active.existing(key)
        if parent is not None:
            self._layers.read(parent)
        self._active.check_unmounted(key, "root")
        try:
            return self.commit(key, parent, latest_ns=latest_ns)
        finally:
            self._active.remove(key)

    def export_layer(self, chain: ChainId, parent: ChainId | None, target: ByteSink) -> None:
        """See the contract."""
        self._layers.export(chain, target)

    def changes(self, key: SnapshotKey, parent: ChainId | None) -> Sequence[Change]:
        """See the contract."""
        root = self._active.existing(key) / "root"
        with ExitStack() as descriptors:
            upper_fd = descriptors.enter_context(directory(root))
            lower_fds = []
            if parent is not None:
                below = self._layers.path(parent) / "diff"
                lower_fds.append(descriptors.enter_context(directory(below)))
            try:
                return TreeComparison(upper_fd, lower_fds, full=True).changes()
            except OSError as exc:
                raise Internal(f"cannot read snapshot {key}: {exc.strerror}") from exc

    def usage(self, key: SnapshotKey) -> Usage:
        """See the contract; what was copied from the layers does not count."""
        root = self._active.existing(key) / "root"
        size = inodes = 0
        for change in self.changes(key, self._active.parent(key)):
            path = root / change.path.lstrip("/")
            if change.kind == 2 or not os.path.lexists(path):
                continue
            status = path.lstat()
            inodes += 1
            size += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        return Usage(size, inodes)

    def layer_stat(self, chain: ChainId) -> LayerStat:
        """See the contract."""
        return self._layers.stat(chain)

    def ancestry(self, chain: ChainId) -> Sequence[ChainId]:
        """See the contract."""
        return self._layers.ancestry(chain)

    def layer_paths(self, chain: ChainId) -> Mapping[str, str]:
        """See the contract."""
        return {}

    def snapshot_paths(self, key: SnapshotKey, target: Path) -> Mapping[str, str]:
        """See the contract."""
        return {}

    def layer_usage(self, chain: ChainId) -> Usage:
        """See the contract."""
        record = self._layers.read(chain)
        return Usage(record.size, record.inodes)

    def remove(self, key: SnapshotKey) -> None:
        """See the contract."""
        self._active.remove(key)

    def remove_layer(self, chain: ChainId) -> None:
        """See the contract."""
        self._layers.remove(chain)

    def repair(self, keys: Iterable[SnapshotKey], chains: Iterable[ChainId]) -> Sequence[str]:
        """See the contract."""
        return self._active.repair(keys) + self._layers.repair(chains) + self._staging.repair()

    def _unpack(
        self, unpacking: UnpackingLayer, source: ByteSource, parent: ChainId | None
    ) -> Arrival:
        if parent is not None:
            self._layers.read(parent)
            copy_tree(self._layers.path(parent) / "diff", unpacking.diff)
        rules = _CopyRules(unpacking)
        return self._layers.unpack(unpacking, source, rules=rules, limits=self._limits)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as exc:
        raise NotFound(f"layer is not staged: sha256:{path.parent.name}") from exc


class _CopyRules:
    """Unpacks a layer onto a copy of the layers below, where whiteouts are plain deletions."""

    def __init__(self, unpacking: UnpackingLayer) -> None:
        self._unpacking = unpacking
        self._own: set[bytes] = set()

    def displace(self, parent: int, base: bytes, path: bytes, *, directory: bool) -> None:
        if path in self._own:
            self._unpacking.keep_orphan(parent, base, path)
        else:
            remove_at(parent, base)

    def covered(self, parent: int, base: bytes, path: bytes) -> None:
        """Nothing shines through."""

    def whiteout(self, parent: int, base: bytes, path: bytes) -> None:
        if path not in self._own:
            _remove_if_there(parent, base)
        else:
            self._clear(parent, base, path)

    def opaque(self, parent: int, path: bytes) -> None:
        self._clear(parent, b".", path)

    def implied(self, descriptor: int, path: bytes) -> None:
        set_access(descriptor, 0, 0, 0o755)
        self.created(path)

    def created(self, path: bytes) -> None:
        while path and path not in self._own:
            self._own.add(path)
            path = path.rpartition(b"/")[0]

    def _clear(self, parent: int, base: bytes, path: bytes) -> None:
        """Remove from a directory what is not this layer's."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(base, flags, dir_fd=parent)
        except NotADirectoryError:
            return
        try:
            for name in map(os.fsencode, os.listdir(descriptor)):  # noqa: PTH208 - descriptor
                child = path + b"/" + name if path else name
                if child not in self._own:
                    remove_at(descriptor, name)
                else:
                    self._clear(descriptor, name, child)
        finally:
            os.close(descriptor)


def _remove_if_there(parent: int, base: bytes) -> None:
    try:
        remove_at(parent, base)
    except FileNotFoundError:
        return
