"""Measure what networking adds to a container's start: sandboxes and published ports.

Runs as root in namespaces of its own and prints one table, medians and 90th percentiles in ms:

    python bench/netstack.py [rounds]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.netlab import BRIDGE, address_of, an_endpoint, lab

from pinnace.contracts.netstack import Published
from pinnace.engine.networks.rules import ruleset
from pinnace.host.netstack.stack import LinuxNetStack

ANY = IPv4Address("0.0.0.0")


async def timed(samples: dict[str, list[float]], name: str, step) -> None:
    before = time.perf_counter()
    await step
    samples.setdefault(name, []).append((time.perf_counter() - before) * 1e3)


async def measure(stack: LinuxNetStack, rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    port = Published("tcp", ANY, 8080, address_of(2), 80)
    await timed(samples, "ensure bridge, first", stack.ensure_bridge(BRIDGE))
    for number in range(rounds):
        name = f"bench{number}"
        endpoints = [an_endpoint(2, link=f"pnb{number}")]
        await timed(samples, "ensure bridge, again", stack.ensure_bridge(BRIDGE))
        await timed(samples, "reserve port", stack.reserve("tcp", ANY, 8080))
        await timed(samples, "create sandbox", stack.create_sandbox(name, endpoints))
        await timed(samples, "publish port", stack.publish([port]))
        await timed(samples, "unpublish port", stack.unpublish([port]))
        await timed(samples, "remove sandbox", stack.remove_sandbox(name))
        await timed(samples, "release port", stack.release("tcp", ANY, 8080))
        await asyncio.sleep(0.03)  # the kernel takes ended namespaces down; do not measure that
    for number in range(rounds):
        await timed(samples, "create sandbox, lo only", stack.create_sandbox(f"lo{number}", []))
        await timed(samples, "remove sandbox, lo only", stack.remove_sandbox(f"lo{number}"))
        await asyncio.sleep(0.01)
    return samples


async def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory() as directory, lab(Path(directory)) as world:
        stack = LinuxNetStack(
            Path(directory) / "netns", ruleset, table="pinnace-tb", host_namespace=world.host
        )
        try:
            samples = await measure(stack, rounds)
        finally:
            await stack.teardown()
            await stack.close()
    print(f"{'step':<26}{'median':>8}{'p90':>8}  (ms, {rounds} rounds)")
    for name, found in samples.items():
        ordered = sorted(found)
        p90 = ordered[int(len(ordered) * 0.9)]
        print(f"{name:<26}{statistics.median(ordered):>8.2f}{p90:>8.2f}")


if __name__ == "__main__":
    asyncio.run(main())
