"""A short run of `./dev fault` for either victim."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from tests.fault.run import Options, run
from tests.support.engine import remove_root

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    ("victim", "bridge", "subnet"),
    [("daemon", "pnt3d", "10.216.3.1/24"), ("supervisor", "pnt3v", "10.216.4.1/24")],
)
def test_nothing_is_lost_when_it_is_killed_under_traffic(victim, bridge, subnet):
    root = Path(tempfile.mkdtemp(prefix="pntf", dir="/var/tmp"))
    options = Options(
        victim, rounds=8, containers=6, workers=4, seed=8, bridge=bridge, subnet=subnet
    )
    world = run(options, root)
    assert world.problems == []
    assert sum(world.counts.values()) > 20
    remove_root(root)
