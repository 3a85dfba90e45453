"""Client libraries of 2014 to 2016, each in a directory of its own below `.cache`.

`./dev setup` makes them (`python -m tests.support.old_clients`); a test that misses one makes it.
What is installed is in `tests/old_clients/*.lock`, with hashes. A library runs in an interpreter
of its own that sees nothing else: newer versions of the same names are in the environment of the
tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "tests" / "old_clients"
CACHE = ROOT / ".cache" / "old-clients"
LIBRARIES = ("docker-py-0.3.2", "docker-py-1.2.3", "docker-py-1.10.6")
_INSTALL_S = 300
_RUN_S = 120


def library(name: str) -> Path:
    """Return the directory of a library; it is made if it is not there."""
    lock = LOCKS / f"{name}.lock"
    wanted = CACHE / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if wanted.is_dir():
        return wanted
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".new-") as made:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-compile", "--require-hashes"]
        command += ["--target", f"{made}/packages", "--requirement", str(lock)]
        subprocess.run(command, check=True, timeout=_INSTALL_S, stdin=subprocess.DEVNULL)
        with contextlib.suppress(FileExistsError):  # somebody else was as quick
            Path(made, "packages").rename(wanted)
    return wanted


def run(name: str, script: Path, *arguments: str) -> Any:
    """Run a script with a library; return the JSON it prints."""
    done = subprocess.run(
        [sys.executable, "-S", "-W", "ignore", str(script), *arguments],
        env={"PYTHONPATH": str(library(name)), "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        check=False,
        timeout=_RUN_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def main() -> None:
    """Make all libraries, and remove those of older lock files."""
    kept = {library(name) for name in LIBRARIES}
    for path in CACHE.iterdir():
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main()
