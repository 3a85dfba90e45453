"""How full a filesystem is."""

import os
from pathlib import Path


def percent_used(path: Path) -> float:
    """Return how much of the filesystem that holds `path` is in use, as `df` counts it."""
    status = os.statvfs(path)
    used = status.f_blocks - status.f_bfree
    usable = used + status.f_bavail
    return 100 * used / usable if usable else 0.0
