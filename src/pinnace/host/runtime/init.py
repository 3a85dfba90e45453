"""Finds the small init that `--init` puts in front of a container's command."""

import os
import shutil
from pathlib import Path

from pinnace.errors import Unavailable

# Static ones first: the program runs in the container's filesystem, where libraries are others'.
_NAMES = ("docker-init", "tini-static", "catatonit", "tini")
_ELF_MAGIC = b"\x7fELF"
_PT_INTERP = 3


def find_init(path: str = "") -> str:
    """Return the host path of the init program.

    Args:
        path: As configured; "" looks for the usual names, statically linked ones only.

    Raises:
        Unavailable: None is there, or the configured one cannot be executed.
    """
    if path:
        if os.access(path, os.X_OK):
            return path
        raise Unavailable(f'init binary "{path}" is missing or not executable')
    for name in _NAMES:
        found = shutil.which(name)
        if found and is_static(Path(found)):
            return found
    raise Unavailable(
        'exec: "docker-init": executable file not found in $PATH; '
        "install tini or catatonit, or set the path of an init binary"
    )


def is_static(program: Path) -> bool:
    """Whether a 64-bit ELF program needs no loader, elf(5)."""
    with program.open("rb") as file:
        head = file.read(64)
        if head[:4] != _ELF_MAGIC:
            return False
        offset = int.from_bytes(head[32:40], "little")
        size = int.from_bytes(head[54:56], "little")
        count = int.from_bytes(head[56:58], "little")
        file.seek(offset)
        table = file.read(size * count)
    types = (int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), size))
    return _PT_INTERP not in types
