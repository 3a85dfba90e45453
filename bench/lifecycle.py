"""Create, start, wait, remove over the API, per second, with one client and with eight.

python bench/lifecycle.py [runs]
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench._pair import Client, both, compare, paired, report, runs_from_arguments

CLIENTS = 8


def live(client: Client) -> None:
    container = client.run("true")
    client.wait(container)
    client.remove(container)


def rate(clients: list[Client], rounds: int) -> float:
    """Return lifecycles per second; every client does `rounds`, one after the other."""

    def work(client: Client) -> None:
        for _ in range(rounds):
            live(client)

    started = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(work, clients))
    return rounds * len(clients) / (time.perf_counter() - started)


def main() -> None:
    runs = runs_from_arguments(10)
    with both() as engines:
        rows = []
        for count, target in ((1, 8.0), (CLIENTS, 5.0)):
            clients = {name: [Client(e) for _ in range(count)] for name, e in engines.items()}
            sides = {
                # Ours does more of them, so that both are measured for about as long.
                "pinnace": partial(rate, clients["pinnace"], max(2, 10 // count)),
                "dockerd": partial(rate, clients["dockerd"], max(1, 2 // count)),
            }
            samples = paired(sides, runs)
            what = f"create+start+wait+remove, {count} client{'s' if count > 1 else ''}"
            rows.append(compare(what, "per s", samples, target=target, is_least=True))
    report("lifecycle", rows)


if __name__ == "__main__":
    main()
