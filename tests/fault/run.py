"""Kills the daemon or the supervisor again and again under traffic, and looks what was lost.

    ./dev fault --rounds 200 --kill daemon
    ./dev fault --rounds 200 --kill supervisor

Twenty containers write numbered lines while they are started, stopped, killed, paused, entered,
removed and made again. At random moments the victim gets SIGKILL. Afterwards no container may be
lost, no exit code wrong, no log line lost or doubled, and at the end nothing may be left on the
host. Exits with 1 and the list of problems otherwise. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.fault import remains
from tests.fault.slots import GONE_DEADLINE_S, IMAGE, Disturbed, Slot, World
from tests.support import pinnaced
from tests.support.engine import Engine, processes_below, remove_root
from tests.support.images import busybox_archive

BRIDGE, SUBNET = "pnt3", "10.216.0.1/24"
CHECK_EVERY = 5
SUPERVISOR = b"pinnace.supervisor.main"


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how hard.

    Attributes:
        victim: "daemon" or "supervisor".
        rounds: How often it is killed.
        containers: How many slots there are.
        workers: How many operations are under way at once.
        seed: Makes the order of operations (not the timing) repeatable.
    """

    victim: str
    rounds: int = 200
    containers: int = 20
    workers: int = 6
    seed: int = 0
    bridge: str = BRIDGE
    subnet: str = SUBNET
    python: str = sys.executable


class Traffic:
    """Threads that work on the slots until they are told to pause or to end."""

    def __init__(self, slots: list[Slot], world: World, options: Options) -> None:
        self._slots, self._world = slots, world
        self._open = threading.Event()
        self._over = False
        self._idle = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(options.seed + n),))
            for n in range(options.workers)
        ]

    def __enter__(self) -> Traffic:
        self._open.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._open.set()
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def paused(self):
        """Hold every worker between two operations."""
        self._open.clear()
        for _ in self._threads:
            if not self._idle.acquire(timeout=120):
                self._world.problem("an operation does not end")
        try:
            yield
        finally:
            self._open.set()

    def _work(self, chance: random.Random) -> None:
        while not self._over:
            if not self._open.is_set():
                self._idle.release()
                self._open.wait()
            if self._world.epoch % 2:
                time.sleep(0.02)
                continue
            slot = chance.choice(self._slots)
            if slot.lock.acquire(blocking=False):
                try:
                    slot.act(chance)
                except Disturbed:
                    continue
                except Exception as exc:
                    self._world.problem(f"{slot.name}: {exc!r}")
                finally:
                    slot.lock.release()
            time.sleep(chance.uniform(0, 0.05))


class Killer:
    """Kills the victim, and brings the daemon back where that was it."""

    def __init__(self, engine: Engine, world: World, victim: str) -> None:
        self._engine, self._world, self._victim = engine, world, victim
        self.slowest_s = 0.0

    def strike(self, chance: random.Random) -> None:
        """Kill once and wait until the engine answers again."""
        time.sleep(chance.uniform(0.05, 0.8))
        self._world.epoch += 1
        begin = time.monotonic()
        if self._victim == "daemon":
            self._engine.kill()
            time.sleep(chance.choice((0, 0, 0.3)))
            begin = time.monotonic()
            self._engine.launch()
        else:
            self._kill_supervisor()
        self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
        self._world.epoch += 1

    def _kill_supervisor(self) -> None:
        old = supervisors(self._engine)
        for pid in old:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 30
        while set(supervisors(self._engine)) <= set(old):
            if time.monotonic() > end:
                self._world.problem("no new supervisor was started")
                return
            time.sleep(0.02)


def supervisors(engine: Engine) -> list[int]:
    """Return the supervisor's pid; two for the moment in which it is being started."""
    found = []
    for pid in processes_below(engine.root):
        with contextlib.suppress(OSError):
            if SUPERVISOR in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def check_all(slots: list[Slot], world: World) -> None:
    """Check every slot and that self-removing containers have gone."""
    for slot in slots:
        with contextlib.suppress(Disturbed):
            slot.check(final=True)
    end = time.monotonic() + GONE_DEADLINE_S
    while True:
        listed = world.call("GET", "/containers/json", fine=(200,), all="1").json()
        present = {one["Id"]: one["State"] for one in listed}
        world.automatic |= {one["Id"] for one in listed if one["Names"][0].startswith("/once")}
        if not world.automatic:
            return
        for known in tuple(world.automatic):
            if known not in present:
                world.automatic.discard(known)
            elif present[known] == "created":  # its start was disturbed
                world.call("DELETE", f"/containers/{known}", fine=(204, 404, 409), force="1")
        if time.monotonic() > end:
            for known in sorted(world.automatic):
                world.problem(f"{known[:12]} did not remove itself: {present.get(known)}")
            world.automatic.clear()
        time.sleep(0.1)


def run(options: Options, root: Path) -> World:
    """Do a whole run below `root`; the problems are in the world that is returned."""
    engine = pinnaced.start(
        root, bridge=options.bridge, subnet=options.subnet, python=options.python
    )
    world = World(engine)
    with engine:
        engine.load(busybox_archive())
        _warm_up(engine)
        before = remains.take(engine, options.bridge, ())
        slots = [Slot(world, n, root / "work") for n in range(options.containers)]
        killer, chance = Killer(engine, world, options.victim), random.Random(options.seed)
        with Traffic(slots, world, options) as traffic:
            for number in range(1, options.rounds + 1):
                killer.strike(chance)
                if number % CHECK_EVERY == 0 or number == options.rounds:
                    with traffic.paused():
                        check_all(slots, world)
                    _say(f"round {number}: {sum(world.counts.values())} operations", world)
        _finish(world, slots, options, before)
        _say(f"slowest return {killer.slowest_s:.1f} s; {world.counts}", world)
    return world


def _warm_up(engine: Engine) -> None:
    """Run one container, so that what the daemon makes for all of them is there."""
    done = engine.cli("run", "--rm", "-p", "127.0.0.1::80", IMAGE, "true")
    assert done.returncode == 0, done.stderr


def _finish(world: World, slots: list[Slot], options: Options, before: set[str]) -> None:
    """Remove everything; nothing may remain beside the running daemon."""
    for slot in slots:
        with contextlib.suppress(Disturbed):
            slot.check(final=True)
            slot.remove()
    left = world.call("GET", "/containers/json", fine=(200,), all="1").json()
    for one in left:
        world.problem(f"container {one['Id'][:12]} {one['Names']} belongs to nobody")
    found = remains.wait_for_none(world.engine, options.bridge, world.ids, before)
    for text in found:
        world.problem(f"left behind: {text}")


def _say(text: str, world: World) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}; {len(world.problems)} problems\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="./dev fault")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--kill", choices=("daemon", "supervisor"), default="daemon")
    parser.add_argument("--containers", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--bridge", default=BRIDGE)
    parser.add_argument("--subnet", default=SUBNET)
    parser.add_argument("--python", default=sys.executable, help="runs the daemon")
    parser.add_argument("--keep", action="store_true", help="keep the directory for a look")
    given = parser.parse_args()
    options = Options(
        given.kill,
        rounds=given.rounds,
        containers=given.containers,
        seed=given.seed,
        bridge=given.bridge,
        subnet=given.subnet,
        python=given.python,
    )
    root = Path(tempfile.mkdtemp(prefix="pinnace-fault-", dir="/var/tmp"))
    world = run(options, root)
    for problem in world.problems:
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(
        f"{options.rounds} times killed: {options.victim}; {sum(world.counts.values())} operations"
        f" on {options.containers} containers, seed {options.seed}:"
        f" {len(world.problems)} problems\n"
    )
    if given.keep:
        sys.stdout.write(f"kept: {root}\n")
    else:
        remove_root(root)
    return 1 if world.problems else 0


if __name__ == "__main__":
    sys.exit(main())
