"""Containers made by crun from our spec and control groups, without a daemon."""

from __future__ import annotations

import pytest
from tests.support.direct import Direct, a_container, direct

from pinnace.model.container import ContainerConfig, HostConfig, Ulimit

pytestmark = pytest.mark.root
PARENT = "/pnt-direct"


@pytest.fixture
def place(tmp_path) -> Direct:
    return direct(tmp_path)


def host(**settings) -> HostConfig:
    return HostConfig(network_mode="none", cgroup_parent=PARENT, **settings)


def shell(script: str, **settings):
    return a_container("/bin/sh", "-c", script, host=host(**settings))


def test_a_default_container_has_the_fourteen_capabilities_and_a_filter(place):
    lines = place.run(shell("cat /proc/self/status")).splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0" * 16
    assert status["Seccomp"].strip() == "2"


def test_the_launcher_path_puts_the_container_into_every_hierarchy(place):
    container = shell("cat /proc/self/cgroup")
    groups = [line.split(":") for line in place.run(container).splitlines()]
    assert groups
    assert all(path == f"{PARENT}/{container.id}" for number, _, path in groups if number != "0")


def test_the_container_reads_its_own_limits(place):
    script = (
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max "
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.shares"
    )
    printed = place.run(
        shell(script, memory=64 << 20, pids_limit=20, nano_cpus=500_000_000, cpu_shares=512)
    )
    assert printed.split() == [str(64 << 20), "20", "50000", "512"]


def test_forking_stops_at_the_pids_limit(place):
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; echo survived"
    assert "can't fork" in place.run(shell(script, pids_limit=5))


def test_the_kernel_kills_what_exceeds_the_memory_limit(place):
    script = "dd if=/dev/zero of=/dev/null bs=200M count=1; echo end $?"
    printed = place.run(shell(script, memory=32 << 20, memory_swap=32 << 20))
    assert "end 137" in printed


def test_a_limit_on_open_files_arrives(place):
    script = "cat /proc/self/limits"
    printed = place.run(shell(script, ulimits=[Ulimit(name="nofile", soft=100, hard=200)]))
    line = next(line for line in printed.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == ["100", "200"]


def test_ids_groups_and_umask_are_those_of_the_spec(place):
    from pinnace.contracts.control import Identity

    place.identity = Identity(uid=1234, gid=567, groups=(567, 890))
    printed = place.run(shell("id; grep -E 'Groups|CapEff|Umask' /proc/self/status", umask=0o27))
    assert "uid=1234 gid=567 groups=567,890" in printed
    assert "CapEff:\t0000000000000000" in printed
    assert "0027" in printed


def test_a_read_only_root_refuses_writes_and_keeps_dev_writable(place):
    printed = place.run(
        shell("touch /x; touch /dev/y && echo dev; mkdir /tmp", readonly_rootfs=True)
    )
    assert "/x: Read-only file system" in printed
    assert "dev" in printed.splitlines()


def test_devices_outside_the_list_cannot_be_opened(place):
    printed = place.run(shell("mknod /kmsg c 1 11 && cat /kmsg"))
    assert "Operation not permitted" in printed


def test_privileged_may_mount_and_use_every_device(place):
    script = "mkdir /m && mount -t tmpfs t /m && echo mounted; mknod /n c 1 11 && cat < /dev/null"
    printed = place.run(shell(script, privileged=True))
    assert "mounted" in printed


def test_sysctls_domain_name_and_working_directory_are_set(place):
    container = a_container(
        "/bin/sh",
        "-c",
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/domainname; hostname; pwd",
        config=ContainerConfig(hostname="web", domainname="example.org", working_dir="/made/here"),
        host=host(sysctls={"net.ipv4.ip_forward": "1"}),
    )
    assert place.run(container).split() == ["1", "example.org", "web", "/made/here"]


def test_a_missing_command_is_told_by_the_runtime(place):
    printed = place.run(a_container("nosuch"))
    assert place.code == 1
    assert "not found in $PATH" in printed
