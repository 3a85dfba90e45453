"""Path resolution inside a root: openat2(2).

Every path which an image, a container or an API user can influence is opened here. The kernel
keeps the walk below the root, whatever is renamed meanwhile: symbolic links, absolute ones too,
are followed relative to the root, and magic links of /proc are refused.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_IN_ROOT = 0x10
_EAGAIN_TRIES = 1000

O_PATH_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    _fields_ = (  # type: ignore[mutable-override] # any sequence will do at run time
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_in_root(
    root_fd: int, path: bytes, flags: int, *, mode: int = 0, follow: bool = True
) -> int:
    """Open `path` inside the directory `root_fd` and return a descriptor (close-on-exec).

    Args:
        root_fd: What `/` and `..` at the top mean during the walk.
        path: Absolute or relative; the empty path is the root itself.
        flags: As for open(2).
        mode: Permission bits when `flags` creates a file.
        follow: Follow symbolic links inside the root; without it any link on the way fails with
            ELOOP.

    Raises:
        OSError: As openat2(2).
    """
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
    if not follow:
        resolve |= _RESOLVE_NO_SYMLINKS
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_EAGAIN_TRIES):
        fd: int = _LIBC.syscall(_SYS_OPENAT2, root_fd, path or b".", ctypes.byref(how), 24)
        if fd >= 0:
            return fd
        # A rename or mount elsewhere raced with a `..` of the walk: openat2(2) says to try again.
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), os.fsdecode(path))


def make_directories(root_fd: int, path: bytes) -> None:
    """Make what is missing of a directory inside `root_fd`, each part 0755; links are followed.

    Nothing is made below a link that leads nowhere.

    Raises:
        OSError: As openat2(2) and mkdir(2).
    """
    parts = [part for part in path.split(b"/") if part]
    for count, part in enumerate(parts):
        above = open_in_root(root_fd, b"/".join(parts[:count]), O_PATH_DIRECTORY)
        try:
            os.mkdir(part, 0o755, dir_fd=above)
        except FileExistsError:
            continue
        finally:
            os.close(above)


@contextmanager
def directory(path: Path | str) -> Iterator[int]:
    """Open a trusted host directory for reading, for the time of a `with` block."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def real_path(fd: int, root_fd: int) -> bytes:
    """Return where `fd` is, relative to `root_fd`.

    Raises:
        OSError: ENOENT when it is no longer below the root.
    """
    where = os.fsencode(Path(f"/proc/self/fd/{fd}").readlink())
    root = os.fsencode(Path(f"/proc/self/fd/{root_fd}").readlink())
    if where == root:
        return b""
    prefix = root.rstrip(b"/") + b"/"
    if not where.startswith(prefix):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(where))
    return where[len(prefix) :]
