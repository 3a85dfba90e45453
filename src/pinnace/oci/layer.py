"""Layer changesets: whiteouts and path safety (OCI image-spec, layer.md)."""

import re

from pinnace.errors import InvalidParameter

WHITEOUT_PREFIX = b".wh."
OPAQUE_MARK = b".wh..wh..opq"
_WHITEOUT_META = b".wh..wh."  # bookkeeping of aufs, which nothing reads any more
_XATTR_NAME = re.compile(r"[\x21-\x7e]{1,255}")


class UnsafePath(InvalidParameter):
    """A name that would leave the tree, or that no file can have."""

    def __init__(self, name: bytes) -> None:
        super().__init__(f"invalid path in archive: {name[:200]!r}")
        self.name = name


def safe_path(name: bytes, *, max_length: int = 4096) -> bytes:
    """Return `name` relative to the tree's root, without empty and `.` components.

    Leading slashes are dropped, as Docker does. The root itself is the empty path.

    Raises:
        UnsafePath: It has a `..` component, a NUL, or is too long.
    """
    if len(name) > max_length or b"\0" in name:
        raise UnsafePath(name)
    if b".." not in name and b"//" not in name and b"./" not in name:
        plain = name.strip(b"/")
        if plain != b".":
            return plain
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise UnsafePath(name)
    return b"/".join(parts)


def whiteout_target(base: bytes) -> bytes | None:
    """Return the name that the whiteout file `base` deletes; None for other mark files.

    Raises:
        UnsafePath: The deleted name would be empty, `.` or `..`.
    """
    if base.startswith(_WHITEOUT_META):
        return None
    target = base[len(WHITEOUT_PREFIX) :]
    if target in (b"", b".", b".."):
        raise UnsafePath(base)
    return target


def is_kept_xattr(name: str, allowed: frozenset[str]) -> bool:
    """Whether an archive may set this extended attribute.

    `trusted.*` would let a layer speak to overlayfs, `system.*` and most of `security.*` to the
    host's policy; they are dropped, as is the userspace form of the overlay marks.
    """
    if not _XATTR_NAME.fullmatch(name):
        return False
    return name in allowed or (name.startswith("user.") and not name.startswith("user.overlay."))
