"""Containers that write a lot, with logging on and the CLI attached; `docker logs` afterwards.

    python bench/output.py [runs] [megabytes]

dockerd writes 2-byte lines at less than 1 MB/s, so both write fewer of those.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from bench._pair import (
    Client,
    Engine,
    both,
    compare,
    docker,
    paired,
    report,
    runs_from_arguments,
)

if TYPE_CHECKING:
    from pathlib import Path

LONG, SHORT = b"y" * 99 + b"\n", b"y\n"
SHORT_SHARE = 20  # one in so many bytes for 2-byte lines
INSIDE = "/lines"


def file_of(directory: Path, line: bytes, size: int) -> Path:
    """Write a file of equal lines, which containers `cat`: the quickest writer there is."""
    path = directory / f"lines{len(line)}"
    path.write_bytes(line * (size // len(line)))
    return path


def write(engine: Engine, file: Path) -> float:
    """Return MB/s of a container that writes a file to an attached CLI."""
    started = time.perf_counter()
    docker(engine, "run", "--rm", "-v", f"{file}:{INSIDE}:ro", "busybox", "cat", INSIDE)
    return file.stat().st_size / 1e6 / (time.perf_counter() - started)


def logs(engine: Engine, container: str, size: int) -> float:
    """Return MB/s of `docker logs`."""
    started = time.perf_counter()
    docker(engine, "logs", container)
    return size / 1e6 / (time.perf_counter() - started)


def main() -> None:
    runs = runs_from_arguments(10)
    size = int(sys.argv[2] if len(sys.argv) > 2 else 200) * 10**6
    with both() as engines:
        rows = []
        directory = engines["pinnace"].root
        long = file_of(directory, LONG, size)
        short = file_of(directory, SHORT, size // SHORT_SHARE)
        for file, line, target in ((long, LONG, 5.0), (short, SHORT, 20.0)):
            amount = file.stat().st_size
            sides = {name: partial(write, e, file) for name, e in engines.items()}
            samples = paired(sides, runs, warm_up=0)
            what = f"write {amount // 10**6} MB attached, {len(line)}-byte lines"
            rows.append(compare(what, "MB/s", samples, target=target, is_least=True))
        sides = {}
        for name, engine in engines.items():
            client = Client(engine)
            container = client.run("cat", INSIDE, Binds=[f"{long}:{INSIDE}:ro"])
            client.wait(container)
            sides[name] = partial(logs, engine, container, size)
        samples = paired(sides, runs, warm_up=0)
        what = f"docker logs of {size // 10**6} MB"
        rows.append(compare(what, "MB/s", samples, target=5.0, is_least=True))
    report("output", rows)


if __name__ == "__main__":
    main()
