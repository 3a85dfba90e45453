"""Files of containers on the host: directories, etc files, bundles, volumes' first content."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pinnace.contracts.control import DeviceNode, Identity
from pinnace.contracts.snapshots import ChainId, SnapshotKey
from pinnace.model.record import ContainerId


class Bundles(Protocol):
    """Directories and files of containers. All methods block: call them in a worker.

    `<data-root>/containers/<id>/` lives as long as the container: etc files, logs, exit record.
    `<exec-root>/bundles/<id>/` lives while it runs: config.json, and during the start the mounted
    root filesystem.
    """

    def directory(self, container_id: ContainerId) -> Path:
        """Return the container's directory; it need not exist."""
        ...

    def log_directory(self, container_id: ContainerId) -> Path:
        """Return where its output is kept."""
        ...

    def bundle(self, container_id: ContainerId) -> Path:
        """Return its bundle; it need not exist."""
        ...

    def rootfs(self, container_id: ContainerId) -> Path:
        """Return where its root filesystem is mounted, from `mount_rootfs` to `detach_rootfs`."""
        ...

    def make(self, container_id: ContainerId) -> None:
        """Make the container's directory."""
        ...

    def mount_rootfs(self, container_id: ContainerId) -> Path:
        """Make the bundle and mount the container's snapshot in it; return the mount point.

        Raises:
            Internal: The kernel refused; nothing remains.
            InvalidParameter: The image's /dev, /proc or /sys is no directory; nothing remains.
        """
        ...

    def detach_rootfs(self, container_id: ContainerId) -> None:
        """Take the root of a running container out of the host's mounts; it keeps its own.

        Every mount on the host makes every start slower. Idempotent.
        """
        ...

    def unmount_rootfs(self, container_id: ContainerId) -> None:
        """Undo `mount_rootfs` and remove the bundle. Idempotent."""
        ...

    def write_etc(self, container_id: ContainerId, files: Mapping[str, str]) -> None:
        """Write etc files (`hosts`, `hostname`, `resolv.conf`) in place, world-readable."""
        ...

    def write_bundle_file(self, container_id: ContainerId, name: str, content: bytes) -> Path:
        """Write a file of the bundle, mode 0600; return its path."""
        ...

    def remove(self, container_id: ContainerId) -> None:
        """Remove everything of the container but its snapshot. Idempotent."""
        ...

    def check_source(self, path: str, *, create: bool) -> None:
        """Make sure that a bind source exists; with `create` make it a directory.

        Raises:
            InvalidParameter: `bind source path does not exist: PATH`.
        """
        ...

    def mount_image(self, container_id: ContainerId, number: int, layer: ChainId | None) -> Path:
        """Mount a snapshot of an image in the bundle, to be bound read-only; return where.

        `unmount_rootfs` undoes it and removes the snapshot.

        Args:
            container_id: Its bundle exists.
            number: Distinguishes the container's image mounts.
            layer: The image's top layer; None: it is empty.

        Raises:
            NotFound: The layer is not there any more.
            Internal: The kernel refused.
        """
        ...

    def image_keys(self, container_id: ContainerId) -> Sequence[SnapshotKey]:
        """Return the keys of the snapshots that `mount_image` has made and that are mounted."""
        ...

    def plain_files(self, sources: Sequence[str]) -> frozenset[str]:
        """Return which of these sources of bind mounts are something else than a directory."""
        ...

    def in_source(self, root: str, subpath: str) -> str:
        """Return the path of `subpath` below `root`, links resolved inside `root`.

        Raises:
            InvalidParameter: It does not exist or leaves `root`.
        """
        ...

    def hold_volume(
        self, container_id: ContainerId, volume: Path, options: Mapping[str, str] | None
    ) -> None:
        """Have a volume mounted while the container runs.

        Args:
            container_id: The container.
            volume: The volume's directory.
            options: `type`, `device` and `o`; None: it is mounted already, by an earlier daemon.

        Raises:
            Internal: The kernel refused; Docker's text.
        """
        ...

    def release_volume(self, container_id: ContainerId, volume: Path) -> None:
        """Unmount the volume when no other container holds it. Idempotent."""
        ...

    def copy_up(self, container_id: ContainerId, destination: str, volume: Path) -> None:
        """Fill an empty volume with what the root filesystem has at `destination`."""
        ...

    def shared_shm(self, container_id: ContainerId, size_bytes: int) -> str:
        """Mount (once) the /dev/shm of a container with shareable IPC; return its path."""
        ...

    def propagations(self, sources: Iterable[str]) -> Mapping[str, str]:
        """Return `shared`, `slave` or `private` for the mount that holds each host path."""
        ...

    def device_nodes(self, path: str) -> Sequence[DeviceNode]:
        """Return the device at `path`, or all devices below a directory; none: empty."""
        ...

    def host_devices(self) -> Sequence[DeviceNode]:
        """Return every device of the host."""
        ...

    def block_numbers(self, paths: Iterable[str]) -> Mapping[str, tuple[int, int]]:
        """Return major and minor of each path that is a block device."""
        ...

    def identity(self, container_id: ContainerId, user: str, groups: Sequence[str]) -> Identity:
        """Resolve `user[:group]` and additional groups with the root filesystem's files.

        The container is being started, or runs.

        Raises:
            Conflict: It does not run any more.
            InvalidParameter: `unable to find user …`, Docker's texts.
        """
        ...

    def present(self) -> Sequence[ContainerId]:
        """Return the ids that have a directory or a bundle (for boot's repairs)."""
        ...


def snapshot_key(container_id: ContainerId) -> SnapshotKey:
    """Return the key of the container's active snapshot."""
    return SnapshotKey(container_id)
