"""The Docker CLI sees the same from this engine and from dockerd: more than 600 command lines.

The scenarios are in `tests/e2e/docker_cli`. Each runs on both engines at once, and output, errors
and exit code must be equal but for ids, times, addresses and the like. `differences.py` lists what
we mean to do otherwise than dockerd 20.10, with the reason and our exact answer.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.docker_cli import differences, lifecycle, listing, objects, run
from tests.support import dockerd, pinnaced
from tests.support.engine import remove_root
from tests.support.images import busybox_archive
from tests.support.parity import Bench, Scenario

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

EQUAL = (*run.SCENARIOS, *lifecycle.SCENARIOS, *listing.SCENARIOS, *objects.SCENARIOS)
OTHERWISE = differences.SCENARIOS


@pytest.fixture(scope="module")
def place():
    path = Path(tempfile.mkdtemp(prefix="pnt-cli-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def ours(place):
    root = place / "p"
    with pinnaced.start(root, bridge="pnt1", subnet="10.211.0.1/24") as engine:
        engine.load(busybox_archive())
        yield Bench(engine, place / "ps", 18411)
    remove_root(root)


@pytest.fixture(scope="module")
def theirs(place):
    root = place / "d"
    with dockerd.start(root, bridge="dkt1", subnet="10.212.0.1/24") as engine:
        engine.load(busybox_archive())
        yield Bench(engine, place / "ds", 18412)
    remove_root(root)


def result(bench: Bench, scenario: Scenario) -> str:
    try:
        return bench.transcript(scenario)
    finally:
        bench.clear()


@pytest.mark.parametrize("scenario", EQUAL, ids=lambda scenario: scenario.name)
def test_the_docker_cli_sees_what_dockerd_shows(scenario: Scenario, ours: Bench, theirs: Bench):
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(result, bench, scenario) for bench in (ours, theirs)]
        seen, expected = (future.result() for future in futures)
    assert seen == expected


@pytest.mark.parametrize("scenario", OTHERWISE, ids=lambda scenario: scenario.name)
def test_what_we_mean_to_do_otherwise_stays_as_it_is(scenario: Scenario, ours: Bench):
    assert scenario.differs
    assert result(ours, scenario) == scenario.ours


def test_scenarios_have_names_of_their_own():
    names = Counter(scenario.name for scenario in (*EQUAL, *OTHERWISE))
    assert [name for name, count in names.items() if count > 1] == []
