"""Contexts: the archives that clients send, kept as they are, with an index of their members.

One pass over the stream writes it (uncompressed) to `<context>.tar`, reads the headers and hashes
every member, so that a build whose steps are all cached reads no file again, and one that copies
takes the bytes straight from the archive. Names of the archive never become names on the host.
"""

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from pinnace.contracts.build_files import ContextLimits, EntryKind, SourceEntry
from pinnace.contracts.snapshots import ByteSource, UnpackLimits
from pinnace.errors import Internal, InvalidParameter, NotFound
from pinnace.host.builds import tarsum
from pinnace.host.content.inflate import plain_chunks
from pinnace.host.snapshots.tree import remove_tree
from pinnace.oci.layer import is_kept_xattr, safe_path
from pinnace.oci.tar_reader import ByteStream, TarEntry, TarReader
from pinnace.oci.tar_writer import END_OF_ARCHIVE, entry_header, padding

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_CHUNK = 1 << 20
_BINARY = 0x80  # first byte of a number that is not octal
_KINDS: dict[bytes, EntryKind] = {
    b"0": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
}


class ContextDirectory:
    """The contexts below a directory of the daemon's."""

    def __init__(self, root: Path, limits: ContextLimits) -> None:
        """Keep contexts below `root`, which is made if needed."""
        self._root = root
        self._limits = limits
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def receive(self, context: str, source: ByteSource) -> list[SourceEntry]:
        """See `contracts.build_files.BuildFiles.receive`."""
        path = self.archive(context)
        try:
            with path.open("xb", buffering=0) as spool:
                return _Index(self._limits).read(_spooled(source, spool, self._limits))
        except OSError as exc:
            path.unlink(missing_ok=True)
            raise Internal(f"cannot keep the build context: {exc.strerror}") from exc
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def take_file(
        self, context: str, name: str, source: ByteSource, *, mtime_ns: int
    ) -> SourceEntry:
        """See the contract."""
        path = self.archive(context)
        try:
            with path.open("xb") as target:
                while data := source.read(_CHUNK):
                    target.write(data)
            return _single(path, name, mtime_ns)
        except OSError as exc:
            path.unlink(missing_ok=True)
            raise Internal(f"cannot keep the file: {exc.strerror}") from exc
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def take_files(
        self, context: str, files: Mapping[str, bytes], mtime_ns: int
    ) -> list[SourceEntry]:
        """See the contract."""
        archive = bytearray()
        for name, content in files.items():
            member = TarEntry(
                name=os.fsencode(name), kind=b"0", size=len(content), mtime_ns=mtime_ns
            )
            archive += entry_header(member) + content + padding(len(content))
        return self.receive(context, io.BytesIO(bytes(archive) + END_OF_ARCHIVE))

    def digest(self, context: str, algorithm: str) -> str:
        """See the contract."""
        total = hashlib.new(algorithm)
        with self.open(context) as source:
            while data := source.read(_CHUNK):
                total.update(data)
        return total.hexdigest()

    def read(self, context: str, entry: SourceEntry) -> bytes:
        """See the contract."""
        if entry.size > self._limits.max_read:
            raise InvalidParameter(f"{entry.path} is larger than {self._limits.max_read} bytes")
        with self.open(context) as archive:
            return os.pread(archive.fileno(), entry.size, entry.start)

    def open(self, context: str) -> BinaryIO:
        """Open the archive of a context.

        Raises:
            NotFound: There is none.
        """
        try:
            return self.archive(context).open("rb", buffering=0)
        except FileNotFoundError as exc:
            raise NotFound(f"no such build context: {context}") from exc

    def archive(self, context: str) -> Path:
        """Return where the archive of a context is, or would be."""
        if not _NAME.fullmatch(context):
            raise InvalidParameter(f"invalid context name: {context!r}")
        return self._root / f"{context}.tar"

    def tree(self, context: str) -> Path:
        """Return the directory into which the context is, or would be, unpacked."""
        return self.archive(context).with_suffix(".tree")

    def drop(self, context: str) -> None:
        """See the contract."""
        self.archive(context).unlink(missing_ok=True)
        remove_tree(self.tree(context))

    def repair(self) -> list[str]:
        """Remove all contexts."""
        done = []
        for path in self._root.iterdir():
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink()
            done.append(f"removed build context {path.name}")
        return done


class _Index:
    """Reads the members of an archive; knows where in the stream it is."""

    def __init__(self, limits: ContextLimits) -> None:
        self._limits = limits
        self._offset = 0

    def read(self, chunks: Iterator[bytes]) -> list[SourceEntry]:
        reader = TarReader(ByteStream(chunks), self._record)
        found: list[SourceEntry] = []
        while (entry := reader.next_entry()) is not None:
            if len(found) >= self._limits.max_entries:
                raise InvalidParameter(f"more than {self._limits.max_entries} entries in context")
            found.append(self._member(entry, reader))
        return found

    def _record(self, data: bytes) -> None:
        self._offset += len(data)

    def _member(self, entry: TarEntry, reader: TarReader) -> SourceEntry:
        path = os.fsdecode(safe_path(entry.name, max_length=self._limits.max_path))
        kind = _KINDS.get(entry.kind)
        if kind is None:
            raise InvalidParameter(f"unsupported type {entry.kind!r} in context: {path}")
        start = self._offset
        total = self._begin(entry, reader.header)
        if entry.size:
            for chunk in reader.content():
                total.update(chunk)
            self._offset += entry.size
        link = os.fsdecode(entry.link)
        if kind == "hardlink":
            link = os.fsdecode(safe_path(entry.link, max_length=self._limits.max_path))
        return SourceEntry(
            path=path,
            kind=kind,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            size=entry.size,
            mtime_ns=entry.mtime_ns,
            link=link,
            device=entry.device,
            xattrs=self._kept(entry) if entry.xattrs else {},
            sum=total.hexdigest(),
            start=start,
        )

    def _begin(self, entry: TarEntry, header: bytes) -> "tarsum.Hash":
        """Hash the header with what the reader drops of it: type bits and names."""
        octal = header[100:108].strip(b" \0")
        return tarsum.begin(
            os.fsdecode(entry.name),
            mode=int(octal or b"0", 8) if header[100] < _BINARY else entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            size=entry.size,
            kind=entry.kind.decode("latin-1"),
            link=os.fsdecode(entry.link),
            user=_name(header[265:297]),
            group=_name(header[297:329]),
            device=entry.device,
            xattrs=entry.xattrs,
        )

    def _kept(self, entry: TarEntry) -> dict[str, bytes]:
        allowed = self._limits.xattrs
        return {key: value for key, value in entry.xattrs.items() if is_kept_xattr(key, allowed)}


def _single(path: Path, name: str, mtime_ns: int) -> SourceEntry:
    """Describe the only file of a context, whose archive is its content."""
    size = path.stat().st_size
    total = tarsum.begin(name, mode=stat.S_IFREG | 0o600, uid=0, gid=0, size=size, kind="0")
    with path.open("rb") as source:
        while data := source.read(_CHUNK):
            total.update(data)
    return SourceEntry(
        name, "file", mode=0o600, size=size, mtime_ns=mtime_ns, sum=total.hexdigest()
    )


def _name(field: bytes) -> str:
    return os.fsdecode(field.partition(b"\0")[0])


def _spooled(source: ByteSource, spool: BinaryIO, limits: ContextLimits) -> Iterator[bytes]:
    """Yield the plain bytes of an archive, each chunk once it is in the spool."""
    write: Callable[[bytes], int | None] = spool.write
    for chunk in plain_chunks(source, UnpackLimits(max_bytes=limits.max_bytes)):
        written = write(chunk) or 0
        while written < len(chunk):
            written += write(chunk[written:]) or 0
        yield chunk
