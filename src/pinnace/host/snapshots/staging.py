"""Layers unpacked before the one below them is there.

`staged/<diff hex>/` holds what the driver unpacked and `stage.json`, and survives the daemon: a
pull that was cut short goes on with it. Adopting it on top of a parent moves it to `layers/`.

Nothing is synchronised to disk, so nobody knows what is left of it after a power cut: what was
staged before the host started last does not count.
"""

import errno
from pathlib import Path

import msgspec

from pinnace.contracts.snapshots import LayerStat, StagedLayer
from pinnace.errors import NotFound
from pinnace.host.snapshots.layers import Arrival, LayerDirectory
from pinnace.oci.digest import Digest, digest_hex, parse_digest

RECORD = "stage.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What `stage.json` keeps.

    Attributes:
        opaque: The layer hides everything below it.
        implied: Directories the tar uses and does not list: they get the attributes which the
            layers below give them.
        boot: During which run of the kernel it was staged.
    """

    diff_id: Digest
    digest: Digest
    compressed_size: int
    tar_size: int
    size: int
    inodes: int
    opaque: bool = False
    implied: list[bytes] = []
    boot: str = ""

    @classmethod
    def of(cls, arrival: Arrival, *, opaque: bool, implied: list[bytes]) -> "StageRecord":
        """Return the record of what was unpacked."""
        stat = arrival.stat
        return cls(
            diff_id=stat.diff_id,
            digest=stat.digest,
            compressed_size=stat.compressed_size,
            tar_size=stat.tar_size,
            size=stat.size,
            inodes=arrival.inodes,
            opaque=opaque,
            implied=implied,
        )

    @property
    def arrival(self) -> Arrival:
        """What unpacking found."""
        stat = LayerStat(self.diff_id, self.size, self.digest, self.compressed_size, self.tar_size)
        return Arrival(stat, self.inodes)


class StagingDirectory:
    """`staged/` below a storage root."""

    def __init__(self, root: Path, layers: LayerDirectory) -> None:
        """Use (and make) `staged/` below `root`; remove through `layers`."""
        self._root = root / "staged"
        self._layers = layers
        self._boot = _BOOT_ID.read_text().strip()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, diff_id: Digest) -> Path:
        """Return where the layer is, or would be."""
        return self._root / digest_hex(parse_digest(diff_id))

    def keep(self, path: Path, record: StageRecord) -> None:
        """Move a filled directory here; one that is already here is kept instead."""
        record = msgspec.structs.replace(record, boot=self._boot)
        (path / RECORD).write_bytes(msgspec.json.encode(record))
        while not _moved(path, self.path(record.diff_id)):
            if self.has(record.diff_id):
                return  # another thread was faster
            self.remove(record.diff_id)  # it does not count any more

    def has(self, diff_id: Digest) -> bool:
        """Whether the layer is staged."""
        try:
            self.read(diff_id)
        except NotFound:
            return False
        return True

    def read(self, diff_id: Digest) -> StageRecord:
        """Return the record of a staged layer.

        Raises:
            NotFound: It is not staged.
        """
        try:
            encoded = (self.path(diff_id) / RECORD).read_bytes()
            record = msgspec.json.decode(encoded, type=StageRecord)
        except (FileNotFoundError, msgspec.MsgspecError) as exc:
            raise NotFound(f"layer is not staged: {diff_id}") from exc
        if record.boot != self._boot:
            raise NotFound(f"layer is not staged: {diff_id}")
        return record

    def all(self) -> list[StagedLayer]:
        """Return what is staged."""
        found = []
        for path in self._root.iterdir():
            try:
                record = self.read(Digest(f"sha256:{path.name}"))
                staged_s = (path / RECORD).stat().st_mtime
            except (NotFound, FileNotFoundError):
                continue  # adopted or removed meanwhile
            found.append(StagedLayer(record.diff_id, record.size, staged_s))
        return found

    def remove(self, diff_id: Digest) -> None:
        """Remove a staged layer; no error when it does not exist."""
        self._layers.discard(self.path(diff_id))

    def repair(self) -> list[str]:
        """Remove what is not complete, or not known to be."""
        done = []
        for path in self._root.iterdir():
            if not self.has(Digest(f"sha256:{path.name}")):
                self._layers.discard(path)
                done.append(f"removed unfinished layer {path.name[:12]}")
        return done


def _moved(path: Path, target: Path) -> bool:
    """Rename a directory, unless another one is there; it may be adopted at any moment."""
    try:
        path.rename(target)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
