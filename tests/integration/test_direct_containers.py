"""Containers made by crun from our spec and control groups, without a daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.direct import Direct, a_container, direct

from pinnace.contracts.control import Identity
from pinnace.engine.containers.cgroup_plan import update_writes
from pinnace.engine.containers.resources import runtime_resources
from pinnace.engine.containers.spec_mounts import MountInputs
from pinnace.errors import Unavailable
from pinnace.host.kernel import mount as kernel_mount
from pinnace.host.runtime.cgroup import KernelCgroups
from pinnace.host.runtime.crun import find_runtime, release_copies
from pinnace.host.runtime.devices import device_nodes
from pinnace.host.runtime.init import find_init
from pinnace.model.container import ContainerConfig, DeviceMapping, HostConfig, MountRecord, Ulimit

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


def test_a_read_only_bind_is_read_only_all_the_way_down(place, tmp_path):
    outer = tmp_path / "outer"
    (outer / "inner").mkdir(parents=True)
    kernel_mount.mount("tmpfs", outer / "inner", "tmpfs")
    try:
        bind = MountRecord(type="bind", destination="/m", source=str(outer), rw=False)
        record = replace(shell("touch /m/a; touch /m/inner/b"), mounts=[bind])
        assert place.run(record).count("Read-only file system") == 2
        shallow = replace(record, id="d" * 64, mounts=[replace(bind, read_only_recursive=False)])
        assert place.run(shallow).count("Read-only file system") == 1
    finally:
        kernel_mount.unmount(outer / "inner")


def test_etc_files_init_and_shared_memory_are_bound(place, tmp_path):
    (tmp_path / "hosts").write_text("10.9.8.7 here\n")
    (tmp_path / "hostname").write_text("named\n")
    (tmp_path / "shm").mkdir()
    place.files = MountInputs(
        hosts=str(tmp_path / "hosts"),
        hostname=str(tmp_path / "hostname"),
        shm=str(tmp_path / "shm"),
        init=find_init(),
    )
    script = "cat /etc/hosts /etc/hostname; touch /dev/shm/x; cat /proc/1/comm"
    printed = place.run(shell(script, init=True, ipc_mode="shareable"))
    assert printed.split() == ["10.9.8.7", "here", "named", "docker-init"]
    assert (tmp_path / "shm/x").exists()


def test_a_device_of_the_host_can_be_given(place):
    place.nodes = {"/dev/loop-control": device_nodes("/dev/loop-control")}
    mapping = DeviceMapping(
        path_on_host="/dev/loop-control", path_in_container="/dev/given", cgroup_permissions="r"
    )
    script = "true < /dev/given && echo read; true > /dev/given; stat -c %t:%T /dev/given"
    printed = place.run(shell(script, devices=[mapping])).splitlines()
    assert printed[0] == "read"
    assert "Operation not permitted" in printed[1]
    assert printed[2] == "a:ed"


def test_user_tmpfs_has_its_options(place):
    tmpfs = MountRecord(type="tmpfs", destination="/t", options=["size=1m", "exec"])
    printed = place.run(replace(shell("grep ' /t ' /proc/self/mountinfo"), mounts=[tmpfs]))
    assert "nosuid" in printed
    assert "noexec" not in printed
    assert "size=1024k" in printed


def test_everything_of_the_hosts_can_be_shared(place):
    record = a_container(
        "/bin/sh",
        "-c",
        "for name in uts net ipc pid; do readlink /proc/self/ns/$name; done",
        host=HostConfig(
            network_mode="host",
            pid_mode="host",
            ipc_mode="host",
            uts_mode="host",
            cgroup_parent=PARENT,
        ),
    )
    (place.rootfs / "bin/readlink").symlink_to("busybox")
    place.files = MountInputs(shm="/dev/shm")
    found = place.run(record).split()
    assert found == [os.readlink(f"/proc/self/ns/{name}") for name in ("uts", "net", "ipc", "pid")]


def test_no_new_privileges_is_on_when_asked_for(place):
    printed = place.run(
        shell("grep NoNewPrivs /proc/self/status", security_opt=["no-new-privileges"])
    )
    assert printed.split() == ["NoNewPrivs:", "1"]


def test_a_private_cgroup_namespace_hides_the_path(place):
    printed = place.run(shell("cat /proc/self/cgroup", cgroupns_mode="private"))
    paths = {line.split(":", 2)[2] for line in printed.splitlines()}
    assert paths == {"/"}


def test_a_limit_can_be_changed_while_it_runs(place):
    container = shell("while :; do sleep 1; done", memory=64 << 20)
    with place.created(container) as plan:
        place.start(container)
        layout = place.facts.cgroup
        wanted = runtime_resources(HostConfig(memory=32 << 20, cpu_shares=99), (), {})
        KernelCgroups().apply(update_writes(plan, wanted, layout))
        memory = f"{layout.hierarchies['memory']}{plan.path}/memory.limit_in_bytes"
        shares = f"{layout.hierarchies['cpu']}{plan.path}/cpu.shares"
        assert Path(memory).read_text().strip() == str(32 << 20)
        assert Path(shares).read_text().strip() == "99"


async def test_crun_is_found_and_its_state_removed(place, tmp_path):
    runtime = await find_runtime(tmp_path)
    try:
        assert runtime.is_crun
        assert runtime.version.count(".") >= 1
        assert Path(runtime.program).read_bytes() == Path("/usr/bin/crun").read_bytes()
        place.program = runtime.program
        assert place.run(shell("echo works")) == "works\n"
    finally:
        release_copies(tmp_path)


async def test_a_runtime_that_is_not_there_is_told(tmp_path):
    with pytest.raises(Unavailable, match="'nosuch' is not installed"):
        await find_runtime(tmp_path, name="nosuch")


async def test_another_runtime_is_taken_as_it_is(tmp_path):
    runtime = await find_runtime(tmp_path, name="other", path="/usr/sbin/runc")
    assert not runtime.is_crun
    assert runtime.program == "/usr/sbin/runc"
    assert runtime.start_fifo("c") is None
