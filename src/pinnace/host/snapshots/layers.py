"""The directory of committed layers, common to every snapshot driver.

`layers/<chain hex>/` holds `diff/` (the tree), `recipe` (see recipe.py), `orphans/` (files which
the layer's own tar replaced; usually absent) and `layer.json` (`LayerRecord`). A layer directory
is filled under `tmp/` and renamed, so what has its final name is complete.
"""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from pinnace.contracts.snapshots import ByteSink, ByteSource, LayerStat, UnpackLimits
from pinnace.errors import Internal, InvalidParameter, NotFound
from pinnace.host.content.inflate import InflatedLayer
from pinnace.host.kernel.paths import directory, open_in_root
from pinnace.host.snapshots.recipe import Content, HashingWriter, RecipeWriter, final_paths
from pinnace.host.snapshots.tree import remove_tree
from pinnace.host.snapshots.unpack import TreeRules, TreeWriter
from pinnace.oci.chain import ChainId, chain_id
from pinnace.oci.digest import Digest, digest_hex, parse_digest
from pinnace.oci.tar_reader import ByteStream, TarReader

_COPY_CHUNK = 1 << 20
_ORPHAN_PREFIX = b"\0orphans/"


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What `layer.json` keeps.

    Attributes:
        diff_id: Digest of the uncompressed tar.
        digest: Digest of the bytes it came as.
        compressed_size: Their count.
        tar_size: Bytes of the uncompressed tar.
        size: Sum of the files' sizes.
        inodes: Files, directories and the rest.
        parent: Chain id of the layer below.
        link: Short name below `l/`, for mount options.
        opaque: The layer hides everything below it.
    """

    diff_id: Digest
    digest: Digest
    compressed_size: int
    tar_size: int
    size: int
    inodes: int
    parent: ChainId | None
    link: str
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """What was unpacked, not yet committed."""

    stat: LayerStat
    inodes: int


class UnpackingLayer:
    """A layer being unpacked in a temporary directory."""

    def __init__(self, path: Path, recipe: RecipeWriter) -> None:
        self.path = path
        self.diff = path / "diff"
        self.recipe = recipe
        self.opaque = False
        self._orphans = 0

    def keep_orphan(self, parent: int, base: bytes, path: bytes) -> None:
        """Move what the archive itself replaces out of the tree; the recipe needs its content."""
        orphans = self.path / "orphans"
        orphans.mkdir(mode=0o700, exist_ok=True)
        target = orphans / str(self._orphans)
        os.rename(base, os.fsencode(target), src_dir_fd=parent)
        self.recipe.moved(path, self._orphans)
        self._orphans += 1


class LayerDirectory:
    """Committed layers below a storage root."""

    def __init__(self, root: Path) -> None:
        """Use (and make) `layers/`, `l/` and `tmp/` below `root`."""
        self._layers = root / "layers"
        self._links = root / "l"
        self._tmp = root / "tmp"
        for path in (root, self._layers, self._links, self._tmp):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._records: dict[ChainId, LayerRecord] = {}

    def path(self, chain: ChainId) -> Path:
        """Return where the layer is, or would be."""
        return self._layers / digest_hex(parse_digest(chain))

    def has(self, chain: ChainId) -> bool:
        """Whether the layer is committed."""
        return chain in self._records or (self.path(chain) / "layer.json").exists()

    def read(self, chain: ChainId) -> LayerRecord:
        """Return the record of a committed layer.

        Raises:
            NotFound: It is not committed.
        """
        record = self._records.get(chain)
        if record is None:
            try:
                encoded = (self.path(chain) / "layer.json").read_bytes()
            except FileNotFoundError as exc:
                raise NotFound(f"layer does not exist: {chain}") from exc
            record = msgspec.json.decode(encoded, type=LayerRecord)
            self._records[chain] = record
        return record

    def stack(self, chain: ChainId | None) -> Iterator[tuple[ChainId, LayerRecord]]:
        """Yield the layers which are visible at `chain`, topmost first."""
        while chain is not None:
            record = self.read(chain)
            yield chain, record
            chain = None if record.opaque else record.parent

    def stat(self, chain: ChainId) -> LayerStat:
        """Return what unpacking found.

        Raises:
            NotFound: The layer is not committed.
        """
        record = self.read(chain)
        return LayerStat(
            record.diff_id, record.size, record.digest, record.compressed_size, record.tar_size
        )

    def ancestry(self, chain: ChainId) -> list[ChainId]:
        """Return the layer and all below it, also those that an opaque root hides.

        Raises:
            NotFound: One of them is not committed.
        """
        found = [chain]
        while (parent := self.read(found[-1]).parent) is not None:
            found.append(parent)
        return found

    def link(self, record: LayerRecord) -> Path:
        """Return the short path of a layer's tree."""
        return self._links / record.link

    @contextmanager
    def stage(self) -> Iterator[UnpackingLayer]:
        """Make a place to unpack into; what is left of it afterwards is removed.

        Raises:
            Internal: The host fails, for example for lack of space; also within the `with` block.
        """
        with host_failures():
            path = Path(tempfile.mkdtemp(prefix="layer-", dir=self._tmp))
            try:
                (path / "diff").mkdir(mode=0o755)
                with (path / "recipe").open("wb") as target:
                    yield UnpackingLayer(path, RecipeWriter(target))
            finally:
                remove_tree(path)

    def unpack(
        self,
        unpacking: UnpackingLayer,
        source: ByteSource,
        *,
        rules: TreeRules,
        limits: UnpackLimits,
    ) -> Arrival:
        """Unpack the tar `source` into the staged directory.

        Raises:
            InvalidParameter: The tar is hostile, broken or over a limit.
        """
        with directory(unpacking.diff) as root_fd, InflatedLayer(source, limits) as inflated:
            writer = TreeWriter(root_fd, rules, limits=limits, recipe=unpacking.recipe)
            writer.write_all(TarReader(ByteStream(iter(inflated)), unpacking.recipe.raw))
        unpacking.recipe.close()
        return _arrival(inflated, writer.size, writer.inodes)

    def receive(self, path: Path, source: ByteSource, *, limits: UnpackLimits) -> Arrival:
        """Keep the tar `source` uncompressed as the file `path`, to be unpacked later.

        Raises:
            InvalidParameter: The tar is broken or over a limit.
            Internal: The host failed, for example for lack of space.
        """
        size = inodes = 0
        try:
            with path.open("xb") as target, InflatedLayer(source, limits) as inflated:
                reader = TarReader(ByteStream(_copied(inflated, target)))
                while (entry := reader.next_entry()) is not None:
                    size += entry.size
                    inodes += 1
        except OSError as exc:
            raise Internal(f"unpacking failed: {exc.strerror}") from exc
        return _arrival(inflated, size, inodes)

    def commit(
        self,
        path: Path,
        arrival: Arrival,
        parent: ChainId | None,
        *,
        opaque: bool = False,
        place: Callable[[], None] | None = None,
    ) -> tuple[ChainId, LayerStat]:
        """Make the directory `path` a layer on top of `parent`; an equal one is kept instead.

        Args:
            path: Holds `diff/`, `recipe` and maybe `orphans/`.
            arrival: What unpacking it found.
            parent: The layer below.
            opaque: The layer hides everything below it.
            place: Puts the tree at `diff/`, if it is not there yet; called when nothing but the
                last renaming is left to do, and not for a layer that is there already.
        """
        stat = arrival.stat
        chain = chain_id(parent, stat.diff_id)
        if self.has(chain):
            return chain, stat
        record = LayerRecord(
            diff_id=stat.diff_id,
            digest=stat.digest,
            compressed_size=stat.compressed_size,
            tar_size=stat.tar_size,
            size=stat.size,
            inodes=arrival.inodes,
            parent=parent,
            link=secrets.token_hex(8),
            opaque=opaque,
        )
        final = self.path(chain)
        (path / "layer.json").unlink(missing_ok=True)  # of an attempt that was cut short
        write_durably(path / "layer.json", msgspec.json.encode(record))
        link = self.link(record)
        link.symlink_to(Path("..") / "layers" / final.name / "diff")
        try:
            if place is not None:
                place()
            path.rename(final)
        except OSError:
            link.unlink()
            if not self.has(chain):
                raise
            return chain, stat  # another thread was faster
        with directory(self._layers) as descriptor:
            os.fsync(descriptor)
        self._records[chain] = record
        return chain, stat

    def export(self, chain: ChainId, target: ByteSink) -> None:
        """Write the layer's tar, byte for byte as it came.

        Raises:
            NotFound: The layer is not committed.
            Internal: The layer was changed or damaged on disk: the digest is wrong. `target` has
                the bytes by then; the caller must treat them as void.
        """
        record = self.read(chain)
        out = HashingWriter(target)
        base = self.path(chain)
        with (
            (base / "recipe").open("rb") as source,
            directory(base) as base_fd,
            directory(base / "diff") as diff_fd,
        ):
            for item in final_paths(source):
                if isinstance(item, Content):
                    _copy_content(item, diff_fd, base_fd, out)
                else:
                    out.write(item.data)
        if "sha256:" + out.finish() != record.diff_id:
            raise Internal(f"layer {chain} is damaged: its content does not match its digest")

    def remove(self, chain: ChainId) -> None:
        """Remove a layer; no error when it does not exist."""
        path = self.path(chain)
        try:
            link = self.link(self.read(chain))
        except NotFound:
            link = None
        self._records.pop(chain, None)
        self.discard(path)
        if link is not None:
            link.unlink(missing_ok=True)

    def discard(self, path: Path) -> None:
        """Make `path` disappear at once, then remove what it held."""
        grave = self._tmp / f"removed-{secrets.token_hex(8)}"
        try:
            path.rename(grave)
        except FileNotFoundError:
            return
        remove_tree(grave)

    def repair(self, chains: Iterable[ChainId]) -> list[str]:
        """Remove temporary directories, layers not in `chains`, and dangling links."""
        done = []
        for leftover in self._tmp.iterdir():
            remove_tree(leftover)
            done.append(f"removed unfinished {leftover.name}")
        wanted = {digest_hex(parse_digest(chain)) for chain in chains}
        for path in self._layers.iterdir():
            if path.name not in wanted or not (path / "layer.json").exists():
                self._records.pop(ChainId(f"sha256:{path.name}"), None)
                self.discard(path)
                done.append(f"removed unused layer {path.name[:12]}")
        for link in self._links.iterdir():
            if not link.exists():
                link.unlink()
        return done


@contextmanager
def host_failures() -> Iterator[None]:
    """Give the failures of the host a name of ours, for the time of a `with` block.

    Raises:
        Internal: Instead of OSError.
    """
    try:
        yield
    except OSError as exc:
        raise Internal(f"unpacking failed: {exc.strerror}") from exc


def check_arrival(arrival: Arrival, *, diff_id: Digest | None, digest: Digest | None) -> None:
    """Check that the layer is the one that was announced.

    Raises:
        InvalidParameter: It is another one.
    """
    stat = arrival.stat
    if digest not in (None, stat.digest):
        raise InvalidParameter(f"layer has digest {stat.digest} instead of {digest}")
    if diff_id not in (None, stat.diff_id):
        raise InvalidParameter(
            f'invalid diffID for layer: expected "{diff_id}", got "{stat.diff_id}"'
        )


def _arrival(inflated: InflatedLayer, size: int, inodes: int) -> Arrival:
    stat = LayerStat(
        inflated.diff_id, size, inflated.digest, inflated.compressed_size, inflated.size
    )
    return Arrival(stat, inodes)


def _copied(chunks: Iterable[bytes], target: BinaryIO) -> Iterator[bytes]:
    for chunk in chunks:
        target.write(chunk)
        yield chunk


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on disk."""
    with path.open("xb") as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())


def _copy_content(item: Content, diff_fd: int, base_fd: int, out: HashingWriter) -> None:
    root_fd, path = diff_fd, item.path
    if path.startswith(_ORPHAN_PREFIX):
        root_fd, path = base_fd, path[1:]
    try:
        descriptor = open_in_root(root_fd, path, os.O_RDONLY | os.O_NOFOLLOW, follow=False)
    except OSError as exc:
        raise Internal(f"layer is damaged: {path!r}: {exc.strerror}") from exc
    try:
        left = item.size
        while left:
            data = os.read(descriptor, min(left, _COPY_CHUNK))
            if not data:
                raise Internal(f"layer is damaged: {path!r} is shorter than it was")
            out.write(data)
            left -= len(data)
    finally:
        os.close(descriptor)
