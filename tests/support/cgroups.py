"""Makes a hybrid cgroup v1 host acceptable to crun."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def prepare() -> None:
    """Mount the v1 hierarchies whose controllers still sit in the cgroup2 tree; idempotent.

    crun refuses hosts where /sys/fs/cgroup/unified still has controllers.
    """
    controllers = ROOT / "unified" / "cgroup.controllers"
    if not controllers.exists():
        return
    for name in controllers.read_text().split():
        directory = ROOT / name
        directory.mkdir(exist_ok=True)
        if not (directory / "cgroup.procs").exists():
            command = ["mount", "-t", "cgroup", "-o", name, "cgroup", str(directory)]
            subprocess.run(command, check=True, capture_output=True)
