"""A streaming tar reader: ustar, GNU long names and PAX, and no trust in what it reads.

It keeps what the standard library's reader loses: every byte which is not file content goes to
`record`, so that the exact archive can be written again later. Formats: POSIX.1-2017 pax,
"ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

import functools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pinnace.errors import InvalidParameter

BLOCK = 512
MAX_EXTENSION_BYTES = 1 << 20  # one PAX or GNU long-name record; paths and attributes are far less
_ZERO_BLOCK = bytes(BLOCK)
_NEWLINE = 0x0A
_SPARSE = "sparse files are not supported"
_PAX_XATTR = b"SCHILY.xattr."
_PAX_RECORD = re.compile(rb"([0-9]{1,11}) ([^=]*)=")
_TYPE, _SIZE_FIELD = slice(156, 157), slice(124, 136)
_EXTENSIONS = frozenset((b"x", b"g", b"L", b"K"))
# name, mode, uid, gid, size, mtime, checksum, type, link, magic, major, minor, prefix
_HEADER = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 6s 66x 8s 8s 155s 12x")

REGULAR_TYPES = frozenset((b"0", b"\0", b"7"))
HARD_LINK, SYMLINK, CHAR_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO = b"1", b"2", b"3", b"4", b"5", b"6"


class BrokenArchive(InvalidParameter):
    """The archive is truncated, damaged or uses a form that is refused."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid tar archive: {reason}")


@dataclass(slots=True)
class TarEntry:
    """One member as its headers describe it; not to be changed after reading.

    Attributes:
        name: As stored, unchecked.
        kind: The type flag; regular files are always `0`.
        mode: Permission bits with set-id and sticky.
        uid: Owner.
        gid: Group.
        size: Bytes of content which follow.
        mtime_ns: Unix time in nanoseconds; may be negative.
        link: Target of a hard or symbolic link, as stored.
        device: (major, minor) of a device node.
        xattrs: Extended attributes by name, unfiltered.
    """

    name: bytes
    kind: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)


class ByteStream:
    """Exact reads over chunks of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._offset = 0

    def exact(self, count: int) -> bytes:
        """Return exactly `count` bytes, or fewer at the end of the stream."""
        start = self._offset
        end = start + count
        if end <= len(self._buffer):
            self._offset = end
            return self._buffer[start:end]
        parts = [self._buffer[start:]]
        missing = count - len(parts[0])
        self._buffer, self._offset = b"", 0
        while missing > 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            if len(chunk) > missing:
                self._buffer, self._offset = chunk, missing
                chunk = chunk[:missing]
            parts.append(chunk)
            missing -= len(chunk)
        return b"".join(parts)

    def some(self, limit: int) -> bytes:
        """Return between 1 and `limit` bytes without joining chunks; nothing at the end."""
        while self._offset >= len(self._buffer):
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._buffer, self._offset = chunk, 0
        start = self._offset
        self._offset = min(len(self._buffer), start + limit)
        return self._buffer[start : self._offset]


class TarReader:
    """Yields the members of an archive in order.

    After each `next_entry` the content must be taken with `content` or passed over with `skip`
    before the following one is asked for.

    Attributes:
        header: The block that describes the member returned last, as it is in the archive.
    """

    def __init__(
        self, stream: ByteStream, record: Callable[[bytes], object] | None = None
    ) -> None:
        """Read from `stream`; give all bytes which are not taken as content to `record`."""
        self._stream = stream
        self._keep = record or _forget
        self.header = b""
        self._pending = 0
        self._padding = 0

    def next_entry(self) -> TarEntry | None:
        """Return the next member; None after the last, with the stream read to its end.

        Raises:
            BrokenArchive: See there.
        """
        if self._pending:
            self.skip()
        _, header = self._header_after(self._padding, "after a file")
        pax: dict[bytes, bytes] = {}
        while header[_TYPE] in _EXTENSIONS:
            header = self._extension(header, pax)
        if not header:
            return None
        entry = _entry(header, pax)
        self.header = header
        self._pending = entry.size
        self._padding = -entry.size % BLOCK
        return entry

    def content(self) -> Iterator[bytes]:
        """Yield the member's content in chunks; these bytes are not recorded."""
        while self._pending:
            chunk = self._stream.some(self._pending)
            if not chunk:
                raise BrokenArchive("unexpected end inside a file")
            self._pending -= len(chunk)
            yield chunk

    def skip(self) -> None:
        """Pass over the member's content; it is recorded."""
        while self._pending:
            chunk = self._stream.some(self._pending)
            if not chunk:
                raise BrokenArchive("unexpected end inside a file")
            self._pending -= len(chunk)
            self._keep(chunk)

    def _header_after(self, count: int, where: str) -> tuple[bytes, bytes]:
        """Return the next `count` bytes and the header behind them, which is empty at the end."""
        data = self._stream.exact(count + BLOCK)
        if len(data) < count:
            raise BrokenArchive(f"unexpected end {where}")
        self._keep(data)
        header = data[count:]
        if header == _ZERO_BLOCK or not header:
            # What follows the end mark belongs to the digest: record it like a header.
            while chunk := self._stream.some(1 << 20):
                self._keep(chunk)
            return data, b""
        _check_header(header)
        return data, header

    def _extension(self, header: bytes, pax: dict[bytes, bytes]) -> bytes:
        """Take in what an extension says, and return the header behind it."""
        kind = header[_TYPE]
        size = _number(header[_SIZE_FIELD])
        if not 0 <= size <= MAX_EXTENSION_BYTES:
            raise BrokenArchive("extension header is too long")
        padded = size + -size % BLOCK
        data, header = self._header_after(padded, "inside an extension header")
        if kind == b"L":
            pax[b"path"] = _text(data[:size])
        elif kind == b"K":
            pax[b"linkpath"] = _text(data[:size])
        elif kind == b"x":
            _parse_pax(data[:size], pax)
        return header


def _forget(_data: bytes) -> None:
    """Keep nothing."""


def is_header(block: bytes) -> bool:
    """Tell whether a tar may begin so."""
    try:
        _check_header(block)
    except BrokenArchive:
        return False
    return True


def _check_header(header: bytes) -> None:
    if len(header) != BLOCK:
        raise BrokenArchive("unexpected end inside a header")
    expected = _number(header[148:156])
    # The lower half of Adler-32 is the sum of the bytes plus one modulo 65521 (RFC 1950), more
    # than 256 bytes can come to; `sum` takes ten times as long.
    first, second = zlib.adler32(header[:148]), zlib.adler32(header[156:412])
    third = zlib.adler32(header[412:])
    unsigned = (first & 0xFFFF) + (second & 0xFFFF) + (third & 0xFFFF) - 3 + 8 * 0x20
    if unsigned == expected:
        return
    # Some very old writers summed signed characters.
    signed = unsigned - 256 * sum(byte > 127 for byte in header[:148] + header[156:])
    if signed != expected:
        raise BrokenArchive("header checksum does not match")


def _entry(header: bytes, pax: dict[bytes, bytes]) -> TarEntry:
    name, mode, uid, gid, size, mtime, _, kind, link, magic, major, minor, prefix = _HEADER.unpack(
        header
    )
    if kind == b"S":
        raise BrokenArchive(_SPARSE)
    path = _text(name)
    if prefix[0] and magic == b"ustar\0":
        path = _text(prefix) + b"/" + path
    entry = TarEntry(
        path,
        kind,
        _common_number(mode) & 0o7777,
        _common_number(uid),
        _common_number(gid),
        _number(size),
        _number(mtime) * 1_000_000_000,
        _text(link),
    )
    if kind in (CHAR_DEVICE, BLOCK_DEVICE):
        entry.device = (_number(major), _number(minor))
    if pax:
        _apply_pax(entry, pax)
    return _settle_kind(entry)


def _settle_kind(entry: TarEntry) -> TarEntry:
    if entry.kind in REGULAR_TYPES:
        # Before POSIX a directory was a file whose name ends in a slash.
        entry.kind = DIRECTORY if entry.name.endswith(b"/") else b"0"
    elif entry.kind in (HARD_LINK, SYMLINK, CHAR_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO):
        # The size of these is meaningless and no content follows (GNU tar, Go archive/tar).
        entry.size = 0
    if entry.size < 0 or not 0 <= entry.uid < 1 << 32 or not 0 <= entry.gid < 1 << 32:
        raise BrokenArchive("a number is out of range")
    return entry


def _apply_pax(entry: TarEntry, pax: dict[bytes, bytes]) -> None:
    try:
        for key, value in pax.items():
            match key:
                case b"path":
                    entry.name = value
                case b"linkpath":
                    entry.link = value
                case b"size":
                    entry.size = int(value)
                case b"mtime":
                    entry.mtime_ns = _timestamp(value)
                case b"uid":
                    entry.uid = int(value)
                case b"gid":
                    entry.gid = int(value)
                case _:
                    _apply_prefixed(entry, key, value)
    except ValueError as exc:
        raise BrokenArchive("damaged PAX record") from exc


def _apply_prefixed(entry: TarEntry, key: bytes, value: bytes) -> None:
    if key.startswith(_PAX_XATTR):
        entry.xattrs[key[len(_PAX_XATTR) :].decode()] = value
    elif key.startswith(b"GNU.sparse."):
        raise BrokenArchive(_SPARSE)


def _parse_pax(data: bytes, pax: dict[bytes, bytes]) -> None:
    offset = 0
    while offset < len(data):
        record = _PAX_RECORD.match(data, offset)
        if record is None:
            raise BrokenArchive("damaged PAX record")
        key, start, end = record[2], record.end(), offset + int(record[1])
        value = data[start : end - 1]
        if not start < end <= len(data) or data[end - 1] != _NEWLINE:
            raise BrokenArchive("damaged PAX record")
        if b"\0" in key or (b"\0" in value and not key.startswith(_PAX_XATTR)):
            raise BrokenArchive("NUL in a PAX record")
        if value or key.startswith(_PAX_XATTR):
            pax[key] = value
        else:
            pax.pop(key, None)
        offset = end


def _timestamp(value: bytes) -> int:
    whole, _, fraction = value.decode("ascii").partition(".")
    nanos = int((fraction + "000000000")[:9]) if fraction else 0
    seconds = int(whole or "0") * 1_000_000_000
    return seconds - nanos if whole.startswith("-") else seconds + nanos


def _number(data: bytes) -> int:
    """Decode an octal or (GNU) base-256 field."""
    try:
        return int(data.rstrip(b" \0"), 8)
    except ValueError:
        return _unusual_number(data)


_common_number = functools.lru_cache(256)(_number)  # the same few in most archives


def _unusual_number(data: bytes) -> int:
    if data[0] & 0x80:
        # Two's complement over the whole field, the marker bit excluded.
        value = int.from_bytes(bytes((data[0] & 0x7F,)) + data[1:], "big")
        return value - (1 << (8 * len(data) - 1)) if data[0] & 0x40 else value
    text = data.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError as exc:
        raise BrokenArchive("a number is not octal") from exc


def _text(data: bytes) -> bytes:
    end = data.find(b"\0")
    return data if end < 0 else data[:end]
