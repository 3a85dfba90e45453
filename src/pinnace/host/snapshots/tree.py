"""Removing and measuring trees that containers or images filled."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from pinnace.contracts.snapshots import Usage


def remove_tree(path: Path) -> None:
    """Remove a directory with all it holds; no error when it is not there.

    Links are removed, never followed, also while somebody renames things inside.
    """
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        # Gone before, or an entry vanished under the walk: look once more.
        if path.exists():
            shutil.rmtree(path, ignore_errors=True)


def remove_at(parent: int, base: bytes) -> None:
    """Remove the file or tree `base` of the directory `parent`."""
    try:
        os.unlink(base, dir_fd=parent)
    except IsADirectoryError:
        shutil.rmtree(base, dir_fd=parent)


def measure(path: Path) -> Usage:
    """Return the bytes of files and links below `path` (each inode once) and the inodes."""
    size = 0
    inodes = 0
    seen: set[tuple[int, int]] = set()
    for status in _statuses(path):
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue
            seen.add(identity)
        inodes += 1
        if not stat.S_ISDIR(status.st_mode):
            size += status.st_size
    return Usage(size, inodes)


def _statuses(path: Path) -> Iterator[os.stat_result]:
    pending = [str(path)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed by the container meanwhile
        for entry in entries:
            try:
                yield entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
