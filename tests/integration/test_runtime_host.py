"""Facts, devices and control group file systems of a real host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.direct import a_container, busybox_rootfs

from pinnace.contracts.control import CgroupPlan
from pinnace.engine.containers import capabilities, spec
from pinnace.errors import Unavailable
from pinnace.host.kernel import mount
from pinnace.host.runtime.cgroup import KernelCgroups, mount_missing_hierarchies
from pinnace.host.runtime.devices import block_numbers, device_nodes, host_devices
from pinnace.host.runtime.facts import held_capabilities, host_facts
from pinnace.host.runtime.init import find_init, is_static
from pinnace.host.security.seccomp import Filters
from pinnace.model.container import HostConfig
from pinnace.oci.runtime_spec import encode

pytestmark = pytest.mark.root


def test_missing_hierarchies_are_mounted_once():
    mount_missing_hierarchies()
    assert mount_missing_hierarchies() == []


def test_facts_describe_this_host():
    facts = host_facts()
    assert facts.cpus == len(os.sched_getaffinity(0))
    assert f"{facts.kernel[0]}.{facts.kernel[1]}" in facts.kernel_release
    assert facts.memory_bytes > 1 << 28
    assert "CAP_SYS_ADMIN" in facts.capabilities
    assert facts.cgroup.controllers
    assert all("." in name for name in facts.cgroup.features)


def test_held_capabilities_are_both_permitted_and_bounding():
    status = "CapInh:\t0\nCapPrm:\t0000000000000003\nCapEff:\t3\nCapBnd:\t0000000000000006\n"
    assert held_capabilities(status) == {"CAP_DAC_OVERRIDE"}


def test_a_read_only_control_group_file_system_is_told(tmp_path):
    place = tmp_path / "groups"
    place.mkdir()
    mount.mount("tmpfs", place, "tmpfs", flags=mount.MS_RDONLY)
    try:
        plan = CgroupPlan(version=1, path="/c", directories=(f"{place}/c",))
        with pytest.raises(Unavailable, match=r"cannot make .*Read-only file system"):
            KernelCgroups().create(plan)
    finally:
        mount.unmount(place)


def test_devices_are_described():
    (null,) = device_nodes("/dev/null")
    assert (null.kind, null.major, null.minor) == ("c", 1, 3)
    assert device_nodes("/dev/nosuch") == device_nodes("/etc/passwd") == []
    below = device_nodes("/dev/net")
    assert all(node.path.startswith("/dev/net/") for node in below)


def test_a_link_to_a_device_keeps_its_own_path(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    assert [node.path for node in device_nodes(str(link))] == [str(link)]


def test_all_devices_leave_terminals_and_the_console_out():
    paths = {node.path for node in host_devices()}
    assert "/dev/null" in paths
    assert "/dev/console" not in paths
    assert not any(path.startswith(("/dev/pts/", "/dev/shm/")) for path in paths)


def test_only_block_devices_have_block_numbers():
    blocks = [node for node in host_devices() if node.kind == "b"]
    found = block_numbers(["/dev/null", *(node.path for node in blocks[:1])])
    assert found == {node.path: (node.major, node.minor) for node in blocks[:1]}


def test_an_init_is_found_and_static():
    assert is_static(Path(find_init()))


def test_a_missing_init_is_told(tmp_path):
    with pytest.raises(Unavailable, match="missing or not executable"):
        find_init(str(tmp_path / "none"))


def test_another_runtime_runs_the_same_spec(tmp_path):
    """runc makes the control groups and compiles the filter itself."""
    mount_missing_hierarchies()
    facts = host_facts()
    container = a_container(
        "/bin/sh",
        "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes; grep Seccomp: /proc/self/status",
        host=HostConfig(network_mode="none", cgroup_parent="/pnt-runc", memory=64 << 20),
    )
    choice = Filters(tmp_path, facts).choose("", capabilities.DEFAULT, compiled=False)
    inputs = spec.SpecInputs(
        rootfs=str(busybox_rootfs(tmp_path)),
        seccomp=choice,
        own_cgroups=False,
        cgroup_path=spec.cgroup_path(container),
    )
    (tmp_path / "config.json").write_bytes(encode(spec.runtime_spec(container, facts, inputs)))
    runc = ["runc", "--root", str(tmp_path / "state")]
    try:
        done = subprocess.run(
            [*runc, "run", "--bundle", str(tmp_path), container.id],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
    finally:
        subprocess.run([*runc, "delete", "--force", container.id], capture_output=True)
        for place in {*facts.cgroup.hierarchies.values(), facts.cgroup.unified}:
            if Path(place, "pnt-runc").is_dir():
                Path(place, "pnt-runc").rmdir()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(64 << 20), "Seccomp:", "2"]
