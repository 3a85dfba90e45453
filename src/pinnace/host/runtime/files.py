"""Views of containers' files.

A view is a mount tree of its own below the exec root: the container's root filesystem, and on it
its volumes and etc files. A path inside of it is then one openat2(2) walk below the view's root,
whatever links or renames the container comes up with; going through /proc/PID/root instead would
resolve in a tree of mounts which the container's root user can change.
"""

import errno
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.files import FileStat, ViewMount
from pinnace.contracts.snapshots import ByteSource, Snapshots
from pinnace.errors import Forbidden, Internal, InvalidParameter, NotFound
from pinnace.host import archive
from pinnace.host.kernel import mount, mount_tree
from pinnace.host.kernel.paths import O_PATH_DIRECTORY, directory, open_in_root
from pinnace.host.runtime.users import resolve_identity
from pinnace.model.record import ContainerId

log = logging.getLogger(__name__)

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class HostFiles:
    """Implements `contracts.files.ContainerFiles`; its docstrings hold here."""

    def __init__(
        self, exec_root: Path, snapshots: Snapshots, copy_rootfs: Callable[[ContainerId], int]
    ) -> None:
        """Make views below `exec_root`; what an earlier daemon left of its own is removed.

        Args:
            exec_root: Directory of volatile state, this daemon's alone.
            snapshots: Mounts the files of containers which do not run.
            copy_rootfs: Copies the root mount of a running container; see `Roots.copy`.
        """
        self._views = exec_root / "views"
        self._snapshots = snapshots
        self._copy_rootfs = copy_rootfs
        self._views.mkdir(mode=0o700, exist_ok=True)
        for top in self._views.iterdir():
            while mount.unmount(top):
                pass
            top.rmdir()
            log.warning("repaired: removed view %s", top.name)

    @contextmanager
    def view(
        self,
        container_id: ContainerId,
        mounts: Sequence[ViewMount] = (),
        *,
        read_only_root: bool = False,
    ) -> Iterator["HostFileView"]:
        """See the contract."""
        top = Path(tempfile.mkdtemp(prefix=f"{container_id[:12]}-", dir=self._views))
        with ExitStack() as undo:
            undo.callback(top.rmdir)
            try:
                self._mount_root(container_id, top)
                undo.callback(mount.unmount, top)
                root_fd = undo.enter_context(directory(top))
                for one in mounts:
                    _mount_inside(root_fd, one)
                if read_only_root:
                    mount_tree.make_read_only(root_fd)
            except OSError as exc:
                raise Internal(f"cannot open the files of {container_id}: {exc.strerror}") from exc
            yield HostFileView(root_fd)

    def _mount_root(self, container_id: ContainerId, top: Path) -> None:
        try:
            root = self._copy_rootfs(container_id)
        except FileNotFoundError:
            self._snapshots.mount(snapshot_key(container_id), top)
            # What is mounted on it now must not show up elsewhere.
            mount.make_private(top)
            return
        try:
            with directory(top) as target:
                mount_tree.attach_mount(root, target)
        finally:
            os.close(root)


class HostFileView:
    """Implements `contracts.files.FileView`; its docstrings hold here."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd

    def stat(self, path: str) -> FileStat:
        """See the contract."""
        found = archive.stat_path(self._root_fd, path)
        return FileStat(found.size, found.mode, found.mtime_ns, found.link_target)

    def pack(self, path: str, *, name: str) -> Iterator[bytes]:
        """See the contract."""
        return archive.pack_path(self._root_fd, path, name=name)

    def export(self) -> Iterator[bytes]:
        """See the contract."""
        return archive.export_root(self._root_fd)

    def check_writable(self, path: str) -> None:
        """See the contract."""
        try:
            descriptor = open_in_root(self._root_fd, os.fsencode(path), O_PATH_DIRECTORY)
        except NotADirectoryError as exc:
            raise InvalidParameter("extraction point is not a directory") from exc
        except OSError as exc:
            raise NotFound(f"no such file or directory: {path}") from exc
        try:
            if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
                in_root = _mount_id(descriptor) == _mount_id(self._root_fd)
                raise Forbidden(
                    "container rootfs is marked read-only"
                    if in_root
                    else "mounted volume is marked read-only"
                )
        finally:
            os.close(descriptor)

    def extract(
        self,
        source: ByteSource,
        path: str,
        *,
        no_overwrite_dir_non_dir: bool,
        owner: tuple[int, int] | None,
    ) -> None:
        """See the contract."""
        archive.extract_archive(
            source,
            self._root_fd,
            path,
            no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
            owner=owner,
        )

    def owner(self, user: str) -> tuple[int, int]:
        """See the contract."""
        identity = resolve_identity(self._root_fd, user)
        return identity.uid, identity.gid


def _mount_inside(root_fd: int, one: ViewMount) -> None:
    """Show a source at its destination inside the view; both ends are pinned descriptors."""
    source = _open_source(one)
    try:
        target = _mount_point(root_fd, one, is_directory=_is_directory(source))
        if target is None:
            return
        try:
            _attach(source, target, recursive=one.recursive, read_only=one.read_only)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _attach(source: int, target: int, *, recursive: bool = False, read_only: bool = False) -> None:
    tree = mount_tree.clone_mount(source, recursive=recursive)
    try:
        if read_only:
            mount_tree.make_read_only(tree, recursive=recursive)
        mount_tree.attach_mount(tree, target)
    finally:
        os.close(tree)


def _open_source(one: ViewMount) -> int:
    """Open what is to be seen; a path below a volume is resolved inside the volume."""
    source = os.open(one.source, os.O_PATH | os.O_CLOEXEC)
    if not one.subpath:
        return source
    try:
        return open_in_root(source, os.fsencode(one.subpath), os.O_PATH)
    finally:
        os.close(source)


def _mount_point(root_fd: int, one: ViewMount, *, is_directory: bool) -> int | None:
    """Open the destination, making it if need be; None when it stays out."""
    path = os.fsencode(one.destination)
    try:
        found = open_in_root(root_fd, path, os.O_PATH)
    except FileNotFoundError:
        if one.optional:
            return None
        found = _make_mount_point(root_fd, path, is_directory=is_directory)
    if _is_directory(found) != is_directory:
        os.close(found)
        if one.optional:
            return None
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), one.destination)
    return found


def _make_mount_point(root_fd: int, path: bytes, *, is_directory: bool) -> int:
    """Make what is missing of `path`, resolving every step inside the root."""
    at = os.dup(root_fd)
    done = b""
    parts = [part for part in path.split(b"/") if part]
    try:
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            done += b"/" + part
            try:
                found = open_in_root(root_fd, done, os.O_PATH)
            except FileNotFoundError:
                if last and not is_directory:
                    os.close(os.open(part, _CREATE, 0o644, dir_fd=at))
                else:
                    os.mkdir(part, 0o755, dir_fd=at)
                found = open_in_root(root_fd, done, os.O_PATH)
            os.close(at)
            at = found
    except BaseException:
        os.close(at)
        raise
    return at


def _is_directory(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _mount_id(descriptor: int) -> str:
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    return next(line for line in text.splitlines() if line.startswith("mnt_id:"))
