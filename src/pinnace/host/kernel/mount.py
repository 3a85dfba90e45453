"""mount(2) and its relatives, one function per operation."""

import ctypes
import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pinnace.host.kernel.mount_tree import attach_mount, new_mount
from pinnace.host.kernel.paths import directory

_LIBC = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_CLONE_FS = 0x200
_PAGE = 4096

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20


def mount(source: str, target: Path, fstype: str, *, flags: int = 0, data: str = "") -> None:
    """Mount a filesystem at an existing directory or file.

    Raises:
        OSError: As mount(2); the filename is the target.
    """
    result = _LIBC.mount(
        os.fsencode(source),
        os.fsencode(target),
        os.fsencode(fstype),
        ctypes.c_ulong(flags),
        os.fsencode(data) if data else None,
    )
    _check(result, target)


def bind(source: Path, target: Path, *, recursive: bool = False, read_only: bool = False) -> None:
    """Make `source` visible at `target` as well.

    Raises:
        OSError: As mount(2); nothing is left mounted.
    """
    mount(str(source), target, "", flags=MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        try:
            mount("", target, "", flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
        except OSError:
            unmount(target)
            raise


def make_private(target: Path, *, recursive: bool = False) -> None:
    """Stop mount events from spreading to and from `target`."""
    mount("", target, "", flags=MS_PRIVATE | (MS_REC if recursive else 0))


def unmount(target: Path, *, detach: bool = True) -> bool:
    """Take the topmost mount off `target`; return whether there was one.

    With `detach` a busy mount disappears from the tree now and is freed when unused.
    """
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if detach else 0)
    if _LIBC.umount2(os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOENT):  # not a mount point; not there
        return False
    raise OSError(code, os.strerror(code), str(target))


def mount_overlay(
    target: Path,
    *,
    base: Path,
    lower: Sequence[str],
    upper: str,
    work: str,
    options: Sequence[str] = (),
) -> None:
    """Mount an overlay; blocks.

    mount(2) takes one page of options. Past that the new mount API passes the layers one by one
    (`lowerdir+`, Linux 6.5, overlayfs.rst).

    Args:
        target: An existing directory; absolute.
        base: What `lower`, `upper` and `work` are relative to. The kernel shows options as they
            were given, and whoever starts a container reads those of all that run: a page of
            text that is half as long is read in half the time.
        lower: Topmost first.
        upper: Takes what is written.
        work: For the kernel, on the same filesystem.
        options: More of them, as `name=value`.

    Raises:
        OSError: As mount(2) or fsconfig(2).
    """
    with _working_in(base):
        _mount_overlay(target, lower, upper, work, options)


def _mount_overlay(
    target: Path, lower: Sequence[str], upper: str, work: str, options: Sequence[str]
) -> None:
    pairs = (f"lowerdir={':'.join(map(_escape, lower))}", f"upperdir={_escape(upper)}")
    data = ",".join((*pairs, f"workdir={_escape(work)}", *options))
    if len(os.fsencode(data)) < _PAGE:
        mount("overlay", target, "overlay", data=data)
        return
    # Overlayfs takes backslashes away here, too, but not from `lowerdir+`
    # (fs/overlayfs/params.c: ovl_mount_dir, ovl_mount_dir_noesc).
    settings = [("lowerdir+", path) for path in lower]
    settings += [("upperdir", _escape(upper)), ("workdir", _escape(work))]
    settings += [(key, value) for key, _, value in (option.partition("=") for option in options)]
    tree = new_mount("overlay", settings)
    try:
        with directory(target) as target_fd:
            attach_mount(tree, target_fd)
    finally:
        os.close(tree)


_thread = threading.local()


@contextmanager
def _working_in(directory: Path) -> Iterator[None]:
    """Have a working directory, which only this thread is in, for a while."""
    if not hasattr(_thread, "has_own_directory"):
        _check(_LIBC.unshare(_CLONE_FS), directory)
        _thread.has_own_directory = True
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(directory)
        try:
            yield
        finally:
            os.fchdir(before)
    finally:
        os.close(before)


def _escape(path: str) -> str:
    """Protect what separates layers and options (overlayfs.rst; fs/overlayfs/params.c)."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _check(result: int, target: Path) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))
    return result
