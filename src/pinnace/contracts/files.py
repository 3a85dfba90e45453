"""The files of a container, as its processes see them, for the time of one request."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pinnace.contracts.snapshots import ByteSource
from pinnace.model.record import ContainerId


@dataclass(frozen=True, slots=True)
class ViewMount:
    """A mount to be seen in the view.

    Attributes:
        source: Directory or file on the host; trusted.
        destination: Path in the container; resolved inside its root.
        subpath: Path below `source`, resolved inside of it: what is there is shown.
        recursive: Show what is mounted below the source, too.
        read_only: Nothing may be written through it.
        optional: Left out when the destination is not there; else a mount point is made.
    """

    source: str
    destination: str
    subpath: str = ""
    recursive: bool = False
    read_only: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class FileStat:
    """What is at a path.

    Attributes:
        size: Bytes.
        mode: `st_mode`.
        mtime_ns: Unix nanoseconds.
        link_target: Of a symbolic link: where it leads in the container, absolute; else "".
    """

    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""


class FileView(Protocol):
    """An opened view. All methods block; paths are resolved inside the container's root."""

    def stat(self, path: str) -> FileStat:
        """Look at `path`; its last component is not followed unless `/` or `/.` ends it.

        Raises:
            NotFound: It is not there.
        """
        ...

    def pack(self, path: str, *, name: str) -> Iterator[bytes]:
        """Return a tar of what is at `path`, with mounts below it; members are `name/...`.

        Raises:
            NotFound: It is not there; raised by the call, not by the iteration.
        """
        ...

    def export(self) -> Iterator[bytes]:
        """Return a tar of the whole root."""
        ...

    def check_writable(self, path: str) -> None:
        """Return if files may be written in the directory `path`.

        Raises:
            NotFound: It is not there.
            InvalidParameter: It is no directory.
            Forbidden: The root or the volume it lies in is read-only.
        """
        ...

    def extract(
        self,
        source: ByteSource,
        path: str,
        *,
        no_overwrite_dir_non_dir: bool,
        owner: tuple[int, int] | None,
    ) -> None:
        """Unpack a tar, plain or compressed, into the directory `path`.

        Args:
            source: The archive.
            path: A directory.
            no_overwrite_dir_non_dir: Refuse to replace a directory by something else, and the
                reverse.
            owner: (uid, gid) of everything; None: as in the archive.

        Raises:
            NotFound: `path` is not there.
            InvalidParameter: It is no directory, or the archive is broken or hostile.
        """
        ...

    def owner(self, user: str) -> tuple[int, int]:
        """Return uid and gid of `user[:group]` by the container's own files.

        Raises:
            InvalidParameter: There is no such user.
        """
        ...


class ContainerFiles(Protocol):
    """Opens views of containers' files, running or not."""

    def view(
        self,
        container_id: ContainerId,
        mounts: Sequence[ViewMount] = (),
        *,
        read_only_root: bool = False,
    ) -> AbstractContextManager[FileView]:
        """Make a view; blocks, also at its end.

        A container without a mounted root filesystem gets its snapshot mounted meanwhile. Volumes
        are seen; what exists in the container's own mount namespace only (tmpfs, /proc, /sys,
        /dev) is not, as in Docker.

        Raises:
            NotFound: The container has no files any more.
            Internal: The kernel refused a mount; nothing remains.
        """
        ...
