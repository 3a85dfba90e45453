"""Device files of the host: what a path is, and all of them for privileged containers."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pinnace.contracts.control import DeviceNode

# Directories of /dev that hold no devices of the host's hardware, and what others leave there.
_SKIPPED_DIRECTORIES = frozenset(("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"))
_SKIPPED_FILES = frozenset(("console",))  # the container's own terminal takes its place


def device_nodes(path: str) -> list[DeviceNode]:
    """Return the device at `path`, or every device below it when it is a directory.

    Links are followed; nodes keep the path that was asked for. A path that is missing or neither
    gives an empty list.
    """
    try:
        found = Path(path).stat()
    except OSError:
        return []
    if stat.S_ISDIR(found.st_mode):
        return list(_below(Path(path)))
    node = _node(path, found)
    return [node] if node else []


def host_devices(root: Path = Path("/dev")) -> list[DeviceNode]:
    """Return every device node of the host, sorted by path."""
    return sorted(_below(root), key=lambda node: node.path)


def block_numbers(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return major and minor number of each path that is a block device."""
    found = {}
    for path in paths:
        for node in device_nodes(path):
            if node.kind == "b" and node.path == path:
                found[path] = (node.major, node.minor)
    return found


def _below(root: Path) -> Iterator[DeviceNode]:
    for place, directories, files in os.walk(root):
        directories[:] = [name for name in directories if name not in _SKIPPED_DIRECTORIES]
        for name in files:
            path = os.path.join(place, name)  # noqa: PTH118 # thousands of them
            try:
                found = os.lstat(path)
            except OSError:
                continue  # devices come and go
            node = _node(path, found)
            if node and name not in _SKIPPED_FILES:
                yield node


def _node(path: str, found: os.stat_result) -> DeviceNode | None:
    if stat.S_ISCHR(found.st_mode):
        kind = "c"
    elif stat.S_ISBLK(found.st_mode):
        kind = "b"
    else:
        return None
    return DeviceNode(
        path=path,
        kind=kind,
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
    )
