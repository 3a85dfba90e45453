"""Memory at rest and per running container; time to start beside 300 running containers.

python bench/running.py [runs]
"""

from __future__ import annotations

import statistics
import time

from bench._pair import (
    Client,
    Engine,
    Row,
    ours,
    pss_kib,
    report,
    runs_from_arguments,
    theirs,
    workspace,
)

FEW, MANY = 20, 300
SETTLE_S = 2.0


def start_ms(client: Client, runs: int) -> float:
    """Return the median of create and start, each cleared away again."""
    samples = []
    for _ in range(runs):
        started = time.perf_counter()
        container = client.run("true")
        samples.append(time.perf_counter() - started)
        client.wait(container)
        client.remove(container)
    return statistics.median(samples) * 1e3


def memory(engine: Engine, client: Client, count: int) -> tuple[float, float]:
    """Return PSS at rest in MB, and what each of `count` running containers adds."""
    client.remove(client.run("true"))
    time.sleep(SETTLE_S)
    rest = pss_kib(engine)
    for _ in range(count):
        client.run("sleep", "99999")
    time.sleep(SETTLE_S)
    return rest / 1024, (pss_kib(engine) - rest) / 1024 / count


def main() -> None:
    runs = runs_from_arguments(20)
    with workspace() as root:
        with theirs(root) as engine:
            their_rest, their_each = memory(engine, Client(engine), FEW)
        with ours(root) as engine:
            client = Client(engine)
            start_ms(client, 3)
            alone = start_ms(client, runs)
            rest, each = memory(engine, client, MANY)
            crowded = start_ms(client, runs)
            for one in client("GET", "/containers/json"):
                client.remove(one["Id"])
            alone = (alone + start_ms(client, runs)) / 2
    report(
        "running",
        [
            Row(
                "memory at rest",
                "MB",
                {"pinnace": rest, "dockerd": their_rest},
                rest,
                "",
                60.0,
                False,
                1,
            ),
            Row(
                "memory per running container",
                "MB",
                {"pinnace": each, "dockerd": their_each},
                each,
                "",
                0.5,
                False,
                MANY,
            ),
            Row(
                f"create+start beside {MANY} running",
                "ms",
                {"pinnace": crowded, "itself alone": alone},
                crowded / alone,
                "itself alone",
                1.5,
                False,
                runs,
            ),
        ],
    )
    print(f"dockerd: {their_rest:.1f} MB at rest, {their_each:.2f} MB per running container")


if __name__ == "__main__":
    main()
