"""Root filesystems of running containers, in a mount namespace that holds nothing else.

A root is mounted in its bundle for the runtime, and moved from there when the container runs:
whoever starts a container next copies the host's mount table and reads it, so that every root left
in it makes every start slower. The container's processes have theirs in their own namespaces, but
these are no place to look for it, because the container can change what it has mounted.

The namespace is pinned below the exec root, so that it outlives the daemon. It has an empty root
directory with a mount point for each container, and one thread of the daemon that lives in it:
mounting needs a member, reading through descriptors does not.
"""

import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from pinnace.host.kernel import mount, mount_namespace, mount_tree
from pinnace.host.kernel.paths import O_PATH_DIRECTORY

log = logging.getLogger(__name__)

T = TypeVar("T")

_ROOTFS = "rootfs"  # in the bundle


class Roots:
    """The roots of running containers; every method blocks.

    Args:
        place: Directory for the pin, below the exec root; made at the first use.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._pin = place / "namespace"
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "roots")  # starts with its first job
        self._top = -1  # descriptor of the namespace's root directory
        self._refused = False

    def detach(self, bundle: Path) -> None:
        """Move the root of a running container out of the host's mount table. Idempotent.

        Raises:
            OSError: It stays where it is.
        """
        if not self._can_join():
            return
        try:
            mounted = _mounted(bundle / _ROOTFS, bundle)
        except FileNotFoundError:
            return  # it has been detached, or the container has ended
        try:
            if not self._has(bundle.name):  # else a crash came between the two steps
                self._attach(mounted, bundle.name)
        finally:
            os.close(mounted)
        mount.unmount(bundle / _ROOTFS)

    @contextmanager
    def root(self, bundle: Path) -> Iterator[int]:
        """Open the root of a container that is being started or runs, for a `with` block.

        Yields:
            A descriptor; what the container has mounted on its root is not seen through it.

        Raises:
            FileNotFoundError: The container does not run.
        """
        descriptor = self._open(bundle)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def copy(self, bundle: Path) -> int:
        """Return a detached copy of the root mount of a running container; see `clone_mount`.

        Raises:
            FileNotFoundError: The container does not run, or has no mount that could be told
                from what is below it, as with the vfs driver during a start.
            OSError: As open_tree(2).
        """
        with suppress(FileNotFoundError):
            mounted = _mounted(bundle / _ROOTFS, bundle)
            try:
                return mount_tree.clone_mount(mounted)
            except OSError as exc:
                if exc.errno != errno.EINVAL:
                    raise  # else it was detached meanwhile, or the container has ended
            finally:
                os.close(mounted)
        if not self._join():
            raise FileNotFoundError(f"nothing is mounted for {bundle.name}")
        return self._run(lambda: _copy(bundle.name))

    def drop(self, bundle: Path) -> None:
        """Forget the root of a container that has ended. Idempotent."""
        if not self._join():
            return
        if self._has(bundle.name):
            self._run(lambda: mount.unmount(Path("/", bundle.name)))
        with suppress(FileNotFoundError):
            os.rmdir(bundle.name, dir_fd=self._top)

    def close(self) -> None:
        """End the namespace, now that no container runs."""
        self._leave()
        _unpin(self._place, self._pin)

    def _open(self, bundle: Path) -> int:
        # Detaching attaches first: not there after this was opened means opened in time.
        descriptor = os.open(bundle / _ROOTFS, O_PATH_DIRECTORY)
        if not self._has(bundle.name):
            return descriptor
        os.close(descriptor)
        return _mounted(bundle.name, ".", dir_fd=self._top)

    def _has(self, name: str) -> bool:
        if not self._join():
            return False
        try:
            os.close(_mounted(name, ".", dir_fd=self._top))
        except FileNotFoundError:
            return False
        return True

    def _attach(self, mounted: int, name: str) -> None:
        copy = mount_tree.clone_mount(mounted)
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self._top)
            self._run(lambda: _attach(copy, name))
        finally:
            os.close(copy)

    def _run(self, job: Callable[[], T]) -> T:
        """Run a job as a member of the namespace."""
        return self._thread.submit(job).result()

    def _can_join(self) -> bool:
        """Become a member of the namespace, making it if need be; return if that is possible."""
        if self._refused:
            return False
        try:
            return self._join(make=True)
        except OSError as exc:
            # Without it all is well but slower: a host whose root cannot be changed, for example.
            self._refused = True
            log.warning("roots of containers stay among the host's mounts: %s", exc)
            return False

    def _join(self, *, make: bool = False) -> bool:
        """Become a member of the namespace if there is one, or `make` it; return if it is so."""
        with self._lock:
            if self._top < 0 and (make or _is_pinned(self._pin)):
                self._enter()
            return self._top >= 0

    def _enter(self) -> None:
        try:
            if _is_pinned(self._pin):
                self._run(lambda: mount_namespace.enter(self._pin))
            else:
                self._make()
            self._top = self._run(lambda: os.open("/", O_PATH_DIRECTORY))
        except BaseException:
            self._leave()
            raise

    def _make(self) -> None:
        """Make the namespace and pin it.

        One can be pinned only in one with a smaller number. Since Linux 6.18 each processor has
        numbers of its own, and some a newer namespace with a smaller one, unless that of the
        daemon is the first of all.
        """
        processors = os.sched_getaffinity(0)
        for last, processor in enumerate(sorted(processors), 1 - len(processors)):
            self._run(partial(os.sched_setaffinity, 0, {processor}))
            self._run(mount_namespace.enter_empty)
            try:
                _pin(self._place, self._pin, self._run(threading.get_native_id))
            except OSError as exc:
                if exc.errno != errno.EINVAL or last == 0:
                    raise
                self._leave()
            else:
                self._run(partial(os.sched_setaffinity, 0, processors))
                return

    def _leave(self) -> None:
        self._thread.shutdown()
        self._thread = ThreadPoolExecutor(1, "roots")
        if self._top >= 0:
            os.close(self._top)
            self._top = -1


def _mounted(path: Path | str, parent: Path | str, *, dir_fd: int | None = None) -> int:
    """Open a root that is mounted at a directory in `parent`.

    Raises:
        FileNotFoundError: None is.
    """
    descriptor = os.open(path, O_PATH_DIRECTORY, dir_fd=dir_fd)
    if os.fstat(descriptor).st_dev == os.stat(parent, dir_fd=dir_fd).st_dev:
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "nothing is mounted there", str(path))
    return descriptor


def _is_pinned(pin: Path) -> bool:
    try:
        return pin.stat().st_dev != pin.parent.stat().st_dev
    except FileNotFoundError:
        return False


def _pin(place: Path, pin: Path, thread_id: int) -> None:
    """Bind the mount namespace of a thread to `pin`.

    Where mounts propagate none of a namespace can be made, so the directory stops that.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    mount.bind(place, place)
    try:
        mount.make_private(place)
        pin.touch(mode=0o600)
        mount.bind(Path(f"/proc/self/task/{thread_id}/ns/mnt"), pin)
    except OSError:
        _unpin(place, pin)
        raise


def _unpin(place: Path, pin: Path) -> None:
    """Undo `_pin`. Idempotent."""
    while mount.unmount(pin):
        pass
    pin.unlink(missing_ok=True)
    while mount.unmount(place):
        pass
    with suppress(FileNotFoundError):
        place.rmdir()


# Run by the namespace's thread


def _attach(copy: int, name: str) -> None:
    target = os.open(f"/{name}", O_PATH_DIRECTORY)
    try:
        mount_tree.attach_mount(copy, target)
    finally:
        os.close(target)


def _copy(name: str) -> int:
    source = _mounted(f"/{name}", "/")
    try:
        return mount_tree.clone_mount(source)
    finally:
        os.close(source)
