"""What every implementation of control groups promises."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.specs import V1

from pinnace.contracts.control import CgroupPlan, Cgroups, CgroupWrite
from pinnace.engine.containers.cgroup_plan import cgroup_plan, update_writes
from pinnace.engine.containers.devices import DEFAULT_RULES
from pinnace.engine.containers.resources import runtime_resources
from pinnace.errors import InvalidParameter, NotFound
from pinnace.host.runtime.cgroup import KernelCgroups, mount_missing_hierarchies, remove_empty
from pinnace.host.runtime.facts import host_layout
from pinnace.model.container import HostConfig
from pinnace.testing.control import FakeCgroups

pytestmark = pytest.mark.root
MIB = 1 << 20
JOIN = """
import os, sys
for path in sys.argv[1].split(","):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"0")
    os.close(fd)
print("joined", flush=True)
sys.stdin.read()
"""


class Bench:
    """One implementation with a plan of its own; `live` shows what a control file holds."""

    def __init__(self, groups: Cgroups, layout, parent: str) -> None:
        self.groups = groups
        self.layout = layout
        self.plan = self.planned()

    def planned(self, **host) -> CgroupPlan:
        name = f"/pnt-groups/{secrets.token_hex(8)}"
        resources = runtime_resources(HostConfig(**host), DEFAULT_RULES, {})
        return cgroup_plan(name, resources, self.layout)

    def read(self, path: str) -> str:
        if isinstance(self.groups, FakeCgroups):
            return self.groups.files[path]
        return Path(path).read_text().strip()


@pytest.fixture(params=["fake", "kernel"])
def bench(request):
    if request.param == "fake":
        made = Bench(FakeCgroups(), V1, "")
    else:
        mount_missing_hierarchies()
        made = Bench(KernelCgroups(), host_layout(), "")
    yield made
    made.groups.kill(made.plan)
    made.groups.remove(made.plan)
    for directory in made.plan.directories:
        parent = Path(directory).parent
        if parent.is_dir():
            parent.rmdir()


@pytest.fixture
def member(bench):
    """A process in the bench's group."""
    bench.groups.create(bench.plan)
    if isinstance(bench.groups, FakeCgroups):
        bench.groups.members[bench.plan.path] = [4242]
        yield 4242
        return
    command = [sys.executable, "-c", JOIN, ",".join(bench.plan.tasks)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"joined\n"
    yield process.pid
    process.kill()
    process.stdin.close()
    process.stdout.close()
    process.wait()


def test_a_new_group_is_empty_and_removing_may_be_repeated(bench):
    bench.groups.create(bench.plan)
    assert bench.groups.pids(bench.plan) == []
    bench.groups.remove(bench.plan)
    bench.groups.remove(bench.plan)


def test_limits_are_in_the_files_after_they_were_applied(bench):
    bench.plan = bench.planned(memory=64 * MIB, pids_limit=9)
    bench.groups.create(bench.plan)
    bench.groups.apply(bench.plan.after)
    found = {write.path.rpartition("/")[2]: bench.read(write.path) for write in bench.plan.after}
    assert found["memory.limit_in_bytes"] == str(64 * MIB)
    assert found["pids.max"] == "9"


@pytest.mark.parametrize("sizes", [(64, 128, 32), (32, 16, 64), (100, 1000, 10)])
def test_memory_limits_can_be_raised_and_lowered_while_it_lives(bench, sizes):
    bench.groups.create(bench.plan)
    for size in sizes:
        asked = runtime_resources(HostConfig(memory=size * MIB), (), {})
        writes = update_writes(bench.plan, asked, bench.layout)
        bench.groups.apply(writes)
        limit = next(write for write in writes if "memory.limit" in write.path)
        assert bench.read(limit.path) == str(size * MIB)


def test_members_are_listed(bench, member):
    assert bench.groups.pids(bench.plan) == [member]


def test_killing_leaves_nobody(bench, member):
    bench.groups.kill(bench.plan)
    assert bench.groups.pids(bench.plan) == []


def test_a_frozen_group_stands_and_goes_on_when_thawed(bench, member):
    bench.groups.freeze(bench.plan)
    assert bench.read(bench.plan.freezer) == "FROZEN"
    bench.groups.thaw(bench.plan)
    assert bench.read(bench.plan.freezer) == "THAWED"


def test_a_group_says_whether_it_is_frozen(bench, member):
    assert not bench.groups.is_frozen(bench.plan)
    bench.groups.freeze(bench.plan)
    assert bench.groups.is_frozen(bench.plan)
    bench.groups.thaw(bench.plan)
    assert not bench.groups.is_frozen(bench.plan)


def test_a_frozen_group_can_be_killed(bench, member):
    bench.groups.freeze(bench.plan)
    bench.groups.kill(bench.plan)
    assert bench.groups.pids(bench.plan) == []


def test_a_value_the_kernel_refuses_is_told_and_an_optional_one_is_not(bench):
    bench.groups.create(bench.plan)
    path = next(each for each in bench.plan.directories if "pids" in each) + "/pids.max"
    if isinstance(bench.groups, FakeCgroups):
        bench.groups.refused.add("nonsense")
    bench.groups.apply([CgroupWrite(path, "nonsense", optional=True)])
    with pytest.raises(InvalidParameter, match="nonsense"):
        bench.groups.apply([CgroupWrite(path, "nonsense")])


def test_writing_into_a_group_that_is_gone_is_told(bench):
    bench.groups.create(bench.plan)
    path = next(each for each in bench.plan.directories if "pids" in each) + "/pids.max"
    bench.groups.remove(bench.plan)
    with pytest.raises(NotFound):
        bench.groups.apply([CgroupWrite(path, "5")])


def test_a_failed_create_leaves_no_directory(bench):
    if isinstance(bench.groups, FakeCgroups):
        bench.groups.refused.add("99")
    bench.plan = bench.planned(cpuset_cpus="99")
    with pytest.raises(InvalidParameter):
        bench.groups.create(bench.plan)
    assert bench.groups.pids(bench.plan) == []
    assert not any(Path(each).exists() for each in bench.plan.directories)


def test_a_parent_goes_when_nothing_is_in_it():
    mount_missing_hierarchies()
    layout, parent = host_layout(), f"/pnt-{secrets.token_hex(8)}"
    groups = KernelCgroups()
    plans = [
        cgroup_plan(f"{parent}/{name}", runtime_resources(HostConfig(), DEFAULT_RULES, {}), layout)
        for name in ("a", "b")
    ]
    for plan in plans:
        groups.create(plan)
    for plan in plans:
        remove_empty(layout, parent)  # busy
        assert all(Path(directory).exists() for directory in plan.directories)
        groups.remove(plan)
    remove_empty(layout, parent)
    remove_empty(layout, parent)  # gone
    assert not any(Path(place + parent).exists() for place in layout.hierarchies.values())


def test_processes_enter_although_the_parent_is_only_half_made():
    """Two first containers at once: one finds the parent before the other has filled it."""
    mount_missing_hierarchies()
    layout, parent = host_layout(), f"/pnt-{secrets.token_hex(8)}"
    resources = runtime_resources(HostConfig(), DEFAULT_RULES, {})
    plan = cgroup_plan(f"{parent}/a", resources, layout)
    for place in {Path(directory).parent for directory in plan.directories}:
        place.mkdir()
    groups = KernelCgroups()
    groups.create(plan)
    try:
        command = [sys.executable, "-c", JOIN, ",".join(plan.tasks)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        assert done.stdout == b"joined\n", done.stderr
    finally:
        groups.remove(plan)
        remove_empty(layout, parent)


@pytest.mark.parametrize("stands", [False, True])
def test_groups_are_ended_and_removed_by_name_alone(bench, member, stands):
    if stands:
        bench.groups.freeze(bench.plan)
    name = bench.plan.path.rpartition("/")[2]
    bench.groups.remove_named(bench.layout, {name, "another"})
    assert bench.groups.pids(bench.plan) == []
    assert not any(Path(directory).exists() for directory in bench.plan.directories)
