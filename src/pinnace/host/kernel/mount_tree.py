"""Copies of mounts that are prepared before anybody can see them, by descriptor.

open_tree(2), mount_setattr(2) and move_mount(2), Linux 5.12. Unlike mount(2) none of them resolves
a path twice, so nobody can exchange what is changed between two steps.
"""

import ctypes
import os
import struct
from concurrent.futures import ThreadPoolExecutor

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442  # the same everywhere
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_FROM_EMPTY_PATH, _TO_EMPTY_PATH = 0x04, 0x40
_MOUNT_ATTR_RDONLY = 1
_MS_PRIVATE = 1 << 18
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_ATTR = struct.Struct("=QQQQ")  # struct mount_attr: set, clear, propagation, user namespace


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


def clone_root_of(namespace_fd: int) -> int:
    """Return a detached, private copy of the root mount of a mount namespace; see `clone_mount`.

    Args:
        namespace_fd: As `/proc/PID/ns/mnt`.

    Raises:
        OSError: As setns(2), open_tree(2) or mount_setattr(2).
    """

    def clone() -> int:
        # A thread with a root and a working directory of its own may enter; it never comes back.
        _check(_LIBC.unshare(_CLONE_FS))
        _check(_LIBC.setns(namespace_fd, _CLONE_NEWNS))
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return clone_mount(root)
        finally:
            os.close(root)

    with ThreadPoolExecutor(1, "mount-namespace") as thread:
        return thread.submit(clone).result()


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
