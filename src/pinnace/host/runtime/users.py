"""Who a process in a container is: names of the image's passwd and group files, in numbers.

The files belong to the image or to the container's processes and may be anything: they are
opened inside the root, without blocking, and read only when regular and of sensible size
(the class of CVE-2024-9676). The runtime gets numbers only (CVE-2026-30892).
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pinnace.contracts.control import Identity
from pinnace.errors import InvalidParameter
from pinnace.host.kernel.paths import open_in_root

_MAX_BYTES = 4 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_MAX_ID = 2**31 - 1
_PASSWD_FIELDS, _GROUP_FIELDS = 6, 3


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve_identity(root_fd: int, user: str, group_add: Sequence[str] = ()) -> Identity:
    """Resolve `user[:group]` and additional groups inside a root filesystem.

    Args:
        root_fd: The root; its content is not trusted.
        user: "" for root; names or numbers; numbers need no entry.
        group_add: Additional groups, names or numbers.

    Raises:
        InvalidParameter: A name has no entry, a number is out of range, or a file is too large.
    """
    passwd = read_file(root_fd, "/etc/passwd")
    group = read_file(root_fd, "/etc/group")
    return identity(user, group_add, passwd=passwd, group=group)


def identity(user: str, group_add: Sequence[str], *, passwd: str, group: str) -> Identity:
    """Resolve names by the content of the two files; see `resolve_identity`. Pure.

    Raises:
        InvalidParameter: As `resolve_identity`.
    """
    wanted_user, _, wanted_group = user.partition(":")
    entry = _find_user(wanted_user, passwd)
    groups = list(_groups(group))
    if wanted_group:
        gid = _group_id(wanted_group, groups)
        memberships: list[int] = []
    else:
        gid = entry.gid
        memberships = [other.gid for other in groups if entry.name and entry.name in other.members]
    added = [_group_id(name, groups) for name in group_add]
    return Identity(
        uid=entry.uid,
        gid=gid,
        groups=tuple(sorted({gid, *memberships, *added})),
        home=entry.home,
    )


def read_file(root_fd: int, path: str) -> str:
    """Read a file of the container; what is missing or not a regular file reads as empty.

    Raises:
        InvalidParameter: It is larger than 4 MiB.
    """
    try:
        fd = open_in_root(root_fd, path.encode(), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        content = bytearray()
        while len(content) <= _MAX_BYTES and (piece := os.read(fd, _PIECE_BYTES)):
            content += piece
    finally:
        os.close(fd)
    if len(content) > _MAX_BYTES:
        raise InvalidParameter(f"{path} in the container is larger than {_MAX_BYTES} bytes")
    return content.decode(errors="replace")


def _find_user(wanted: str, passwd: str) -> _User:
    number = _number(wanted or "0")
    for entry in _users(passwd):
        if wanted and entry.name == wanted:
            return entry
        if number is not None and entry.uid == number:
            return entry
    if number is None:
        raise InvalidParameter(f"unable to find user {wanted}: no matching entries in passwd file")
    return _User("", _in_range(number), 0, "/")


def _group_id(wanted: str, groups: Sequence[_Group]) -> int:
    number = _number(wanted)
    for entry in groups:
        if entry.name == wanted or entry.gid == number:
            return entry.gid
    if number is None:
        raise InvalidParameter(f"unable to find group {wanted}: no matching entries in group file")
    return _in_range(number)


def _number(text: str) -> int | None:
    """Digits behind at most a minus: int() would take spaces and underscores as well."""
    return int(text) if text.isascii() and text.removeprefix("-").isdecimal() else None


def _in_range(number: int) -> int:
    if not 0 <= number <= _MAX_ID:
        raise InvalidParameter(f"uids and gids must be in range 0-{_MAX_ID}")
    return number


def _users(passwd: str) -> Iterator[_User]:
    for line in passwd.splitlines():
        fields = line.strip().split(":")
        if len(fields) < _PASSWD_FIELDS or line.startswith("#"):
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None and max(uid, gid) <= _MAX_ID:
            yield _User(fields[0], uid, gid, fields[5] or "/")


def _groups(group: str) -> Iterator[_Group]:
    for line in group.splitlines():
        fields = line.strip().split(":")
        if len(fields) < _GROUP_FIELDS or line.startswith("#"):
            continue
        gid = _number(fields[2])
        if gid is not None and gid <= _MAX_ID:
            members = fields[3].split(",") if len(fields) > _GROUP_FIELDS else []
            yield _Group(fields[0], gid, tuple(filter(None, members)))
