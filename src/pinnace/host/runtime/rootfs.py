"""Checks a mounted root filesystem before a runtime mounts onto it."""

import os
import stat
from pathlib import Path

from pinnace.errors import InvalidParameter
from pinnace.host.kernel.paths import directory

# Where the runtime mounts, makes nodes and writes before the container is closed off.
_MOUNT_POINTS = ("dev", "proc", "sys")


def check_mount_points(rootfs: Path) -> None:
    """Refuse images whose /dev, /proc or /sys is anything but a directory.

    Runtimes have followed such links and made or changed files elsewhere (CVE-2026-47766,
    CVE-2025-31133). Missing directories are fine: the runtime makes them.

    Args:
        rootfs: Trusted host path of the root; its content is not trusted.

    Raises:
        InvalidParameter: One is a link or a file.
    """
    with directory(rootfs) as root_fd:
        for name in _MOUNT_POINTS:
            try:
                mode = os.stat(name, dir_fd=root_fd, follow_symlinks=False).st_mode
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(mode):
                raise InvalidParameter(f"invalid rootfs: /{name} in the image must be a directory")
