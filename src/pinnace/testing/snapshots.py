"""Snapshots in memory: layers are their tars, nothing is mounted."""

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import zstandard

from pinnace.contracts.snapshots import (
    ByteSink,
    ByteSource,
    ChainId,
    Change,
    LayerStat,
    SnapshotKey,
    StagedLayer,
    Usage,
)
from pinnace.errors import AlreadyExists, Conflict, InvalidParameter, NotFound
from pinnace.oci.chain import chain_id
from pinnace.oci.digest import Digest, sha256_digest
from pinnace.oci.layer import safe_path
from pinnace.oci.tar_reader import ByteStream, TarReader
from pinnace.oci.tar_writer import END_OF_ARCHIVE

_KEY_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


@dataclass(frozen=True, slots=True)
class _Layer:
    parent: ChainId | None
    stat: LayerStat
    tar: bytes
    inodes: int


class FakeSnapshots:
    """Implements `contracts.snapshots.Snapshots`.

    Attributes:
        mounts: Snapshot by the directory it is mounted at.
        pending: What a snapshot's next `commit` or `seal` finds, as a tar; nothing by default.
        pending_changes: What `changes` says of a snapshot; nothing by default.
    """

    driver = "fake"

    def __init__(self) -> None:
        self.mounts: dict[Path, SnapshotKey] = {}
        self.pending: dict[SnapshotKey, bytes] = {}
        self.pending_changes: dict[SnapshotKey, Sequence[Change]] = {}
        self._layers: dict[ChainId, _Layer] = {}
        self._staged: dict[Digest, _Layer] = {}
        self._active: dict[SnapshotKey, ChainId | None] = {}
        self._failures: dict[str, Exception] = {}

    def fail_next(self, operation: str, error: Exception) -> None:
        """Let the next call of `operation` raise `error` and do nothing."""
        self._failures[operation] = error

    @property
    def active(self) -> frozenset[SnapshotKey]:
        """Keys of the active snapshots."""
        return frozenset(self._active)

    @property
    def layers(self) -> frozenset[ChainId]:
        """The committed layers."""
        return frozenset(self._layers)

    def layer_tar(self, chain: ChainId) -> bytes:
        """Return what `export_layer` writes."""
        return self._layer(chain).tar

    def has_layer(self, chain: ChainId) -> bool:
        """See the contract."""
        return chain in self._layers

    def ingest_layer(
        self,
        parent: ChainId | None,
        source: ByteSource,
        *,
        diff_id: Digest | None = None,
        digest: Digest | None = None,
    ) -> tuple[ChainId, LayerStat]:
        """See the contract; xz and bzip2 are not understood."""
        self._fail("ingest_layer")
        if parent is not None:
            self._layer(parent)
        return self._place(parent, _read(source, diff_id=diff_id, digest=digest))

    def stage_layer(
        self, source: ByteSource, *, diff_id: Digest | None = None, digest: Digest | None = None
    ) -> LayerStat:
        """See the contract."""
        self._fail("stage_layer")
        layer = _read(source, diff_id=diff_id, digest=digest)
        self._staged.setdefault(layer.stat.diff_id, layer)
        return layer.stat

    def adopt_layer(self, parent: ChainId | None, diff_id: Digest) -> tuple[ChainId, LayerStat]:
        """See the contract."""
        self._fail("adopt_layer")
        if diff_id not in self._staged:
            raise NotFound(f"layer is not staged: {diff_id}")
        if parent is not None:
            self._layer(parent)
        return self._place(parent, self._staged.pop(diff_id))

    def has_staged(self, diff_id: Digest) -> bool:
        """See the contract."""
        return diff_id in self._staged

    def staged_layers(self) -> Sequence[StagedLayer]:
        """See the contract; staged when the epoch began, so that every age is reached."""
        return [StagedLayer(key, layer.stat.size, 0) for key, layer in self._staged.items()]

    def remove_staged(self, diff_id: Digest) -> None:
        """See the contract."""
        self._staged.pop(diff_id, None)

    def prepare(self, key: SnapshotKey, parent: ChainId | None) -> None:
        """See the contract."""
        self._fail("prepare")
        if not key or not _KEY_LETTERS.issuperset(key) or key[0] in "_.-" or len(key) > 128:
            raise InvalidParameter(f"invalid snapshot key: {key!r}")
        if key in self._active:
            raise AlreadyExists(f"snapshot already exists: {key}")
        if parent is not None:
            self._layer(parent)
        self._active[key] = parent

    def mount(self, key: SnapshotKey, target: Path, *, bare: bool = False) -> None:
        """See the contract; only noted."""
        self._fail("mount")
        self._parent(key)
        self.mounts[target] = key

    def unmount(self, target: Path) -> None:
        """See the contract."""
        self.mounts.pop(target, None)

    def commit(
        self, key: SnapshotKey, parent: ChainId | None, *, latest_ns: int | None = None
    ) -> tuple[ChainId, LayerStat]:
        """See the contract; the layer is what `pending` holds."""
        self._fail("commit")
        return self._made(key, parent)

    def seal(
        self, key: SnapshotKey, parent: ChainId | None, *, latest_ns: int | None = None
    ) -> tuple[ChainId, LayerStat]:
        """See the contract; the layer is what `pending` holds."""
        self._parent(key)
        if parent is not None:
            self._layer(parent)
        if key in self.mounts.values():
            raise Conflict(f"snapshot is mounted: {key}")
        try:
            self._fail("seal")
            return self._made(key, parent)
        finally:
            del self._active[key]

    def export_layer(self, chain: ChainId, parent: ChainId | None, target: ByteSink) -> None:
        """See the contract."""
        self._fail("export_layer")
        target.write(self._layer(chain).tar)

    def changes(self, key: SnapshotKey, parent: ChainId | None) -> Sequence[Change]:
        """See the contract; what `pending_changes` holds."""
        self._parent(key)
        return self.pending_changes.get(key, [])

    def usage(self, key: SnapshotKey) -> Usage:
        """See the contract; the size of what `pending` holds."""
        self._parent(key)
        return Usage(*_count(self.pending.get(key, END_OF_ARCHIVE)))

    def layer_stat(self, chain: ChainId) -> LayerStat:
        """See the contract."""
        return self._layer(chain).stat

    def ancestry(self, chain: ChainId) -> Sequence[ChainId]:
        """See the contract."""
        found = [chain]
        while (parent := self._layer(found[-1]).parent) is not None:
            found.append(parent)
        return found

    def layer_paths(self, chain: ChainId) -> Mapping[str, str]:
        """See the contract."""
        return {"UpperDir": f"/fake/{chain}"}

    def snapshot_paths(self, key: SnapshotKey, target: Path) -> Mapping[str, str]:
        """See the contract."""
        return {"MergedDir": str(target)}

    def layer_usage(self, chain: ChainId) -> Usage:
        """See the contract."""
        layer = self._layer(chain)
        return Usage(layer.stat.size, layer.inodes)

    def remove(self, key: SnapshotKey) -> None:
        """See the contract."""
        self._fail("remove")
        self._active.pop(key, None)

    def remove_layer(self, chain: ChainId) -> None:
        """See the contract."""
        self._layers.pop(chain, None)

    def repair(self, keys: Iterable[SnapshotKey], chains: Iterable[ChainId]) -> Sequence[str]:
        """See the contract."""
        wanted: set[str] = {*keys, *chains}
        lost_keys = [key for key in self._active if key not in wanted]
        lost_layers = [chain for chain in self._layers if chain not in wanted]
        for key in lost_keys:
            del self._active[key]
        for chain in lost_layers:
            del self._layers[chain]
        return [f"removed unused {name}" for name in (*lost_keys, *lost_layers)]

    def _made(self, key: SnapshotKey, parent: ChainId | None) -> tuple[ChainId, LayerStat]:
        self._parent(key)
        tar = self.pending.get(key, END_OF_ARCHIVE)
        stat = LayerStat(
            sha256_digest(tar), _count(tar)[0], sha256_digest(tar), len(tar), len(tar)
        )
        chain = chain_id(parent, stat.diff_id)
        self._layers.setdefault(chain, _Layer(parent, stat, tar, _count(tar)[1]))
        return chain, stat

    def _place(self, parent: ChainId | None, layer: _Layer) -> tuple[ChainId, LayerStat]:
        chain = chain_id(parent, layer.stat.diff_id)
        self._layers.setdefault(chain, replace(layer, parent=parent))
        return chain, layer.stat

    def _layer(self, chain: ChainId) -> _Layer:
        if chain not in self._layers:
            raise NotFound(f"layer does not exist: {chain}")
        return self._layers[chain]

    def _parent(self, key: SnapshotKey) -> ChainId | None:
        if key not in self._active:
            raise NotFound(f"snapshot does not exist: {key}")
        return self._active[key]

    def _fail(self, operation: str) -> None:
        error = self._failures.pop(operation, None)
        if error is not None:
            raise error


def _read(source: ByteSource, *, diff_id: Digest | None, digest: Digest | None) -> _Layer:
    data = b"".join(iter(lambda: source.read(1 << 16), b""))
    tar = _inflate(data)
    size, inodes = _count(tar)
    stat = LayerStat(sha256_digest(tar), size, sha256_digest(data), len(data), len(tar))
    if diff_id not in (None, stat.diff_id) or digest not in (None, stat.digest):
        raise InvalidParameter(f"layer is {stat.diff_id}, not the one announced")
    return _Layer(None, stat, tar, inodes)


def _inflate(data: bytes) -> bytes:
    try:
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except (OSError, EOFError, zstandard.ZstdError) as exc:
        raise InvalidParameter(f"invalid compressed layer: {exc}") from exc
    return data


def _count(tar: bytes) -> tuple[int, int]:
    """Return size and inodes of a layer, and refuse what no driver would unpack."""
    reader = TarReader(ByteStream(iter([tar])))
    size = inodes = 0
    while (entry := reader.next_entry()) is not None:
        safe_path(entry.name)
        size += entry.size
        inodes += entry.kind != b"1"
    return size, inodes
