"""With 1,000 known containers: `_ping`, the list, and a daemon's start to its first answer.

python bench/known.py [runs] [containers]
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench._pair import (
    Client,
    Engine,
    both,
    compare,
    paired,
    report,
    runs_from_arguments,
    until_answer,
)

LIST = "/containers/json?all=1"


def fill(engine: Engine, count: int) -> None:
    def some(number: int) -> None:
        client = Client(engine)
        for _ in range(number):
            client.create("true")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(some, [count // 4] * 4))
    assert len(Client(engine)("GET", LIST)) >= count // 4 * 4


def p50(client: Client, path: str, requests: int) -> float:
    samples = []
    for _ in range(requests):
        started = time.perf_counter()
        client("GET", path)
        samples.append(time.perf_counter() - started)
    return statistics.median(samples)


def start(engine: Engine) -> float:
    """Stop the daemon, start it, and return the seconds to its first answer to the list."""
    engine.stop()
    return until_answer(engine, LIST)


def main() -> None:
    runs = runs_from_arguments(10)
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    with both() as engines:
        for engine in engines.values():
            fill(engine, count)
        rows = []
        clients = {name: Client(engine) for name, engine in engines.items()}
        for what, path, requests in (
            ("GET /_ping p50", "/_ping", 200),
            (f"GET /containers/json p50, {count} known", LIST, 5),
        ):
            sides = {name: partial(p50, c, path, requests) for name, c in clients.items()}
            rows.append(compare(what, "ms", paired(sides, runs), target=1.0, scale=1e3))
        for client in clients.values():
            client.close()
        sides = {name: partial(start, engine) for name, engine in engines.items()}
        what = f"daemon start to first list, {count} known"
        rows.append(compare(what, "ms", paired(sides, runs), target=1.0, scale=1e3))
    report("known", rows)


if __name__ == "__main__":
    main()
