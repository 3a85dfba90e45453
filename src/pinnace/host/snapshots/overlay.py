"""Snapshots on overlayfs.

`snapshots/<key>/` holds `upper/` (what the container changed), `work/` (for the kernel) and
`parent` (chain id). Layers are in the form overlayfs reads: whiteouts are character devices 0/0,
opaque directories carry `trusted.overlay.opaque` (Documentation/filesystems/overlayfs.rst).
"""

import errno
import os
import stat
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

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
from pinnace.errors import Internal, InvalidParameter
from pinnace.host.kernel import mount
from pinnace.host.kernel.paths import O_PATH_DIRECTORY, directory, open_in_root
from pinnace.host.snapshots.active import ActiveDirectory
from pinnace.host.snapshots.compare import OPAQUE_XATTR, TreeComparison, is_whiteout
from pinnace.host.snapshots.layers import (
    LayerDirectory,
    UnpackingLayer,
    check_arrival,
    host_failures,
)
from pinnace.host.snapshots.pack import ChunkReader, pack_changes
from pinnace.host.snapshots.seal import has_mark_names, seal_tree
from pinnace.host.snapshots.skeleton import make_skeleton
from pinnace.host.snapshots.staging import StageRecord, StagingDirectory
from pinnace.host.snapshots.tree import measure
from pinnace.host.snapshots.unpack import set_access
from pinnace.oci.digest import Digest

# What another kernel default could turn on would put state into the upper directory which a layer
# tar cannot express.
_MAX_IMPLICIT_BYTES = 64 << 20
_PATH_MAX = 4096
_NO_DIRECTORY = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_OPTIONS = ("index=off", "metacopy=off", "redirect_dir=nofollow")


class OverlaySnapshots:
    """Implements `contracts.snapshots.Snapshots`; its docstrings hold here."""

    driver = "overlay2"

    def __init__(self, root: Path, *, limits: UnpackLimits | None = None) -> None:
        """Keep layers and snapshots below `root`, which is made if needed (mode 0700)."""
        self._limits = limits or UnpackLimits()
        self._root = root
        self._layers = LayerDirectory(root)
        self._staging = StagingDirectory(root, self._layers)
        self._adopting = threading.Lock()
        self._active = ActiveDirectory(root, self._layers)
        self._skeleton = make_skeleton(root / "skeleton")
        # The kernel wants at least one directory below.
        self._nothing = root / "nothing"
        self._nothing.mkdir(mode=0o755, exist_ok=True)

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
        self._check_parent(parent)
        with self._layers.stage() as unpacking:
            record = self._unpack(unpacking, source, diff_id=diff_id, digest=digest)
            return self._commit(unpacking.path, record, parent)

    def stage_layer(
        self, source: ByteSource, *, diff_id: Digest | None = None, digest: Digest | None = None
    ) -> LayerStat:
        """See the contract."""
        with self._layers.stage() as unpacking:
            record = self._unpack(unpacking, source, diff_id=diff_id, digest=digest)
            self._staging.keep(unpacking.path, record)
            return record.arrival.stat

    def adopt_layer(self, parent: ChainId | None, diff_id: Digest) -> tuple[ChainId, LayerStat]:
        """See the contract."""
        self._check_parent(parent)
        with self._adopting, host_failures():
            record = self._staging.read(diff_id)
            adopted = self._commit(self._staging.path(diff_id), record, parent)
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
            upper = staged / "upper"
            upper.mkdir(mode=0o755)
            (staged / "work").mkdir(mode=0o700)
            # The merged root has the attributes of the upper one.
            lower = self._skeleton if parent is None else self._layers.path(parent) / "diff"
            status = lower.stat()
            os.chown(upper, status.st_uid, status.st_gid)
            upper.chmod(stat.S_IMODE(status.st_mode))

    def mount(self, key: SnapshotKey, target: Path, *, bare: bool = False) -> None:
        """See the contract."""
        path = self._active.path(key).relative_to(self._root)
        below = self._layers.stack(self._active.parent(key))
        links = [self._layers.link(record) for _, record in below]
        lower = [*links, self._nothing if bare else self._skeleton]
        mount.mount_overlay(
            target.absolute(),
            base=self._root,
            lower=[str(one.relative_to(self._root)) for one in lower],
            upper=str(path / "upper"),
            work=str(path / "work"),
            options=_OPTIONS,
        )

    def unmount(self, target: Path) -> None:
        """See the contract."""
        mount.unmount(target)

    def commit(
        self, key: SnapshotKey, parent: ChainId | None, *, latest_ns: int | None = None
    ) -> tuple[ChainId, LayerStat]:
        """See the contract."""
        return self._pack(key, parent, self._compare(key, parent, contents=True), latest_ns)

    def seal(
        self, key: SnapshotKey, parent: ChainId | None, *, latest_ns: int | None = None
    ) -> tuple[ChainId, LayerStat]:
        """See the contract."""
        self._active.existing(key)
        self._check_parent(parent)
        self._active.check_unmounted(key, "upper")
        try:
            changes = self._compare(key, parent, contents=True)
            if has_mark_names(changes):
                return self._pack(key, parent, changes, latest_ns)
            return self._seal(key, parent, changes, latest_ns)
        finally:
            self._active.remove(key)

    def changes(self, key: SnapshotKey, parent: ChainId | None) -> Sequence[Change]:
        """See the contract."""
        return self._compare(key, parent, contents=False)

    def export_layer(self, chain: ChainId, parent: ChainId | None, target: ByteSink) -> None:
        """See the contract."""
        self._layers.export(chain, target)

    def usage(self, key: SnapshotKey) -> Usage:
        """See the contract."""
        return measure(self._active.existing(key) / "upper")

    def layer_stat(self, chain: ChainId) -> LayerStat:
        """See the contract."""
        return self._layers.stat(chain)

    def ancestry(self, chain: ChainId) -> Sequence[ChainId]:
        """See the contract."""
        return self._layers.ancestry(chain)

    def layer_paths(self, chain: ChainId) -> Mapping[str, str]:
        """See the contract."""
        base = self._layers.path(chain)
        below = [str(self._layers.path(at) / "diff") for at, _ in self._layers.stack(chain)][1:]
        lower = {"LowerDir": ":".join(below)} if below else {}
        return {
            **lower,
            "MergedDir": str(base / "merged"),
            "UpperDir": str(base / "diff"),
            "WorkDir": str(base / "work"),
        }

    def snapshot_paths(self, key: SnapshotKey, target: Path) -> Mapping[str, str]:
        """See the contract."""
        base = self._active.path(key)
        stack = self._layers.stack(self._active.parent(key))
        below = [str(self._layers.path(at) / "diff") for at, _ in stack]
        return {
            "LowerDir": ":".join(below),
            "MergedDir": str(target),
            "UpperDir": str(base / "upper"),
            "WorkDir": str(base / "work"),
        }

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

    def _check_parent(self, parent: ChainId | None) -> None:
        if parent is not None:
            self._layers.read(parent)

    def _unpack(
        self,
        unpacking: UnpackingLayer,
        source: ByteSource,
        *,
        diff_id: Digest | None,
        digest: Digest | None,
    ) -> StageRecord:
        rules = _OverlayRules(unpacking)
        arrived = self._layers.unpack(unpacking, source, rules=rules, limits=self._limits)
        check_arrival(arrived, diff_id=diff_id, digest=digest)
        return StageRecord.of(arrived, opaque=unpacking.opaque, implied=sorted(rules.implicit))

    def _pack(
        self,
        key: SnapshotKey,
        parent: ChainId | None,
        changes: Sequence[Change],
        latest_ns: int | None,
    ) -> tuple[ChainId, LayerStat]:
        """Make a layer of a copy of the changes."""
        with directory(self._active.existing(key) / "upper") as upper_fd:
            chunks = pack_changes(upper_fd, changes, latest_ns=latest_ns)
            return self.ingest_layer(parent, ChunkReader(chunks))

    def _seal(
        self,
        key: SnapshotKey,
        parent: ChainId | None,
        changes: Sequence[Change],
        latest_ns: int | None,
    ) -> tuple[ChainId, LayerStat]:
        """Make a layer of the upper directory itself."""
        with self._layers.stage() as staged, ExitStack() as descriptors:
            upper_fd = descriptors.enter_context(directory(self._active.path(key) / "upper"))
            arrival = seal_tree(
                upper_fd, changes, staged.recipe, limits=self._limits, latest_ns=latest_ns
            )
            below = [self._layers.link(record) for _, record in self._layers.stack(parent)]
            lower = [descriptors.enter_context(directory(path)) for path in below]
            _inherit(upper_fd, lower, b"")
            place = partial(self._active.take, key, "upper", staged.diff)
            return self._layers.commit(staged.path, arrival, parent, place=place)

    def _commit(
        self, path: Path, record: StageRecord, parent: ChainId | None
    ) -> tuple[ChainId, LayerStat]:
        below = [self._layers.link(record) for _, record in self._layers.stack(parent)]
        with ExitStack() as descriptors:
            lower = [descriptors.enter_context(directory(path)) for path in below]
            diff = descriptors.enter_context(directory(path / "diff"))
            _inherit_all(diff, lower, record.implied)
        return self._layers.commit(path, record.arrival, parent, opaque=record.opaque)

    def _compare(
        self, key: SnapshotKey, parent: ChainId | None, *, contents: bool
    ) -> Sequence[Change]:
        upper = self._active.existing(key) / "upper"
        below = [self._layers.link(record) for _, record in self._layers.stack(parent)]
        with ExitStack() as descriptors:
            upper_fd = descriptors.enter_context(directory(upper))
            lower_fds = [descriptors.enter_context(directory(path)) for path in below]
            comparison = TreeComparison(upper_fd, lower_fds, full=False, contents=contents)
            try:
                return comparison.changes()
            except OSError as exc:
                raise Internal(f"cannot read snapshot {key}: {exc.strerror}") from exc


class _OverlayRules:
    """Unpacks a layer into its own directory, in the form overlayfs reads."""

    def __init__(self, unpacking: UnpackingLayer) -> None:
        self._unpacking = unpacking
        self._uncovered = b""
        self._implicit_bytes = 0
        self.implicit = {b""}

    def displace(self, parent: int, base: bytes, path: bytes, *, directory: bool) -> None:
        status = os.stat(base, dir_fd=parent, follow_symlinks=False)
        self._uncovered = path if is_whiteout(status) else b""
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            self._unpacking.keep_orphan(parent, base, path)
        else:
            os.unlink(base, dir_fd=parent)

    def covered(self, parent: int, base: bytes, path: bytes) -> None:
        # A directory where a whiteout was must go on hiding what is below.
        if self._uncovered == path:
            _set_opaque(parent, base)

    def whiteout(self, parent: int, base: bytes, path: bytes) -> None:
        try:
            os.mknod(base, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            # The layer's own entry stays (image-spec, layer.md, "Whiteouts") but hides the rest.
            status = os.stat(base, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                _set_opaque(parent, base)

    def opaque(self, parent: int, path: bytes) -> None:
        if path:
            _set_opaque(parent, b".")
        else:
            # The kernel does not look for the mark on a layer's root.
            self._unpacking.opaque = True

    def implied(self, descriptor: int, path: bytes) -> None:
        """Note a directory that is to get the attributes it has below, which may come later."""
        set_access(descriptor, 0, 0, 0o755)
        if path in self.implicit:
            return
        self._implicit_bytes += len(path)
        if self._implicit_bytes > _MAX_IMPLICIT_BYTES or len(path) >= _PATH_MAX:
            raise InvalidParameter("too many or too deep directories that the archive implies")
        self.implicit.add(path)

    def created(self, path: bytes) -> None:
        """Note that the archive gave the path attributes of its own."""
        self.implicit.discard(path)


def _inherit_all(diff: int, lower: Sequence[int], paths: Iterable[bytes]) -> None:
    """Give directories that a tar implied the attributes they have below.

    Args:
        diff: The layer's tree.
        lower: The trees below, topmost first.
        paths: In order, what is above before what is in it.
    """
    new = set[bytes]()
    for path in paths:
        # Nothing is below what is new, and it has the attributes it was made with.
        if path.rpartition(b"/")[0] in new or not _inherit(diff, lower, path):
            new.add(path)


def _inherit(diff: int, lower: Sequence[int], path: bytes) -> bool:
    """Give a directory of a layer the attributes it has below; root and 0755 if it is new.

    Returns:
        Whether it is below.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY
    try:
        descriptor = open_in_root(diff, path, flags, follow=False)
    except OSError as exc:
        if exc.errno in _NO_DIRECTORY:
            return True  # the archive itself replaced it
        raise
    try:
        below = _status_below(lower, path)
        if below is None:
            set_access(descriptor, 0, 0, 0o755)
            return False
        set_access(descriptor, below.st_uid, below.st_gid, stat.S_IMODE(below.st_mode))
        os.utime(descriptor, ns=(below.st_mtime_ns, below.st_mtime_ns))
        return True
    finally:
        os.close(descriptor)


def _status_below(lower: Sequence[int], path: bytes) -> os.stat_result | None:
    """Return the status of the directory that shows at `path`, if one does."""
    for layer in lower:
        try:
            found = open_in_root(layer, path, O_PATH_DIRECTORY, follow=False)
        except FileNotFoundError:
            continue
        except OSError as exc:
            if exc.errno in _NO_DIRECTORY:
                return None  # a whiteout, file or link hides what is deeper
            raise
        try:
            return os.fstat(found)
        finally:
            os.close(found)
    return None


def _set_opaque(parent: int, base: bytes) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(base, flags, dir_fd=parent)
    try:
        os.setxattr(descriptor, OPAQUE_XATTR, b"y")
    finally:
        os.close(descriptor)
