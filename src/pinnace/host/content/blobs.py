"""Blobs by digest below `blobs/sha256/`, and archives while they are being loaded."""

import hashlib
import os
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pinnace.contracts.content import PartialBlob, ReceivedArchive, Spooled, UnfinishedBlob
from pinnace.contracts.snapshots import ByteSink, ByteSource, UnpackLimits
from pinnace.errors import Internal, InvalidParameter, NotFound
from pinnace.host.content.inflate import InflatedLayer, plain_chunks
from pinnace.host.content.partial import PartialFile, is_partial, partial_path, unfinished
from pinnace.host.kernel.paths import directory
from pinnace.host.snapshots.tree import remove_tree
from pinnace.oci.digest import Digest, digest_hex, parse_digest
from pinnace.oci.layer import safe_path
from pinnace.oci.tar_reader import DIRECTORY, HARD_LINK, SYMLINK, ByteStream, TarEntry, TarReader

_CHUNK = 1 << 20
_MAX_FILES = 100_000  # of one image archive: a few per layer
_LINK_DEPTH = 8


class BlobContent:
    """Implements `contracts.content.Content`; its docstrings hold here."""

    def __init__(self, root: Path, *, limits: UnpackLimits | None = None) -> None:
        """Keep blobs below `root`, which is made if needed (mode 0700)."""
        self._blobs = root / "blobs" / "sha256"
        self._incoming = root / "incoming"
        self._limits = limits or UnpackLimits()
        for path in (root, root / "blobs", self._blobs, self._incoming):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def ingest(
        self, source: ByteSource, *, expected: Digest | None = None, limit: int | None = None
    ) -> tuple[Digest, int]:
        """See the contract."""
        try:
            return self._ingest(source, expected=expected, limit=limit)
        except OSError as exc:
            raise Internal(f"cannot store a blob: {exc.strerror}") from exc

    def _ingest(
        self, source: ByteSource, *, expected: Digest | None, limit: int | None
    ) -> tuple[Digest, int]:
        content = hashlib.sha256()
        size = 0
        with self._temporary() as (target, path):
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if limit is not None and size > limit:
                    raise InvalidParameter(f"content is larger than {limit} bytes")
                content.update(chunk)
                target.write(chunk)
            digest = Digest("sha256:" + content.hexdigest())
            if expected is not None and digest != expected:
                raise InvalidParameter(f"content has digest {digest} instead of {expected}")
            target.flush()
            os.fsync(target.fileno())
            path.rename(self._path(digest))
        with directory(self._blobs) as descriptor:
            os.fsync(descriptor)
        return digest, size

    @contextmanager
    def spool(self, produce: Callable[[ByteSink], None]) -> Iterator[Spooled]:
        """See the contract."""
        with tempfile.TemporaryFile(dir=self._incoming) as file:
            target = _HashingSink(file)
            try:
                produce(target)
                file.flush()
            except OSError as exc:
                raise Internal(f"cannot store a blob: {exc.strerror}") from exc
            yield Spooled(target.digest(), target.size, cast("BinaryIO", file))

    def receive(self, digest: Digest) -> PartialBlob:
        """See the contract."""
        final = self._path(digest)
        return PartialFile(partial_path(self._incoming, digest), final)

    def unfinished(self) -> Sequence[UnfinishedBlob]:
        """See the contract."""
        return unfinished(self._incoming)

    def drop_unfinished(self, digest: Digest) -> None:
        """See the contract."""
        partial_path(self._incoming, digest).unlink(missing_ok=True)

    def open(self, digest: Digest) -> BinaryIO:
        """See the contract."""
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError as exc:
            raise NotFound(f"content {digest}: not found") from exc

    def size(self, digest: Digest) -> int:
        """See the contract."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError as exc:
            raise NotFound(f"content {digest}: not found") from exc

    def delete(self, digest: Digest) -> None:
        """See the contract."""
        self._path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[tuple[Digest, int]]:
        """See the contract."""
        for path in self._blobs.iterdir():
            yield Digest(f"sha256:{path.name}"), path.stat().st_size

    @contextmanager
    def receive_archive(self, source: ByteSource) -> Iterator[ReceivedArchive]:
        """See the contract."""
        try:
            path = Path(tempfile.mkdtemp(prefix="archive-", dir=self._incoming))
        except OSError as exc:
            raise Internal(f"cannot store the archive: {exc.strerror}") from exc
        try:
            archive = _Archive(path, self._limits, self._path)
            archive.receive(TarReader(ByteStream(plain_chunks(source, self._limits))))
            yield archive
        finally:
            remove_tree(path)

    def repair(self) -> list[str]:
        """See the contract."""
        done = []
        for path in self._incoming.iterdir():
            if is_partial(path):
                continue
            if path.is_dir():
                remove_tree(path)
            else:
                path.unlink()
            done.append(f"removed unfinished {path.name}")
        return done

    def _path(self, digest: Digest) -> Path:
        if not digest.startswith("sha256:"):
            raise InvalidParameter(f"unsupported digest algorithm: {digest}")
        return self._blobs / digest_hex(parse_digest(digest))

    @contextmanager
    def _temporary(self) -> Iterator[tuple[BinaryIO, Path]]:
        descriptor, name = tempfile.mkstemp(prefix="blob-", dir=self._incoming)
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target:
                yield target, path
        finally:
            path.unlink(missing_ok=True)  # renamed away when all went well


class _HashingSink:
    """Writes to a file, hashing and counting."""

    def __init__(self, file: ByteSink) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)
        self.size += len(data)

    def digest(self) -> Digest:
        return Digest("sha256:" + self._hash.hexdigest())


class _Archive:
    """Implements `contracts.content.ReceivedArchive`.

    Files are kept under numbers: no name of the archive becomes a name on the host.
    """

    def __init__(self, path: Path, limits: UnpackLimits, place: Callable[[Digest], Path]) -> None:
        self._path = path
        self._place = place
        self._limits = limits
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._count = 0

    def receive(self, reader: TarReader) -> None:
        try:
            while (entry := reader.next_entry()) is not None:
                self._count += 1
                if self._count > _MAX_FILES:
                    raise InvalidParameter(f"more than {_MAX_FILES} files in the archive")
                self._take(entry, reader)
        except OSError as exc:
            raise Internal(f"cannot store the archive: {exc.strerror}") from exc

    def names(self) -> list[str]:
        return [*self._files, *self._links]

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def size(self, name: str) -> int:
        return self._get(name)[1]

    def open(self, name: str) -> BinaryIO:
        return (self._path / str(self._get(name)[0])).open("rb")

    def keep(self, name: str, digest: Digest) -> None:
        held = self._path / str(self._get(name)[0])
        try:
            self._place(digest).hardlink_to(held)
        except FileExistsError:
            return
        except OSError as exc:
            raise Internal(f"cannot store the archive: {exc.strerror}") from exc

    def diff_id(self, source: ByteSource) -> Digest:
        with InflatedLayer(source, self._limits) as inflated:
            for _ in inflated:
                continue
        return inflated.diff_id

    def _take(self, entry: TarEntry, reader: TarReader) -> None:
        name = safe_path(entry.name).decode("utf-8", "surrogateescape")
        link = entry.link.decode("utf-8", "surrogateescape")
        if entry.kind == b"0":
            with (self._path / str(self._count)).open("wb") as target:
                for chunk in reader.content():
                    target.write(chunk)
            self._links.pop(name, None)
            self._files[name] = (self._count, entry.size)
        elif entry.kind == SYMLINK:
            self._links[name] = posixpath.normpath(
                posixpath.join("/", posixpath.dirname(name), link)
            ).lstrip("/")
        elif entry.kind == HARD_LINK:
            self._links[name] = posixpath.normpath("/" + link).lstrip("/")
        elif entry.kind != DIRECTORY:
            raise InvalidParameter(f"unsupported type {entry.kind!r} in an image archive: {name}")

    def _find(self, name: str) -> tuple[int, int] | None:
        name = posixpath.normpath(name)
        for _ in range(_LINK_DEPTH):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def _get(self, name: str) -> tuple[int, int]:
        found = self._find(name)
        if found is None:
            raise NotFound(f"no such file in the archive: {name}")
        return found
