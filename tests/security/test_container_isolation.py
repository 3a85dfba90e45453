"""Attacks on a container's walls, replayed against containers made from our spec."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.direct import Direct, a_container, direct

from pinnace.contracts.control import Identity
from pinnace.engine.containers.spec import exec_process_spec
from pinnace.errors import InvalidParameter
from pinnace.host.kernel.paths import directory
from pinnace.host.runtime.crun import find_runtime, release_copies
from pinnace.host.runtime.devices import host_devices
from pinnace.host.runtime.rootfs import check_mount_points
from pinnace.host.runtime.users import resolve_identity
from pinnace.model.container import ContainerConfig, HostConfig, MountRecord
from pinnace.model.exec import ExecConfig
from pinnace.oci.runtime_spec import encode

pytestmark = pytest.mark.root
PARENT = "/pnt-direct"
DEFAULT_MASK = "00000000a80425fb"

# Calls with arguments that harm nobody: those that get past the filter fail in the kernel.
PROBE = r"""
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(arg) for arg in args])
    return errno.errorcode.get(ctypes.get_errno(), "") if result == -1 else "ok"
calls = {
    "io_uring_setup": (425, 0, 0), "io_uring_enter": (426, -1, 0, 0, 0, 0, 0),
    "keyctl": (250, 99, 0, 0), "add_key": (248, 0, 0, 0, 0, 0),
    "request_key": (249, 0, 0, 0, 0), "userfaultfd": (323, -1),
    "kexec_load": (246, 0, 99, 0, -1), "kexec_file_load": (320, -1, -1, 0, 0, 99),
    "mount": (165, 0, 0, 0, 0, 0), "umount2": (166, 0, -1), "unshare": (272, 0x10000000),
    "setns": (308, -1, 0), "bpf": (321, -1, 0, 0), "perf_event_open": (298, 0, 0, 0, 0, 0),
    "open_by_handle_at": (304, -1, 0, 0), "clone_newuser": (56, 0x10000011, 0, 0, 0, 0),
    "clone3": (435, 0, 0), "ptrace": (101, 99, 0, 0, 0), "pivot_root": (155, 0, 0),
    "init_module": (175, 0, 0, 0), "reboot": (169, 0, 0, 0), "swapon": (167, 0, 0),
    "quotactl": (179, 0, 0, 0, 0), "fsopen": (430, 0, 0), "open_tree": (428, -1, 0, 0),
    "move_mount": (429, 0, 0, 0, 0, 0), "mount_setattr": (442, -1, 0, 0, 0, 0),
    "name_to_handle_at": (303, -1, 0, 0, 0, 0), "af_alg": (41, 38, 5, 0),
    "af_vsock": (41, 40, 1, 0), "af_inet": (41, 2, 1, 0),
    "personality_query": (135, 0xffffffff), "personality_no_randomize": (135, 0x40000),
    "future": (999,), "getpid": (39,),
}
print("PROBE " + json.dumps({name: call(*words) for name, words in calls.items()}))
"""
REFUSED = (
    "io_uring_setup io_uring_enter keyctl add_key request_key userfaultfd kexec_load "
    "kexec_file_load mount umount2 unshare setns bpf perf_event_open open_by_handle_at "
    "clone_newuser pivot_root init_module reboot swapon quotactl fsopen move_mount open_tree "
    "mount_setattr af_alg af_vsock personality_no_randomize"
).split()


@pytest.fixture
def place(tmp_path) -> Direct:
    return direct(tmp_path)


def host(**settings) -> HostConfig:
    return HostConfig(network_mode="none", cgroup_parent=PARENT, **settings)


def shell(script: str, **settings):
    return a_container("/bin/sh", "-c", script, host=host(**settings))


def python(script: str, **settings):
    """A container that sees the host's Python, read-only."""
    mounts = [
        MountRecord(type="bind", destination=path, source=path, rw=False)
        for path in ("/usr", "/lib", "/lib64")
        if os.path.isdir(path)
    ]
    record = a_container("/usr/bin/python3", "-c", script, host=host(**settings))
    return replace(record, mounts=mounts)


def probed(place: Direct, **settings) -> dict[str, str]:
    printed = place.run(python(PROBE, **settings))
    (line,) = [line for line in printed.splitlines() if line.startswith("PROBE ")] or [printed]
    return json.loads(line.removeprefix("PROBE "))


def test_section_1_the_default_filter_refuses_what_it_must(place):
    found = probed(place)
    assert {name: found[name] for name in REFUSED} == dict.fromkeys(REFUSED, "EPERM")
    assert found["clone3"] == found["future"] == "ENOSYS"
    assert found["af_inet"] == found["getpid"] == found["personality_query"] == "ok"
    assert found["name_to_handle_at"] != "EPERM"


def test_section_1_capabilities_open_only_their_own_calls(place):
    found = probed(place, cap_add=["SYS_ADMIN"])
    assert "EPERM" not in (found["mount"], found["setns"], found["clone3"])
    assert found["io_uring_setup"] == found["keyctl"] == found["af_alg"] == "EPERM"


def test_section_1_unconfined_means_unconfined(place):
    found = probed(place, security_opt=["seccomp=unconfined"])
    assert found["keyctl"] != "EPERM"
    assert found["future"] == "ENOSYS"


async def test_class_1_the_runtime_cannot_be_overwritten_through_proc_self_exe(place, tmp_path):
    """CVE-2019-5736: the image's program is a link to the runtime that starts it."""
    exec_root = tmp_path / "exec"
    exec_root.mkdir()
    runtime = await find_runtime(exec_root)
    original = hashlib.sha256(Path("/usr/bin/crun").read_bytes()).digest()
    try:
        # Busy: somebody else on this machine runs the same program right now.
        with pytest.raises(OSError, match=r"Read-only file system|Text file busy"):
            open(runtime.program, "r+b")
        (place.rootfs / "bin/attack").symlink_to("/proc/self/exe")
        place.program = runtime.program
        place.run(a_container("/bin/attack", "--version", host=host(privileged=True)))
        script = "for p in /proc/[0-9]*/exe; do (echo evil > $p) 2>&1; done; true"
        place.run(shell(script, pid_mode="", cap_add=["SYS_PTRACE"]))
    finally:
        release_copies(exec_root)
    assert hashlib.sha256(Path("/usr/bin/crun").read_bytes()).digest() == original


async def test_class_1_a_second_daemon_replaces_the_mount_of_the_first(tmp_path):
    first = await find_runtime(tmp_path)
    second = await find_runtime(tmp_path)
    try:
        assert first.program == second.program
        mounted = Path("/proc/self/mountinfo").read_text().count(f" {first.program} ")
        assert mounted == 1
    finally:
        release_copies(tmp_path)
    assert not Path(first.program).exists()


def test_class_2_no_descriptor_reaches_the_container(place):
    printed = place.run(shell("ls -l /proc/self/fd"))
    numbers = {line.split(" -> ")[0].split()[-1] for line in printed.splitlines() if "->" in line}
    assert numbers <= {"0", "1", "2", "3"}
    three = [line for line in printed.splitlines() if " 3 -> " in line]
    assert all("/proc/" in line for line in three)


@pytest.mark.parametrize("number", range(3, 21))
def test_class_2_a_working_directory_behind_a_descriptor_does_not_escape(place, number):
    """CVE-2024-21626."""
    container = a_container(
        "/bin/sh",
        "-c",
        "echo RAN; ls -d ../../../../../../../../etc/hostname-of-the-outside",
        config=ContainerConfig(hostname="direct", working_dir=f"/proc/self/fd/{number}"),
        host=host(),
    )
    marker = Path("/etc/hostname-of-the-outside")
    marker.touch()
    try:
        printed = place.run(container)
    finally:
        marker.unlink()
    assert place.code != 0 or "No such file" in printed


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_class_4_an_image_with_a_link_for_a_mount_point_is_refused(place, name):
    (place.rootfs / name).symlink_to("/tmp")
    with pytest.raises(InvalidParameter, match=f"/{name} in the image must be a directory"):
        check_mount_points(place.rootfs)


def test_class_4_missing_mount_points_are_fine(place):
    check_mount_points(place.rootfs)


# A setting whose change would do no harm, should an attack succeed.
SETTING, OTHER = "/proc/sys/kernel/printk_ratelimit_burst", "77"


@pytest.fixture
def setting():
    """The setting on the host; put back whatever happens."""
    path = Path(SETTING)
    before = path.read_text()
    assert before.strip() != OTHER
    yield path
    changed = path.read_text() != before
    path.write_text(before)
    assert not changed, "a container changed a setting of the host"


def test_class_3_an_image_that_lies_about_dev_null_gains_nothing(place, setting):
    """CVE-2025-31133: the masking bind of /dev/null must not follow the image's link."""
    (place.rootfs / "dev").mkdir()
    (place.rootfs / "dev/null").symlink_to(SETTING)
    script = f"cat /proc/timer_list | dd bs=64 count=1 of=/x; echo {OTHER} > {SETTING}"
    printed = place.run(shell(script))
    assert "0+0 records in" in printed
    assert "Read-only file system" in printed


def in_exec(place: Direct, config: ExecConfig, identity: Identity, **settings) -> str:
    """Run an exec in a sleeping container; return what it printed."""
    container = shell("while :; do sleep 1; done", **settings)
    out = place.directory / "out"
    with place.created(container) as plan:
        assert place.code == 0, place.printed()
        place.start(container)
        process = exec_process_spec(container, config, place.facts, identity)
        file = place.directory / "process.json"
        file.write_bytes(encode(process))
        before = out.stat().st_size
        done = place.launch(plan, "exec", "--process", str(file), container.id)
        assert done.returncode == 0, place.printed()
        return place.printed()[before:]


def statuses(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def test_class_5_all_ids_of_container_and_exec_are_those_of_the_files(place):
    (place.rootfs / "etc/passwd").write_text("app:x:1500:1600::/srv:/bin/sh\n")
    (place.rootfs / "etc/group").write_text("app:x:1600:\nextra:x:1700:app\n")
    with directory(place.rootfs) as root_fd:
        place.identity = resolve_identity(root_fd, "app", ["1800"])
    script = "grep -E '^(Uid|Gid|Groups)' /proc/self/status"
    wanted = {
        "Uid": "1500\t1500\t1500\t1500",
        "Gid": "1600\t1600\t1600\t1600",
        "Groups": "1600 1700 1800",
    }
    assert statuses(place.run(shell(script))) == wanted
    config = ExecConfig(cmd=["/bin/sh", "-c", script])
    assert statuses(in_exec(place, config, place.identity)) == wanted


def test_class_6_an_exec_inherits_no_capabilities_it_could_pass_on(place):
    config = ExecConfig(cmd=["/bin/grep", "^Cap", "/proc/self/status"])
    found = statuses(in_exec(place, config, Identity(groups=(0,))))
    assert found["CapInh"] == found["CapAmb"] == "0" * 16
    assert found["CapBnd"] == found["CapEff"] == DEFAULT_MASK


def test_class_6_an_exec_as_another_user_holds_nothing(place):
    config = ExecConfig(cmd=["/bin/grep", "^Cap", "/proc/self/status"])
    found = statuses(in_exec(place, config, Identity(uid=7, gid=7, groups=(7,))))
    assert found["CapEff"] == found["CapPrm"] == found["CapInh"] == found["CapAmb"] == "0" * 16


def test_class_6_an_exec_is_filtered_and_grouped_like_its_container(place):
    config = ExecConfig(
        cmd=["/bin/sh", "-c", "cat /proc/self/status /proc/self/cgroup"], privileged=False
    )
    printed = in_exec(place, config, Identity(groups=(0,)))
    assert statuses(printed)["Seccomp"] == "2"
    groups = [line for line in printed.splitlines() if line.count(":") >= 2 and "/" in line]
    assert all(PARENT in line for line in groups if not line.startswith("0:"))


def test_class_10_a_fifo_as_passwd_does_not_hang_the_start(place):
    os.mkfifo(place.rootfs / "etc/passwd")
    os.mkfifo(place.rootfs / "etc/group")
    with directory(place.rootfs) as root_fd:
        place.identity = resolve_identity(root_fd, "12:13")
    printed = place.run(shell("grep ^Uid /proc/self/status"))
    assert printed == "Uid:\t12\t12\t12\t12\n"


MASKED_FILES = "interrupts kcore keys latency_stats sched_debug timer_list timer_stats".split()
MASKED_DIRECTORIES = ["/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware"]
MASKED_DIRECTORIES.append("/sys/devices/virtual/powercap")


@pytest.mark.parametrize("name", MASKED_FILES)
def test_class_27_masked_files_read_as_empty(place, name):
    if Path(f"/proc/{name}").exists():
        printed = place.run(shell(f"cat /proc/{name} | dd bs=64 count=1 of=/dev/null"))
        assert "0+0 records in" in printed


@pytest.mark.parametrize("path", MASKED_DIRECTORIES)
def test_class_27_masked_directories_are_empty(place, path):
    if Path(path).exists():
        assert place.run(shell(f"ls {path}")) == ""


@pytest.mark.parametrize("path", ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"])
def test_class_27_settings_of_the_kernel_are_read_only(place, path):
    script = f"grep ' {path} ro,' /proc/self/mountinfo; mount -o remount,rw {path}; echo $?"
    mounted, refused, code = place.run(shell(script)).splitlines()
    assert f" {path} ro," in mounted
    assert "permission denied" in refused
    assert code != "0"


def test_class_27_the_trigger_and_sys_are_read_only(place):
    printed = place.run(
        shell("echo h > /proc/sysrq-trigger; touch /sys/x; mkdir /sys/fs/cgroup/pids/x")
    )
    assert printed.count("Read-only file system") >= 2


def test_privileged_sees_the_hosts_devices_and_everything_unmasked(place):
    place.host_nodes = tuple(host_devices())
    script = (
        "ls /dev/kmsg; cat /proc/timer_list | dd bs=1 count=1 of=/dev/null; "
        "mkdir /sys/fs/cgroup/pids/x && echo made; cat /proc/self/status"
    )
    printed = place.run(shell(script, privileged=True))
    assert "/dev/kmsg\n" in printed
    assert "1+0 records in" in printed
    assert "made\n" in printed
    assert "Seccomp:\t0" in printed


@pytest.mark.parametrize("name", ["pids", "memory", "devices"])
def test_class_27_no_container_writes_its_own_limits(place, name):
    """Not by a second mount of the same hierarchy either, as crun makes for read-only paths."""
    script = f"mkdir /sys/fs/cgroup/{name}/x; echo 1 > /sys/fs/cgroup/{name}/cgroup.procs"
    assert place.run(shell(script)).count("Read-only file system") == 2


def test_class_3_a_race_for_dev_null_leaves_the_masks_in_place(place, setting):
    """CVE-2025-31133: a neighbour swaps the null device of a shared /dev while others start."""
    shared = place.directory / "shared"
    shared.mkdir()
    script = (
        f"while :; do ln -sf {SETTING} /shared/null; rm -f /shared/null; "
        "mknod /shared/null c 1 3; done"
    )
    (place.rootfs / "bin/ln").symlink_to("busybox")
    volume = MountRecord(type="bind", destination="/shared", source=str(shared))
    attacker = replace(shell(script), mounts=[volume])
    devices = replace(volume, destination="/dev")
    probe = f"cat /proc/timer_list | dd bs=64 count=1 of=/x; echo {OTHER} > {SETTING}; echo ran"
    started = 0
    with place.created(attacker):
        place.start(attacker)
        for _ in range(20):
            printed = place.run(replace(shell(probe), mounts=[devices]))
            if "ran" in printed:
                started += 1
                assert "0+0 records in" in printed
                assert "Read-only file system" in printed
    assert started


def test_class_2_an_exec_behind_a_descriptor_does_not_escape(place, tmp_path):
    """CVE-2024-21626, the form with `exec --workdir`."""
    marker = tmp_path / "marker-of-the-outside"
    marker.touch()
    container = shell("while :; do sleep 1; done")
    script = f"ls -d ../../../../../../../../..{marker} && echo ESCAPED; ls ../../bin && true"
    with place.created(container) as plan:
        place.start(container)
        for number in range(3, 21):
            config = ExecConfig(
                cmd=["/bin/sh", "-c", script], working_dir=f"/proc/self/fd/{number}"
            )
            process = exec_process_spec(container, config, place.facts, Identity(groups=(0,)))
            file = place.directory / "process.json"
            file.write_bytes(encode(process))
            place.launch(plan, "exec", "--process", str(file), container.id)
    assert "ESCAPED" not in place.printed()
