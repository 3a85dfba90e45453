"""Mount namespaces, for threads that live in one.

A thread that has entered one never comes back: its root and working directory are those of the
namespace from then on.
"""

import ctypes
import os
from pathlib import Path

from pinnace.host.kernel import mount, mount_tree
from pinnace.host.kernel.paths import O_PATH_DIRECTORY

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_SETTINGS = (("mode", "0700"), ("size", "1m"))


def enter(namespace: Path | str) -> None:
    """Move the calling thread, which has shared its directories until now, to a namespace.

    Raises:
        OSError: As unshare(2) or setns(2).
    """
    _check(_LIBC.unshare(_CLONE_FS))
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_LIBC.setns(descriptor, _CLONE_NEWNS))
    finally:
        os.close(descriptor)


def enter_empty() -> None:
    """Move the calling thread to a new namespace, in which there is an empty directory only.

    Raises:
        OSError: The kernel refused; the thread is in an unusable state then.
    """
    _check(_LIBC.unshare(_CLONE_NEWNS))
    # In a chroot "/" is a part of the namespace only; who enters one begins at its root.
    enter("/proc/thread-self/ns/mnt")
    mount.make_private(Path("/"), recursive=True)
    top = mount_tree.new_mount("tmpfs", _SETTINGS)
    try:
        root = os.open("/", O_PATH_DIRECTORY)
        try:
            mount_tree.attach_mount(top, root)
        finally:
            os.close(root)
        os.fchdir(top)
    finally:
        os.close(top)
    # The old root ends up on top of the new one, and is taken off (pivot_root(2)).
    _check(_LIBC.syscall(_SYS_PIVOT_ROOT[os.uname().machine], b".", b"."))
    mount.unmount(Path())


def _check(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
