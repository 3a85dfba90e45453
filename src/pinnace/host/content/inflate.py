"""Layer bytes as they come, decompressed and hashed on the way, in process.

One thread reads, hashes and inflates while the caller unpacks; the C code of all three releases
the interpreter lock. No external decompressor is ever run: the program would be looked up in
places which an image could influence (SECURITY class 8).
"""

import bz2
import hashlib
import lzma
import threading
from collections.abc import Iterator
from typing import BinaryIO, Protocol, cast

import zstandard
from isal import igzip_lib

from pinnace.contracts.snapshots import ByteSource, UnpackLimits
from pinnace.errors import InvalidParameter
from pinnace.oci.digest import Digest

CHUNK = 256 * 1024
_AHEAD = 2 << 20  # bytes that may wait for the caller
_RATIO_FLOOR = 64 << 20  # below this a high ratio harms nobody
_MAX_WINDOW = 128 << 20  # zstd --long=27, what other engines accept
_XZ_MEMORY = 256 << 20
_GZIP, _ZSTD, _BZIP2, _XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00"
_TAR_MAGIC = slice(257, 262)  # "ustar": a plain tar whose first name looks like another magic
_DAMAGED: tuple[type[Exception], ...] = (  # type: ignore[assignment] # isal's stubs
    EOFError,
    lzma.LZMAError,
    igzip_lib.IsalError,  # a class; the stubs call it an instance
    zstandard.ZstdError,
)


class LayerBomb(InvalidParameter):
    """The stream grows past what a layer may hold."""


class CorruptStream(InvalidParameter):
    """The compressed form is damaged."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid compressed layer: {reason}")


class InflatedLayer:
    """Iterates over the uncompressed bytes of a layer; use as a context manager.

    Attributes:
        digest: Digest of the bytes as read; valid when the iteration has ended.
        compressed_size: Bytes read; likewise.
        diff_id: Digest of the uncompressed bytes; likewise.
        size: Their count.
    """

    def __init__(self, source: ByteSource, limits: UnpackLimits) -> None:
        """Prepare to read from `source`, which stays the caller's to close."""
        self._limits = limits
        self._chunks = _HandOver()
        self._failure: BaseException | None = None
        self._reader = _HashingReader(source)
        self.digest = Digest("")
        self.diff_id = Digest("")
        self.compressed_size = 0
        self.size = 0
        self._thread = threading.Thread(target=self._pump, name="inflate", daemon=True)

    def __enter__(self) -> "InflatedLayer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._chunks.end()
        self._thread.join()

    def __iter__(self) -> Iterator[bytes]:
        while chunks := self._chunks.take():
            yield from chunks
        if self._failure is not None:
            raise self._failure

    def _pump(self) -> None:
        try:
            self._inflate()
        except BaseException as exc:  # noqa: BLE001 - handed to the consumer, which raises it
            self._failure = exc
        finally:
            self._chunks.end()

    def _inflate(self) -> None:
        content = hashlib.sha256()
        total = 0
        for chunk in decompressed(self._reader):
            total += len(chunk)
            check_growth(total, self._reader.size, self._limits)
            content.update(chunk)
            if not self._chunks.put(chunk):
                return
        self.diff_id = Digest("sha256:" + content.hexdigest())
        self.digest = self._reader.digest() or self.diff_id
        self.compressed_size = self._reader.size
        self.size = total


class _HandOver:
    """Chunks from one thread to another, which takes all that are there at once.

    So the threads wake each other up, and compete for the interpreter lock, once for many chunks.
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._changed = threading.Condition()

    def put(self, chunk: bytes) -> bool:
        """Add a chunk, waiting for room; False: nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < _AHEAD or self._ended)
            self._chunks.append(chunk)
            self._size += len(chunk)
            self._changed.notify()
            return not self._ended

    def take(self) -> list[bytes]:
        """Return what is there, waiting for something; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._ended)
            chunks, self._chunks = self._chunks, []
            self._size = 0
            self._changed.notify()
            return chunks

    def end(self) -> None:
        """Say, from either side, that no more is put or taken."""
        with self._changed:
            self._ended = True
            self._changed.notify()


def plain_chunks(source: ByteSource, limits: UnpackLimits) -> Iterator[bytes]:
    """Yield the uncompressed bytes of `source`, in this thread and without hashing them.

    Raises:
        CorruptStream: Damaged, truncated, or with something else behind it.
        LayerBomb: Past the limits.
    """
    reader = _HashingReader(source)
    total = 0
    for chunk in decompressed(reader):
        total += len(chunk)
        check_growth(total, reader.size, limits)
        yield chunk


def check_growth(total: int, compressed: int, limits: UnpackLimits) -> None:
    """Raise LayerBomb when `compressed` bytes became too many."""
    if total > limits.max_bytes:
        raise LayerBomb(f"layer is larger than {limits.max_bytes} bytes")
    if total > _RATIO_FLOOR and total > compressed * limits.max_ratio:
        raise LayerBomb(f"layer unpacks to more than {limits.max_ratio} times its size")


class _HashingReader:
    """Reads from a file, counting every byte and, once told to, hashing it."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._ahead = b""
        self._hash: hashlib._Hash | None = None
        self.size = 0

    def peek(self, count: int) -> bytes:
        while len(self._ahead) < count and (data := self._source.read(CHUNK)):
            self._ahead += data
        return self._ahead[:count]

    def start_hashing(self) -> None:
        self._hash = hashlib.sha256()

    def read(self, size: int = CHUNK) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._source.read(size)
        if self._hash is not None:
            self._hash.update(data)
        self.size += len(data)
        return data

    def digest(self) -> Digest | None:
        return None if self._hash is None else Digest("sha256:" + self._hash.hexdigest())


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def decompressed(reader: _HashingReader) -> Iterator[bytes]:
    """Yield the plain bytes of `reader` in chunks of bounded size; the form is told by its magic.

    Raises:
        CorruptStream: Damaged, truncated, or with something else behind it.
    """
    head = reader.peek(_TAR_MAGIC.stop)
    form = next((form for form in (_GZIP, _ZSTD, _BZIP2, _XZ) if head.startswith(form)), None)
    if form is None or head[_TAR_MAGIC] == b"ustar":
        while chunk := reader.read(CHUNK):
            yield chunk
        return
    reader.start_hashing()
    try:
        yield from _zstd(reader) if form == _ZSTD else _members(reader, form)
    except _DAMAGED as exc:
        raise CorruptStream(str(exc)) from exc


def _decompressor(form: bytes) -> _Decompressor:
    if form == _GZIP:
        engine: _Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        return engine
    if form == _BZIP2:
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _members(reader: _HashingReader, form: bytes) -> Iterator[bytes]:
    """Inflate one compressed stream after the other, as gzip, bzip2 and xz allow."""
    data = reader.read()
    while data:
        engine = _decompressor(form)
        while not engine.eof:
            if engine.needs_input and not data:
                data = reader.read()
                if not data:
                    raise EOFError("unexpected end")
            chunk = engine.decompress(data, CHUNK)
            data = b""
            if chunk:
                yield chunk
        data = engine.unused_data or reader.read()
        if data and not data.strip(b"\0"):
            # Padding to a block boundary, as tapes and some tools write.
            data = _only_zeros(reader)
        if data and not data.startswith(form[: len(data)]):
            raise CorruptStream("trailing garbage")


def _only_zeros(reader: _HashingReader) -> bytes:
    while data := reader.read():
        if data.strip(b"\0"):
            raise CorruptStream("trailing garbage")
    return b""


def _zstd(reader: _HashingReader) -> Iterator[bytes]:
    # A truncated last frame ends quietly here; the tar reader and the diff id notice.
    engine = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    source = cast("BinaryIO", reader)  # only its read() is called
    with engine.stream_reader(source, CHUNK, read_across_frames=True, closefd=False) as plain:
        while chunk := plain.read(CHUNK):
            yield chunk
