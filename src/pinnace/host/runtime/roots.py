"""Root filesystems of running containers: where they can be looked at.

A root is mounted in its bundle for the runtime, and detached from there when the container runs:
whoever starts a container next copies the host's mount table and reads it, so that every root left
in it makes every start slower. The container's processes keep theirs. Who wants to look at it
later gets a copy of the mount, taken from the container's mount namespace.

Only the root mount itself is ever seen, nothing that the container has mounted on it: a tree of
mounts which its root user can change is no place to resolve paths in.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pinnace.errors import Internal
from pinnace.host.kernel import mount, mount_tree
from pinnace.host.kernel.paths import directory

_ROOTFS = "rootfs"
_PID = "pid"  # written by the runtime
_DEVICE = "root-device"  # device number of a root that was detached


def detach_root(bundle: Path) -> None:
    """Take the root of a running container out of the host's mount table. Idempotent.

    One that has no device of its own, as of the vfs driver, could not be told from another
    later, so it stays.
    """
    rootfs = bundle / _ROOTFS
    try:
        device = rootfs.stat().st_dev
        if device == bundle.stat().st_dev:
            return
        (bundle / _DEVICE).write_text(str(device))
    except FileNotFoundError:
        return  # the container has ended
    mount.unmount(rootfs)


@contextmanager
def root_of(bundle: Path) -> Iterator[int]:
    """Open the root of a container that is being started or runs, for the time of a `with` block.

    Yields:
        A descriptor; what is mounted on the root by the container is not seen through it.

    Raises:
        FileNotFoundError: The container does not run.
        Internal: The container has mounted something over its root.
    """
    descriptor, _ = _open(bundle)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def copy_root(bundle: Path) -> int:
    """Return a detached copy of the root mount of a running container; see `clone_mount`.

    Raises:
        FileNotFoundError: The container does not run, or its root has no device of its own.
        Internal: The container has mounted something over its root.
        OSError: As open_tree(2).
    """
    descriptor, is_copy = _open(bundle)
    if is_copy:
        return descriptor
    try:
        if os.fstat(descriptor).st_dev == bundle.stat().st_dev:
            raise FileNotFoundError(f"nothing is mounted in {bundle}")
        return mount_tree.clone_mount(descriptor)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return copy_root(bundle)  # it was detached meanwhile, or the container has ended
    finally:
        os.close(descriptor)


def _open(bundle: Path) -> tuple[int, bool]:
    """Return a descriptor of the root, and whether it is a detached copy."""
    with directory(bundle / _ROOTFS) as mounted:
        # The device is noted before the root is detached: not noted means opened in time.
        try:
            noted = (bundle / _DEVICE).read_text()
        except FileNotFoundError:
            noted = ""
        if not noted:
            return os.dup(mounted), False
    copy = _copy_from_process(int((bundle / _PID).read_text()))
    if os.fstat(copy).st_dev != int(noted):
        os.close(copy)
        raise Internal("something is mounted over the container's root filesystem")
    return copy, True


def _copy_from_process(pid: int) -> int:
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except ProcessLookupError as exc:
        raise FileNotFoundError(f"process {pid} has ended") from exc
    try:
        return mount_tree.clone_root_of(namespace)
    finally:
        os.close(namespace)
