"""Containers that write a lot, with logging on and the CLI attached; `docker logs` afterwards.

    python bench/output.py [runs] [megabytes]

dockerd writes 2-byte lines at less than 1 MB/s, so both write fewer of those.
"""

from __future__ import annotations

import sys
import time
from functools import partial

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

LONG, SHORT = "y" * 99, "y"
SHORT_SHARE = 20  # one in so many bytes for 2-byte lines


def writer(line: str, size: int) -> tuple[str, ...]:
    return ("sh", "-c", f"yes {line} | head -c {size}")


def write(engine: Engine, line: str, size: int) -> float:
    """Return MB/s of a container that writes lines to an attached CLI."""
    started = time.perf_counter()
    docker(engine, "run", "--rm", "busybox", *writer(line, size))
    return size / 1e6 / (time.perf_counter() - started)


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
        for line, amount, target in ((LONG, size, 5.0), (SHORT, size // SHORT_SHARE, 20.0)):
            sides = {name: partial(write, e, line, amount) for name, e in engines.items()}
            samples = paired(sides, runs, warm_up=0)
            what = f"write {amount // 10**6} MB attached, {len(line) + 1}-byte lines"
            rows.append(compare(what, "MB/s", samples, target=target, is_least=True))
        sides = {}
        for name, engine in engines.items():
            client = Client(engine)
            container = client.run(*writer(LONG, size))
            client.wait(container)
            sides[name] = partial(logs, engine, container, size)
        samples = paired(sides, runs, warm_up=0)
        what = f"docker logs of {size // 10**6} MB"
        rows.append(compare(what, "MB/s", samples, target=5.0, is_least=True))
    report("output", rows)


if __name__ == "__main__":
    main()
