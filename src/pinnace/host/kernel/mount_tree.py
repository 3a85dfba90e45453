"""Copies of mounts that are prepared before anybody can see them, by descriptor.

open_tree(2), mount_setattr(2) and move_mount(2), Linux 5.12. Unlike mount(2) none of them resolves
a path twice, so nobody can exchange what is changed between two steps.
"""

import ctypes
import os
import struct
from collections.abc import Sequence

_LIBC = ctypes.CDLL(None, use_errno=True)
# System calls have these numbers on every architecture.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 1, 6
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_FROM_EMPTY_PATH, _TO_EMPTY_PATH = 0x04, 0x40
_MOUNT_ATTR_RDONLY = 1
_MS_PRIVATE = 1 << 18
_ATTR = struct.Struct("=QQQQ")  # struct mount_attr: set, clear, propagation, user namespace


def new_mount(fstype: str, settings: Sequence[tuple[str, str]]) -> int:
    """Return a new filesystem that is mounted nowhere yet; see `attach_mount`.

    Raises:
        OSError: As fsopen(2), fsconfig(2) or fsmount(2).
    """
    context = _check(_LIBC.syscall(_SYS_FSOPEN, fstype.encode(), _FSOPEN_CLOEXEC))
    try:
        for key, value in settings:
            result = _LIBC.syscall(
                _SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0
            )
            _check(result)
        _check(_LIBC.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0))
        return _check(_LIBC.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0))
    finally:
        os.close(context)


def clone_mount(source_fd: int, *, recursive: bool = False) -> int:
    """Return a detached, private copy of the mount at `source_fd`, beginning there.

    It vanishes when the descriptor is closed without `attach_mount`.

    Args:
        source_fd: A file or directory, O_PATH is enough.
        recursive: Copy what is mounted below it, too.

    Raises:
        OSError: As open_tree(2) or mount_setattr(2).
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_EMPTY_PATH
    flags |= _AT_RECURSIVE if recursive else 0
    tree = _check(_LIBC.syscall(_SYS_OPEN_TREE, source_fd, b"", flags))
    try:
        # A copy of a shared mount is its peer: taking it away would take the original's children.
        _set(tree, _ATTR.pack(0, 0, _MS_PRIVATE, 0), recursive=True)
    except BaseException:
        os.close(tree)
        raise
    return tree


def make_read_only(mount_fd: int, *, recursive: bool = False) -> None:
    """Refuse writes through the mount whose root `mount_fd` is.

    Raises:
        OSError: As mount_setattr(2).
    """
    _set(mount_fd, _ATTR.pack(_MOUNT_ATTR_RDONLY, 0, 0, 0), recursive=recursive)


def attach_mount(tree_fd: int, target_fd: int) -> None:
    """Make a detached copy visible at the file or directory `target_fd`.

    Raises:
        OSError: As move_mount(2).
    """
    flags = _FROM_EMPTY_PATH | _TO_EMPTY_PATH
    _check(_LIBC.syscall(_SYS_MOVE_MOUNT, tree_fd, b"", target_fd, b"", flags))


def _set(mount_fd: int, attributes: bytes, *, recursive: bool) -> None:
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _check(_LIBC.syscall(_SYS_MOUNT_SETATTR, mount_fd, b"", flags, attributes, len(attributes)))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
