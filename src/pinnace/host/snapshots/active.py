"""The directory of active snapshots, common to every snapshot driver."""

import errno
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pinnace.contracts.snapshots import ChainId, SnapshotKey
from pinnace.errors import AlreadyExists, Conflict, InvalidParameter, NotFound
from pinnace.host.snapshots.layers import LayerDirectory
from pinnace.host.snapshots.tree import remove_tree

_LONGEST_CHAIN_ID = 256
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class ActiveDirectory:
    """`snapshots/<key>/` with a `parent` file and what the driver puts beside it."""

    def __init__(self, root: Path, layers: LayerDirectory) -> None:
        """Use (and make) `snapshots/` below `root`."""
        self._root = root / "snapshots"
        self._tmp = root / "tmp"
        self._layers = layers
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, key: SnapshotKey) -> Path:
        """Return where the snapshot is, or would be.

        Raises:
            InvalidParameter: The key cannot name a directory.
        """
        if not _KEY.fullmatch(key):
            raise InvalidParameter(f"invalid snapshot key: {key!r}")
        return self._root / key

    def existing(self, key: SnapshotKey) -> Path:
        """Return the snapshot's directory.

        Raises:
            NotFound: There is none.
        """
        path = self.path(key)
        if not path.is_dir():
            raise NotFound(f"snapshot does not exist: {key}")
        return path

    def parent(self, key: SnapshotKey) -> ChainId | None:
        """Return the layer that the snapshot stands on."""
        try:
            fd = os.open(self.path(key) / "parent", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as exc:
            raise NotFound(f"snapshot does not exist: {key}") from exc
        try:
            text = os.read(fd, _LONGEST_CHAIN_ID).decode()
        finally:
            os.close(fd)
        return ChainId(text) if text else None

    @contextmanager
    def create(self, key: SnapshotKey, parent: ChainId | None) -> Iterator[Path]:
        """Give a temporary directory to fill; it becomes the snapshot at the end.

        Raises:
            AlreadyExists: `key` is taken.
            NotFound: `parent` is not committed.
        """
        final = self.path(key)
        if final.exists():
            raise AlreadyExists(f"snapshot already exists: {key}")
        if parent is not None:
            self._layers.read(parent)
        staged = Path(tempfile.mkdtemp(prefix="snapshot-", dir=self._tmp))
        try:
            yield staged
            fd = os.open(staged / "parent", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, (parent or "").encode())
            finally:
                os.close(fd)
            staged.rename(final)
        except BaseException as exc:
            self._layers.discard(staged)
            if isinstance(exc, OSError) and exc.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise AlreadyExists(f"snapshot already exists: {key}") from exc
            raise

    def remove(self, key: SnapshotKey) -> None:
        """Remove a snapshot; no error when it does not exist."""
        self._layers.discard(self.path(key))

    def check_unmounted(self, key: SnapshotKey, part: str) -> None:
        """Check that the directory `part` of a snapshot is mounted nowhere.

        Raises:
            Conflict: It is, as a bind mount or as what an overlay writes to.
        """
        mounted = f"snapshots/{key}/{part}"
        table = Path("/proc/self/mountinfo").read_text()
        if f"{mounted} " in table or f"{mounted}," in table:
            raise Conflict(f"snapshot is mounted: {key}")

    def take(self, key: SnapshotKey, part: str, target: Path) -> None:
        """Move the directory `part` of a snapshot to `target`, and remove what else it has.

        The snapshot is gone at the first step, so that a crash never leaves half of one.

        Args:
            key: The snapshot.
            part: Name of a directory in it.
            target: Not there, or an empty directory.
        """
        grave = self._tmp / f"removed-{secrets.token_hex(8)}"
        self.path(key).rename(grave)
        (grave / part).rename(target)
        remove_tree(grave)

    def repair(self, keys: Iterable[SnapshotKey]) -> list[str]:
        """Remove snapshots not in `keys`."""
        wanted = set(keys)
        done = []
        for path in self._root.iterdir():
            if path.name not in wanted:
                self._layers.discard(path)
                done.append(f"removed unused snapshot {path.name[:12]}")
        return done
