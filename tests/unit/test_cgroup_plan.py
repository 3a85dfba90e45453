"""Limits to control group files."""

from __future__ import annotations

import pytest
from tests.support.specs import V1, V2

from pinnace.engine.containers.cgroup_plan import cgroup_plan, update_writes
from pinnace.engine.containers.devices import DEFAULT_RULES, parse_rule
from pinnace.engine.containers.resources import runtime_resources
from pinnace.errors import InvalidParameter, Unavailable
from pinnace.host.runtime.cgroup import detect_layout
from pinnace.model.container import HostConfig, ThrottleDevice, WeightDevice

MIB = 1 << 20


def plan(layout, *, rules=(), **host):
    resources = runtime_resources(HostConfig(**host), rules, {"/dev/sda": (8, 0)})
    return cgroup_plan("/pinnace/c", resources, layout)


def written(writes):
    return [(write.path, write.value) for write in writes if write.value]


def test_version_1_has_a_directory_per_hierarchy_once():
    directories = plan(V1).directories
    assert "/cg/cpu,cpuacct/pinnace/c" in directories
    assert "/cg/systemd/pinnace/c" in directories
    assert len(directories) == len(set(directories)) == 8


def test_version_1_joins_through_tasks_files():
    assert set(plan(V1).tasks) == {f"{each}/tasks" for each in plan(V1).directories}


def test_version_1_memory_and_pids_are_set_after_the_runtime():
    made = plan(V1, memory=64 * MIB, pids_limit=7, memory_reservation=32 * MIB)
    assert written(made.after) == [
        ("/cg/memory/pinnace/c/memory.limit_in_bytes", str(64 * MIB)),
        ("/cg/memory/pinnace/c/memory.memsw.limit_in_bytes", str(128 * MIB)),
        ("/cg/memory/pinnace/c/memory.soft_limit_in_bytes", str(32 * MIB)),
        ("/cg/pids/pinnace/c/pids.max", "7"),
    ]
    assert written(made.before) == []


def test_version_1_refuses_all_devices_before_it_allows_some():
    values = [value for _, value in written(plan(V1, rules=DEFAULT_RULES).before)]
    assert values == [
        "a",
        "c *:* m",
        "b *:* m",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:2 rwm",
        "c 136:* rwm",
    ]


def test_version_1_takes_a_rule_for_both_types_apart():
    values = [value for _, value in written(plan(V1, rules=[parse_rule("a 7:* r")]).before)]
    assert values == ["b 7:* r", "c 7:* r"]


def test_version_1_cpu_and_block_io():
    made = plan(
        V1,
        nano_cpus=500_000_000,
        cpu_shares=512,
        cpuset_cpus="1",
        blkio_weight=300,
        blkio_weight_device=[WeightDevice(path="/dev/sda", weight=50)],
        blkio_device_write_iops=[ThrottleDevice(path="/dev/sda", rate=9)],
    )
    found = {path.rpartition("/")[2]: value for path, value in written(made.before)}
    assert found == {
        "cpuset.cpus": "1",
        "cpu.shares": "512",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "blkio.weight": "300",
        "blkio.bfq.weight": "300",
        "blkio.weight_device": "8:0 50",
        "blkio.bfq.weight_device": "8:0 50",
        "blkio.throttle.write_iops_device": "8:0 9",
    }


def test_version_2_leaves_making_to_the_runtime():
    made = plan(V2)
    assert (made.directories, made.before, made.tasks) == ((), (), ())
    assert made.procs == "/cg/pinnace/c/cgroup.procs"
    assert made.freezer == "/cg/pinnace/c/cgroup.freeze"
    assert made.oom == "/cg/pinnace/c/memory.events"


def test_version_2_converts_the_limits():
    made = plan(
        V2,
        memory=64 * MIB,
        memory_swap=100 * MIB,
        memory_reservation=32 * MIB,
        cpu_shares=1024,
        cpu_quota=50000,
        pids_limit=-1,
        cpuset_mems="0",
        blkio_weight=10,
        blkio_device_read_bps=[ThrottleDevice(path="/dev/sda", rate=9)],
    )
    found = {path.rpartition("/")[2]: value for path, value in written(made.after)}
    assert found == {
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "cpuset.mems": "0",
        "memory.swap.max": str(36 * MIB),
        "memory.max": str(64 * MIB),
        "memory.low": str(32 * MIB),
        "pids.max": "max",
        "io.bfq.weight": "10",
        "io.weight": "1",
        "io.max": "8:0 rbps=9",
    }


def test_unlimited_swap_is_said_in_both_versions():
    first = dict(written(plan(V1, memory=64 * MIB, memory_swap=-1).after))
    assert first["/cg/memory/pinnace/c/memory.memsw.limit_in_bytes"] == "-1"
    second = dict(written(plan(V2, memory=64 * MIB, memory_swap=-1).after))
    assert second["/cg/pinnace/c/memory.swap.max"] == "max"


def test_an_update_leaves_device_rules_and_untold_cpusets_alone():
    made = plan(V1, rules=DEFAULT_RULES)
    resources = runtime_resources(HostConfig(memory=64 * MIB, cpuset_cpus="0"), DEFAULT_RULES, {})
    names = [path.rpartition("/")[2] for path, _ in written(update_writes(made, resources, V1))]
    assert names == ["cpuset.cpus", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]


def test_an_unknown_block_device_is_refused():
    with pytest.raises(InvalidParameter, match="/dev/none"):
        plan(V1, blkio_device_read_bps=[ThrottleDevice(path="/dev/none", rate=9)])


# Layouts: mount tables as hosts show them; directories are made up below tmp_path.


def mountinfo(*mounts):
    return "".join(
        f"{number} 1 0:{number} / {place} rw - {kind} {kind} {options}\n"
        for number, (place, kind, options) in enumerate(mounts, 30)
    )


def hierarchy(root, name, *files):
    place = root / name
    place.mkdir()
    for file in ("cgroup.procs", "tasks", *files):
        (place / file).write_text("")
    return str(place)


def test_a_version_1_host_is_recognised_with_co_mounted_controllers(tmp_path):
    cpu = hierarchy(tmp_path, "cpu,cpuacct", "cpu.shares", "cpuacct.usage")
    memory = hierarchy(tmp_path, "memory", "memory.limit_in_bytes")
    pids = hierarchy(tmp_path, "pids")
    systemd = hierarchy(tmp_path, "systemd")
    layout = detect_layout(
        mountinfo(
            ("/sys", "sysfs", "rw"),
            (cpu, "cgroup", "rw,cpu,cpuacct"),
            (memory, "cgroup", "rw,memory"),
            (pids, "cgroup", "rw,pids"),
            (systemd, "cgroup", "rw,xattr,name=systemd"),
        ),
        "1:memory:/\n",
    )
    assert layout.version == 1
    assert layout.hierarchies["cpu"] == layout.hierarchies["cpuacct"] == cpu
    assert layout.hierarchies["name=systemd"] == systemd
    assert layout.controllers == {"cpu", "cpuacct", "memory", "pids"}
    assert layout.features == {"cpu.shares", "cpuacct.usage", "memory.limit_in_bytes", "pids.max"}


def test_a_hybrid_host_joins_the_unified_tree_only_below_a_service(tmp_path):
    memory = hierarchy(tmp_path, "memory")
    table = mountinfo((memory, "cgroup", "rw,memory"), ("/u", "cgroup2", "rw"))
    assert "" not in detect_layout(table, "0::/\n").hierarchies
    assert detect_layout(table, "0::/system.slice/x.service\n").hierarchies[""] == "/u"


def test_a_version_2_host_is_recognised(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    layout = detect_layout(mountinfo((str(tmp_path), "cgroup2", "rw,nsdelegate")), "0::/\n")
    assert layout.version == 2
    assert layout.unified == str(tmp_path)
    assert {"memory.max", "cpu.max", "pids.max", "io.max", "cpuset.cpus"} <= layout.features


def test_a_host_without_control_groups_is_refused():
    with pytest.raises(Unavailable):
        detect_layout(mountinfo(("/sys", "sysfs", "rw")), "")
