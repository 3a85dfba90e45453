"""Recipes: everything in a layer's tar but the files' content, so that it can be written again.

The digest of a layer covers its tar byte by byte: header fields nobody keeps, padding, order,
what follows the end mark. A recipe holds those bytes, compressed, and for each file the path
under which its content was unpacked. See docs/adr/0003-layer-recipes.md.

Form, inside a zstd frame: records of one letter each, numbers little-endian.
`R` u32 length, bytes: copy these. `F` u64 size, u32 length, path: copy the content of that file.
`M` u32 number, u32 length, path: from here on the archive replaced what was at `path`; the old
tree is `orphans/<number>`.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from pinnace.contracts.snapshots import ByteSink
from pinnace.errors import Internal

_FLUSH_BYTES = 1 << 20
_PIECE_BYTES = 256 << 10
_RAW, _FILE, _MOVED = b"R", b"F", b"M"
_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes to copy."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """A file whose content comes next."""

    path: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What was at `path` now is orphan `number`."""

    path: bytes
    number: int


class RecipeWriter:
    """Takes the records of one archive in order."""

    def __init__(self, target: BinaryIO) -> None:
        """Write to `target`, which stays the caller's to close."""
        self._target = target
        self._out = zstandard.ZstdCompressor(level=_LEVEL).stream_writer(target, closefd=False)
        self._raw = bytearray()
        self._records = bytearray()  # finished ones: compressing many at a time is cheaper

    def raw(self, data: bytes) -> None:
        """Keep bytes which are not file content."""
        self._raw += data
        if len(self._raw) >= _FLUSH_BYTES:
            self._flush()

    def content(self, path: bytes, size: int) -> None:
        """Note that `size` bytes of content went to the file at `path`."""
        self._flush()
        self._records += _FILE + struct.pack("<QI", size, len(path)) + path

    def moved(self, path: bytes, number: int) -> None:
        """Note that what was at `path` moved away."""
        self._flush()
        self._records += _MOVED + struct.pack("<II", number, len(path)) + path

    def close(self) -> None:
        """Finish the frame; it is in the file then, not in a buffer of this process."""
        self._flush()
        self._out.write(self._records)
        self._out.close()  # type: ignore[no-untyped-call] # zstandard's stubs forget it
        self._target.flush()

    def _flush(self) -> None:
        if self._raw:
            self._records += _RAW + struct.pack("<I", len(self._raw))
            self._records += self._raw
            self._raw.clear()
        if len(self._records) >= _FLUSH_BYTES:
            self._out.write(self._records)
            self._records.clear()


def read_recipe(source: BinaryIO) -> Iterator[Raw | Content | Moved]:
    """Yield the records of a recipe.

    Raises:
        Internal: It is damaged.
    """
    with zstandard.ZstdDecompressor().stream_reader(source, closefd=False) as plain:

        def exact(count: int) -> bytes:
            data = plain.read(count)
            if len(data) != count:
                raise Internal("layer recipe is truncated")
            return data

        while letter := plain.read(1):
            if letter == _RAW:
                yield Raw(exact(struct.unpack("<I", exact(4))[0]))
            elif letter == _FILE:
                size, length = struct.unpack("<QI", exact(12))
                yield Content(exact(length), size)
            elif letter == _MOVED:
                number, length = struct.unpack("<II", exact(8))
                yield Moved(exact(length), number)
            else:
                raise Internal("layer recipe is damaged")


def final_paths(source: BinaryIO) -> Iterator[Raw | Content]:
    r"""Yield the records with every `Content.path` where the file is now.

    Files which the archive itself replaced are found as `\0orphans/<number>/...`. Reads `source`
    twice; it must be seekable.
    """
    moves: list[tuple[int, Moved]] = []
    for index, record in enumerate(read_recipe(source)):
        if isinstance(record, Moved):
            moves.append((index, record))
    source.seek(0)
    for index, record in enumerate(read_recipe(source)):
        if isinstance(record, Content):
            yield Content(_follow(record.path, index, moves), record.size)
        elif isinstance(record, Raw):
            yield record


def _follow(path: bytes, index: int, moves: list[tuple[int, Moved]]) -> bytes:
    for when, move in moves:
        if when > index and (path == move.path or path.startswith(move.path + b"/")):
            # An orphan does not move again.
            return b"\0orphans/%d%s" % (move.number, path[len(move.path) :])
    return path


class HashingWriter:
    """Writes to a file and hashes what it writes, small pieces many at a time."""

    def __init__(self, target: ByteSink) -> None:
        """Write to `target`, which stays the caller's to close."""
        self._target = target
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Write all of `data`, now or later."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _PIECE_BYTES:
            self._flush()

    def finish(self) -> str:
        """Write what waits, and return the sha256 of everything written."""
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._hash.update(data)
        self._target.write(data)
