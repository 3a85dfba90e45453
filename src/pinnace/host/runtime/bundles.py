"""Directories, bundles and first contents of containers; implements `contracts.bundles`."""

import errno
import logging
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.control import DeviceNode, Identity
from pinnace.contracts.snapshots import ChainId, SnapshotKey, Snapshots
from pinnace.errors import Conflict, Internal, InvalidParameter
from pinnace.host.kernel import mount
from pinnace.host.kernel.paths import directory, make_directories, open_in_root, real_path
from pinnace.host.runtime.devices import block_numbers, device_nodes, host_devices
from pinnace.host.runtime.propagation import mount_propagations
from pinnace.host.runtime.rootfs import check_mount_points
from pinnace.host.runtime.roots import Roots
from pinnace.host.runtime.users import resolve_identity
from pinnace.host.runtime.volume_mounts import VolumeMounts
from pinnace.model.record import ContainerId

log = logging.getLogger(__name__)

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8  # sys/mount.h
_COPY_TIMEOUT_S = 600
_REMOVALS = 10
_IMAGE = "image-"  # with a number: where an image is mounted


class HostBundles:
    """Implements `contracts.bundles.Bundles`; its docstrings hold here."""

    def __init__(self, data_root: Path, exec_root: Path, snapshots: Snapshots) -> None:
        """Work below both roots, which exist."""
        self._containers = data_root / "containers"
        self._bundles = exec_root / "bundles"
        self._snapshots = snapshots
        self._volumes = VolumeMounts()
        self._roots = Roots(exec_root / "roots")
        self._containers.mkdir(mode=0o710, exist_ok=True)
        self._bundles.mkdir(mode=0o711, exist_ok=True)

    def directory(self, container_id: ContainerId) -> Path:
        """See the contract."""
        return self._containers / container_id

    def log_directory(self, container_id: ContainerId) -> Path:
        """See the contract."""
        return self._containers / container_id / "log"

    def bundle(self, container_id: ContainerId) -> Path:
        """See the contract."""
        return self._bundles / container_id

    def rootfs(self, container_id: ContainerId) -> Path:
        """See the contract."""
        return self._bundles / container_id / "rootfs"

    def make(self, container_id: ContainerId) -> None:
        """See the contract."""
        self.directory(container_id).mkdir(mode=0o710)
        self.log_directory(container_id).mkdir(mode=0o700)

    def mount_rootfs(self, container_id: ContainerId) -> Path:
        """See the contract."""
        target = self.rootfs(container_id)
        self.unmount_rootfs(container_id)  # of a run whose clearing up failed
        self.bundle(container_id).mkdir(mode=0o711)
        target.mkdir(mode=0o755)
        try:
            self._snapshots.mount(snapshot_key(container_id), target)
        except OSError as exc:
            shutil.rmtree(self.bundle(container_id), ignore_errors=True)
            raise Internal(
                f"cannot mount the root filesystem of {container_id}: {exc.strerror}"
            ) from exc
        try:
            check_mount_points(target)
        except BaseException:
            self.unmount_rootfs(container_id)
            raise
        return target

    def detach_rootfs(self, container_id: ContainerId) -> None:
        """See the contract."""
        self._roots.detach(self.bundle(container_id))

    def copy_rootfs(self, container_id: ContainerId) -> int:
        """Return a detached copy of the root mount of a running container; see `Roots.copy`."""
        return self._roots.copy(self.bundle(container_id))

    def unmount_rootfs(self, container_id: ContainerId) -> None:
        """See the contract."""
        bundle = self.bundle(container_id)
        if not bundle.exists():
            return
        self._roots.drop(bundle)
        images = list(bundle.glob(f"{_IMAGE}*"))
        for target in (bundle / "shm", bundle / "rootfs", *images):
            while mount.unmount(target):
                pass
        # rmdir, not rmtree: a root filesystem still mounted here must not be emptied.
        for target in (bundle / "shm", bundle / "rootfs", *images):
            if target.exists():
                target.rmdir()
        for target in images:
            self._snapshots.remove(_image_key(container_id, target.name))
        _remove(bundle)

    def mount_image(self, container_id: ContainerId, number: int, layer: ChainId | None) -> Path:
        """See the contract."""
        target = self.bundle(container_id) / f"{_IMAGE}{number}"
        target.mkdir(mode=0o755, exist_ok=True)
        key = _image_key(container_id, target.name)
        self._snapshots.remove(key)  # of a run that a crash of the host ended
        self._snapshots.prepare(key, layer)
        try:
            self._snapshots.mount(key, target, bare=True)
        except OSError as exc:
            raise Internal(f"cannot mount an image in {container_id}: {exc.strerror}") from exc
        return target

    def image_keys(self, container_id: ContainerId) -> Sequence[SnapshotKey]:
        """See the contract."""
        found = self.bundle(container_id).glob(f"{_IMAGE}*")
        return [_image_key(container_id, target.name) for target in found]

    def write_etc(self, container_id: ContainerId, files: Mapping[str, str]) -> None:
        """See the contract."""
        base = self.directory(container_id)
        for name, content in files.items():
            _write(base / name, content.encode(), mode=0o644)

    def write_bundle_file(self, container_id: ContainerId, name: str, content: bytes) -> Path:
        """See the contract."""
        path = self.bundle(container_id) / name
        _write(path, content, mode=0o600)
        return path

    def remove(self, container_id: ContainerId) -> None:
        """See the contract."""
        self.unmount_rootfs(container_id)
        shutil.rmtree(self.directory(container_id), ignore_errors=True)

    def check_source(self, path: str, *, create: bool) -> None:
        """See the contract."""
        source = Path(path)
        if source.exists():
            return
        if not create:
            raise InvalidParameter(
                f'invalid mount config for type "bind": bind source path does not exist: {path}'
            )
        try:
            source.mkdir(mode=0o755, parents=True)
        except OSError as exc:
            raise InvalidParameter(
                f"error while creating mount source path '{path}': mkdir {path}: {exc.strerror}"
            ) from exc

    def plain_files(self, sources: Sequence[str]) -> frozenset[str]:
        """See the contract."""
        return frozenset(source for source in sources if not Path(source).is_dir())

    def in_source(self, root: str, subpath: str) -> str:
        """See the contract."""
        try:
            with directory(root) as root_fd:
                fd = open_in_root(root_fd, os.fsencode(subpath), os.O_PATH)
                try:
                    inside = os.fsdecode(real_path(fd, root_fd))
                finally:
                    os.close(fd)
        except OSError as exc:
            raise InvalidParameter(f"subpath {subpath}: {exc.strerror}") from exc
        return str(Path(root, inside))

    def hold_volume(
        self, container_id: ContainerId, volume: Path, options: Mapping[str, str] | None
    ) -> None:
        """See the contract."""
        self._volumes.hold(container_id, volume, options)

    def release_volume(self, container_id: ContainerId, volume: Path) -> None:
        """See the contract."""
        self._volumes.release(container_id, volume)

    def copy_up(self, container_id: ContainerId, destination: str, volume: Path) -> None:
        """See the contract.

        What is missing is made, as dockerd does it: the runtime's own mount points are sticky.
        The copy is made beside the volume's data and renamed over it, so that it is there whole or
        not at all; rename(2) refuses to replace a directory that is not empty.
        """
        if volume.name != "_data" or any(volume.iterdir()):
            return
        with directory(self.rootfs(container_id)) as root_fd:
            try:
                source = open_in_root(
                    root_fd, os.fsencode(destination), os.O_RDONLY | os.O_DIRECTORY
                )
            except FileNotFoundError:
                _make_mount_point(root_fd, destination)
                return
            except OSError as exc:
                if exc.errno in {errno.ENOTDIR, errno.ELOOP}:
                    return
                raise
        staging = volume.with_name(f".filling-{container_id}")
        try:
            if volume.is_mount():  # which nothing can be renamed over
                _copy_tree(source, volume)
                return
            staging.mkdir(mode=0o700)
            _copy_tree(source, staging)
            staging.rename(volume)
        except OSError as exc:
            if exc.errno != errno.ENOTEMPTY:
                raise Internal(f"cannot fill volume {volume}: {exc}") from exc
        finally:
            os.close(source)
            shutil.rmtree(staging, ignore_errors=True)

    def shared_shm(self, container_id: ContainerId, size_bytes: int) -> str:
        """See the contract."""
        target = self.bundle(container_id) / "shm"
        if not target.exists():
            target.mkdir(mode=0o1777)
            flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
            mount.mount("shm", target, "tmpfs", flags=flags, data=f"mode=1777,size={size_bytes}")
        return str(target)

    def propagations(self, sources: Iterable[str]) -> Mapping[str, str]:
        """See the contract."""
        return mount_propagations(sources)

    def device_nodes(self, path: str) -> Sequence[DeviceNode]:
        """See the contract."""
        return device_nodes(path)

    def host_devices(self) -> Sequence[DeviceNode]:
        """See the contract."""
        return host_devices()

    def block_numbers(self, paths: Iterable[str]) -> Mapping[str, tuple[int, int]]:
        """See the contract."""
        return block_numbers(paths)

    def identity(self, container_id: ContainerId, user: str, groups: Sequence[str]) -> Identity:
        """See the contract."""
        try:
            with self._roots.root(self.bundle(container_id)) as root_fd:
                return resolve_identity(root_fd, user, groups)
        except FileNotFoundError as exc:
            raise Conflict(f"container {container_id} is not running") from exc

    def close(self) -> None:
        """Give up what is only needed while containers run, now that none does."""
        self._roots.close()

    def present(self) -> Sequence[ContainerId]:
        """See the contract."""
        names = {
            entry.name for root in (self._containers, self._bundles) for entry in root.iterdir()
        }
        return [ContainerId(name) for name in sorted(names)]


def _make_mount_point(root_fd: int, destination: str) -> None:
    """Make a directory; the runtime decides what becomes of one that cannot be."""
    try:
        make_directories(root_fd, os.fsencode(destination))
    except OSError as exc:
        if exc.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EROFS}:
            raise Internal(f"mkdir {destination}: {exc.strerror}") from exc


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file of the host's, in place; a start writes several, so with few system calls."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)  # whatever the umask
        while content:
            content = content[os.write(fd, content) :]
    finally:
        os.close(fd)


def _remove(bundle: Path) -> None:
    """Remove a bundle, in which the runtime or the end of an exec may still be at work."""
    for _ in range(_REMOVALS):
        try:
            shutil.rmtree(bundle)
        except OSError as exc:
            if exc.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                raise
        if not bundle.exists():
            return
    raise Internal(f"cannot remove {bundle}: something is written there")


def _image_key(container_id: ContainerId, name: str) -> SnapshotKey:
    return SnapshotKey(f"{container_id}-{name}")


def _copy_tree(source_fd: int, target: Path) -> None:
    """Copy the content of a directory with owners, modes, times, links and xattrs; blocks.

    coreutils' cp does this completely; it runs from the host, and the pinned descriptor is where
    it starts, whatever the container's links say.
    """
    source = f"/proc/{os.getpid()}/fd/{source_fd}/."
    done = subprocess.run(
        ["/bin/cp", "--archive", "--", source, str(target)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_COPY_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise OSError(errno.EIO, done.stderr.decode(errors="replace").strip())
    status = os.fstat(source_fd)
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(stat.S_IMODE(status.st_mode))
