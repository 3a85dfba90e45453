"""Filesystem states out of layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NewType, Protocol

from pinnace.oci.chain import ChainId as ChainId  # part of this contract
from pinnace.oci.digest import Digest

SnapshotKey = NewType("SnapshotKey", str)  # active snapshot; container id or temporary name


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes and inodes that a snapshot takes on its own."""

    size: int
    inodes: int


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs from the parent.

    Attributes:
        path: Absolute path inside the snapshot.
        kind: 0 modified, 1 added, 2 deleted (Docker's numbers).
    """

    path: str
    kind: int


@dataclass(frozen=True, slots=True)
class LayerStat:
    """What unpacking a layer found.

    Attributes:
        diff_id: Digest of the uncompressed tar.
        size: Sum of regular files' sizes, in bytes.
        digest: Digest of the bytes as read (compressed or not).
        compressed_size: Bytes as read.
        tar_size: Bytes of the uncompressed tar.
    """

    diff_id: Digest
    size: int
    digest: Digest
    compressed_size: int
    tar_size: int = 0


@dataclass(frozen=True, slots=True)
class StagedLayer:
    """A layer that was unpacked and stands on nothing yet.

    Attributes:
        diff_id: Digest of the uncompressed tar.
        size: Sum of regular files' sizes, in bytes.
        staged_s: When, Unix seconds.
    """

    diff_id: Digest
    size: int
    staged_s: float


class ByteSource(Protocol):
    """What bytes are read from; every binary file is one."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, at least one unless at the end; blocks."""
        ...


class ByteSink(Protocol):
    """Where bytes are written to; every binary file opened for writing is one."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`; may block."""
        ...


class Snapshots(Protocol):
    """Layers and the writable states on top of them. All methods block: call them in a worker."""

    driver: str  # "overlay2" or "vfs", as GET /info reports it

    def has_layer(self, chain: ChainId) -> bool:
        """Whether the committed layer exists."""
        ...

    def ingest_layer(
        self,
        parent: ChainId | None,
        source: ByteSource,
        *,
        diff_id: Digest | None = None,
        digest: Digest | None = None,
    ) -> tuple[ChainId, LayerStat]:
        """Unpack a layer tar on top of `parent`, atomically.

        The chain id follows from parent and diff id; an existing equal layer is kept as it is.

        Args:
            parent: The layer below.
            source: A plain tar, or one compressed with gzip, zstd, xz or bzip2.
            diff_id: What the uncompressed bytes must have; None: not known before.
            digest: What the bytes as they come must have; likewise.

        Raises:
            InvalidParameter: The tar is hostile, broken, over a limit or another one; nothing
                remains.
        """
        ...

    def stage_layer(
        self, source: ByteSource, *, diff_id: Digest | None = None, digest: Digest | None = None
    ) -> LayerStat:
        """Unpack a layer tar before its parent is there, atomically; `adopt_layer` places it.

        What is staged outlives the daemon. A layer already staged is kept as it is.

        Args:
            source: As for `ingest_layer`.
            diff_id: What the uncompressed bytes must have; None: not known before.
            digest: What the bytes as they come must have; likewise.

        Raises:
            InvalidParameter: As `ingest_layer`; nothing remains.
        """
        ...

    def adopt_layer(self, parent: ChainId | None, diff_id: Digest) -> tuple[ChainId, LayerStat]:
        """Commit a staged layer on top of `parent`; it is staged no longer.

        The result is that of `ingest_layer`. An equal layer that exists is kept as it is.

        Raises:
            NotFound: Nothing of this diff id is staged, or the parent is not committed.
        """
        ...

    def has_staged(self, diff_id: Digest) -> bool:
        """Whether the layer is staged."""
        ...

    def staged_layers(self) -> Sequence[StagedLayer]:
        """Return what is staged, in no order."""
        ...

    def remove_staged(self, diff_id: Digest) -> None:
        """Remove a staged layer; no error when it does not exist."""
        ...

    def prepare(self, key: SnapshotKey, parent: ChainId | None) -> None:
        """Create an active (writable) snapshot.

        Raises:
            AlreadyExists: `key` is taken.
            NotFound: `parent` is not committed.
        """
        ...

    def mount(self, key: SnapshotKey, target: Path, *, bare: bool = False) -> None:
        """Mount the active snapshot at an existing directory.

        The places that a container's own mounts need (/proc, /etc/hosts, …) may show below what
        the layers hold; they are not among `changes`. With `bare` they never show.
        """
        ...

    def unmount(self, target: Path) -> None:
        """Undo `mount`; no error when nothing is mounted."""
        ...

    def commit(
        self, key: SnapshotKey, parent: ChainId | None, *, latest_ns: int | None = None
    ) -> tuple[ChainId, LayerStat]:
        """Make a committed layer out of the active snapshot's changes; the snapshot stays.

        Args:
            key: The snapshot.
            parent: What it stands on.
            latest_ns: No file of the layer is younger (Unix nanoseconds); None: as they are.
        """
        ...

    def seal(
        self, key: SnapshotKey, parent: ChainId | None, *, latest_ns: int | None = None
    ) -> tuple[ChainId, LayerStat]:
        """Turn the active snapshot into a committed layer, the same one that `commit` makes.

        The snapshot is used up: it is absent afterwards, also when an equal layer was there and
        when making this one failed. A crash leaves it, or the layer, or (between two renames)
        neither; never half of one. Nobody may mount it meanwhile.

        Args:
            key: The snapshot.
            parent: What it stands on.
            latest_ns: As for `commit`.

        Raises:
            Conflict: It is mounted somewhere; it stays.
            NotFound: It does not exist, or the parent is not committed (then it stays).
            InvalidParameter: It is over a limit for layers.
        """
        ...

    def export_layer(self, chain: ChainId, parent: ChainId | None, target: ByteSink) -> None:
        """Write the layer's changes as an uncompressed tar whose digest is the diff id."""
        ...

    def changes(self, key: SnapshotKey, parent: ChainId | None) -> Sequence[Change]:
        """Return what differs from the parent, sorted by path."""
        ...

    def usage(self, key: SnapshotKey) -> Usage:
        """Return the size of the active snapshot's own files."""
        ...

    def layer_stat(self, chain: ChainId) -> LayerStat:
        """Return what unpacking the committed layer found when it first came.

        Raises:
            NotFound: It is not committed.
        """
        ...

    def ancestry(self, chain: ChainId) -> Sequence[ChainId]:
        """Return the layer and all below it, topmost first.

        Raises:
            NotFound: One of them is not committed.
        """
        ...

    def layer_paths(self, chain: ChainId) -> Mapping[str, str]:
        """Return where the driver keeps a layer, by Docker's names (`UpperDir`, `LowerDir`, …)."""
        ...

    def snapshot_paths(self, key: SnapshotKey, target: Path) -> Mapping[str, str]:
        """Return the same for an active snapshot which is, or would be, mounted at `target`."""
        ...

    def layer_usage(self, chain: ChainId) -> Usage:
        """Return the size of the committed layer's own files."""
        ...

    def remove(self, key: SnapshotKey) -> None:
        """Remove an active snapshot; no error when it does not exist."""
        ...

    def remove_layer(self, chain: ChainId) -> None:
        """Remove a committed layer that nothing stands on."""
        ...

    def repair(self, keys: Iterable[SnapshotKey], chains: Iterable[ChainId]) -> Sequence[str]:
        """Remove crash leftovers: what is neither in `keys` nor in `chains`; say what was done.

        What is staged stays.
        """
        ...


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """Caps against layer bombs."""

    max_entries: int = 2_000_000
    max_bytes: int = 64 << 30
    max_ratio: int = 2000  # unpacked to compressed, past 64 MiB
    max_path: int = 4096
    xattrs: frozenset[str] = field(default_factory=lambda: frozenset({"security.capability"}))
