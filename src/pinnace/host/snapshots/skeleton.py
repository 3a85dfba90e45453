"""The layer below all layers: places that containers' own mounts need.

It gives every root filesystem the mount points of /proc, /etc/hosts and the like, so that making
a container changes nothing in its writable layer: `docker diff` and `docker commit` see only what
the container did. Being lowest, it never hides anything of an image.
"""

from pathlib import Path

_DIRECTORIES = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")


def make_skeleton(root: Path) -> Path:
    """Make the directory `root` with the places, as far as they are missing; return it."""
    root.mkdir(mode=0o755, exist_ok=True)
    for name in _DIRECTORIES:
        (root / name).mkdir(mode=0o755, exist_ok=True)
    for name in _FILES:
        (root / name).touch()
        (root / name).chmod(0o755)  # as dockerd's; `docker export` shows it
    mtab = root / "etc/mtab"
    if not mtab.is_symlink():
        mtab.symlink_to("/proc/mounts")
    return root
