"""Docker's checksum of one archive member (tarsum, version 1), which histories show.

The sum covers the header without its times, as `name value` pairs without separators, then the
extended attributes in the order of their names, then the content (moby, pkg/tarsum).
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from typing import Protocol

_TYPE_BITS = {
    stat.S_IFREG: "0",
    stat.S_IFLNK: "2",
    stat.S_IFCHR: "3",
    stat.S_IFBLK: "4",
    stat.S_IFDIR: "5",
    stat.S_IFIFO: "6",
}


class Hash(Protocol):
    """A running hash."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """Return the sum so far."""
        ...


def begin(
    name: str,
    *,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    kind: str,
    link: str = "",
    user: str = "",
    group: str = "",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[str, bytes] | None = None,
) -> "Hash":
    """Return the hash of a header, to be updated with the content.

    Args:
        name: As the archive has it, with the slash of a directory.
        mode: As the archive has it, with bits for the type if it has them.
        uid: Owner.
        gid: Group.
        size: Bytes of content.
        kind: The type flag.
        link: Target of a link.
        user: Name of the owner in the archive.
        group: Name of the group in the archive.
        device: Major and minor.
        xattrs: Extended attributes.
    """
    text = (
        f"name{name}mode{mode}uid{uid}gid{gid}size{size}typeflag{kind}linkname{link}"
        f"uname{user}gname{group}devmajor{device[0]}devminor{device[1]}"
    )
    made = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
    for key in sorted(xattrs or ()):
        made.update(key.encode() + (xattrs or {})[key])
    return made


def begin_status(
    path: str,
    status: os.stat_result,
    *,
    link: str = "",
    xattrs: Mapping[str, bytes] | None = None,
) -> "Hash":
    """Return the hash of the header that a file of a directory tree would have.

    Args:
        path: Below the tree's root, without slashes at the ends.
        status: Of the file, not of what it links to.
        link: Target of a symbolic link.
        xattrs: Extended attributes.
    """
    form = stat.S_IFMT(status.st_mode)
    is_node = form in (stat.S_IFCHR, stat.S_IFBLK)
    return begin(
        path + "/" if form == stat.S_IFDIR else path,
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if form == stat.S_IFREG else 0,
        kind=_TYPE_BITS.get(form, "0"),
        link=link,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_node else (0, 0),
        xattrs=xattrs,
    )
