"""A faithful copy of a tree nobody is changing: attributes, links, devices, hard links."""

import os
import shutil
import stat
from pathlib import Path

from pinnace.errors import Internal


def copy_tree(source: Path, target: Path) -> None:
    """Copy what is below `source`, and its own attributes, to the existing directory `target`.

    Symbolic links are copied, never followed. Sockets are left out.

    Raises:
        Internal: The host failed; the copy is incomplete.
    """
    try:
        _copy_below(source, target)
    except OSError as exc:
        raise Internal(f"cannot copy a layer: {exc.strerror}") from exc


def _copy_below(source: Path, target: Path) -> None:
    links: dict[tuple[int, int], Path] = {}
    directories = [(source, target)]
    pending = [(source, target)]
    while pending:
        here, there = pending.pop()
        for entry in os.scandir(here):
            copy = there / entry.name
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                copy.mkdir(mode=0o700)
                pending.append((Path(entry.path), copy))
                directories.append((Path(entry.path), copy))
            else:
                _copy_node(Path(entry.path), copy, status, links)
    for here, there in reversed(directories):
        _copy_attributes(here, there, here.lstat())


def _copy_node(
    source: Path, copy: Path, status: os.stat_result, links: dict[tuple[int, int], Path]
) -> None:
    if status.st_nlink > 1:
        first = links.setdefault((status.st_dev, status.st_ino), copy)
        if first != copy:
            os.link(first, copy, follow_symlinks=False)
            return
    if stat.S_ISREG(status.st_mode):
        shutil.copyfile(source, copy, follow_symlinks=False)
    elif stat.S_ISLNK(status.st_mode):
        copy.symlink_to(source.readlink())
    elif stat.S_ISSOCK(status.st_mode):
        return
    else:
        os.mknod(copy, status.st_mode, status.st_rdev)
    _copy_attributes(source, copy, status)


def _copy_attributes(source: Path, copy: Path, status: os.stat_result) -> None:
    os.chown(copy, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        copy.chmod(stat.S_IMODE(status.st_mode))
        for name in os.listxattr(source, follow_symlinks=False):
            if name.startswith(("user.", "security.capability")):
                os.setxattr(copy, name, os.getxattr(source, name, follow_symlinks=False))
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(copy, ns=times, follow_symlinks=False)
