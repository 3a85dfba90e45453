"""Removing and measuring trees that containers or images filled.

Such a tree may be deeper than a path can be long, or than there are descriptors; somebody may
rename things in it meanwhile. Links are never followed.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pinnace.contracts.snapshots import Usage
from pinnace.host.kernel.paths import directory, open_in_root

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH = 64  # open directories at a time; what is deeper is moved up first
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))


def remove_tree(path: Path) -> None:
    """Remove a directory with all it holds; no error when it is not there.

    Raises:
        OSError: Something in it cannot be removed.
    """
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return
    try:
        _empty(descriptor)
    finally:
        os.close(descriptor)
    path.rmdir()


def remove_at(parent: int, base: bytes) -> None:
    """Remove the file or tree `base` of the directory `parent`.

    Raises:
        OSError: It is not there, or something in it cannot be removed.
    """
    try:
        os.unlink(base, dir_fd=parent)
    except IsADirectoryError:
        descriptor = os.open(base, _OPEN, dir_fd=parent)
        try:
            _empty(descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(base, dir_fd=parent)


def measure(path: Path) -> Usage:
    """Return the bytes of files and links below `path` (each inode once) and the inodes."""
    size = 0
    inodes = 0
    seen: set[tuple[int, int]] = set()
    with directory(path) as root_fd:
        for status in _statuses(root_fd):
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                identity = (status.st_dev, status.st_ino)
                if identity in seen:
                    continue
                seen.add(identity)
            inodes += 1
            if not stat.S_ISDIR(status.st_mode):
                size += status.st_size
    return Usage(size, inodes)


def _empty(top: int) -> None:
    """Remove everything in the directory `top`."""
    while names := _remove_files(top):
        for name in names:
            _remove_directory(top, name, top=top, depth=0)


def _remove_directory(parent: int, name: str, *, top: int, depth: int) -> None:
    """Remove a directory; what lies too deep in it becomes a directory of `top`."""
    try:
        descriptor = os.open(name, _OPEN, dir_fd=parent)
    except FileNotFoundError:
        return
    try:
        names = _remove_files(descriptor)
        if depth >= _DEPTH:
            _lift(descriptor, names, top)
        else:
            for below in names:
                _remove_directory(descriptor, below, top=top, depth=depth + 1)
    finally:
        os.close(descriptor)
    with suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)


def _remove_files(descriptor: int) -> list[str]:
    """Remove what is no directory; return the names of the directories."""
    directories = []
    with os.scandir(descriptor) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if is_directory:
            directories.append(name)
        else:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=descriptor)
    return directories


def _lift(source: int, names: list[str], target: int) -> None:
    for name in names:
        lifted = f"deep-{secrets.token_hex(8)}"
        os.rename(name, lifted, src_dir_fd=source, dst_dir_fd=target)


def _statuses(root_fd: int) -> Iterator[os.stat_result]:
    pending = [b""]
    while pending:
        above = pending.pop()
        try:
            descriptor = open_in_root(root_fd, above, _OPEN, follow=False)
        except OSError as exc:
            if exc.errno in _GONE:
                continue  # removed meanwhile, or deeper than a path reaches
            raise
        try:
            for name in map(os.fsencode, os.listdir(descriptor)):  # noqa: PTH208 - descriptor
                with suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    yield status
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(above + b"/" + name if above else name)
        finally:
            os.close(descriptor)
