"""Tar headers, the same bytes for the same entry: ustar, with PAX records where that is too small.

Names of users and groups are left out: ids are what counts inside an image.
"""

from pinnace.oci.tar_reader import BLOCK, DIRECTORY, TarEntry

END_OF_ARCHIVE = bytes(2 * BLOCK)
_MAX_NAME = 100
_MAX_ID = 0o7777777
_MAX_SIZE = 0o77777777777
_CHECKSUM_SPACES = b" " * 8


def entry_header(entry: TarEntry) -> bytes:
    """Return the header blocks of one member; its content and `padding` follow."""
    name = entry.name
    if entry.kind == DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    records = _pax_records(entry, name)
    if not records:
        return _block(entry, name)
    body = b"".join(_pax_record(key, value) for key, value in sorted(records.items()))
    extension = TarEntry(name=b"PaxHeaders.0/" + name[-60:], kind=b"x", size=len(body))
    return _block(extension, extension.name) + body + padding(len(body)) + _block(entry, name)


def padding(size: int) -> bytes:
    """Return what follows `size` bytes of content."""
    return bytes(-size % BLOCK)


def _pax_records(entry: TarEntry, name: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    if len(name) > _MAX_NAME or not name.isascii():
        records[b"path"] = name
    if len(entry.link) > _MAX_NAME or not entry.link.isascii():
        records[b"linkpath"] = entry.link
    if entry.size > _MAX_SIZE:
        records[b"size"] = b"%d" % entry.size
    if entry.uid > _MAX_ID:
        records[b"uid"] = b"%d" % entry.uid
    if entry.gid > _MAX_ID:
        records[b"gid"] = b"%d" % entry.gid
    seconds, fraction = divmod(entry.mtime_ns, 1_000_000_000)
    if fraction or not 0 <= seconds <= _MAX_SIZE:
        records[b"mtime"] = _timestamp(entry.mtime_ns)
    for key, value in entry.xattrs.items():
        records[b"SCHILY.xattr." + key.encode()] = value
    return records


def _timestamp(ns: int) -> bytes:
    sign = "-" if ns < 0 else ""
    seconds, fraction = divmod(abs(ns), 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{sign}{seconds}{digits}".encode()


def _pax_record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    # The length counts its own digits.
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d" % length + body


def _block(entry: TarEntry, name: bytes) -> bytes:
    seconds = entry.mtime_ns // 1_000_000_000
    if not 0 <= seconds <= _MAX_SIZE:
        seconds = 0
    major, minor = entry.device
    head = b"".join(
        (
            name[:_MAX_NAME].ljust(100, b"\0"),
            b"%07o\0" % (entry.mode & 0o7777),
            b"%07o\0" % (entry.uid if entry.uid <= _MAX_ID else 0),
            b"%07o\0" % (entry.gid if entry.gid <= _MAX_ID else 0),
            b"%011o\0" % (entry.size if entry.size <= _MAX_SIZE else 0),
            b"%011o\0" % seconds,
        )
    )
    tail = b"".join(
        (
            entry.kind,
            entry.link[:_MAX_NAME].ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0" % (major & _MAX_ID),
            b"%07o\0" % (minor & _MAX_ID),
            bytes(167),
        )
    )
    checksum = sum(head) + sum(_CHECKSUM_SPACES) + sum(tail)
    return head + b"%06o\0 " % checksum + tail
