"""Limits and isolation as containers feel them, some side by side with dockerd."""

from __future__ import annotations

import ctypes
import errno
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import dockerd, pinnaced, syscall_probe
from tests.support.engine import remove_root
from tests.support.images import busybox_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.engine import Engine

pytestmark = pytest.mark.root

MIB = 1 << 20
DEADLINE_S = 60.0
# Prints a control file of the container's own group, whatever the version of control groups.
CGROUP = """
own() { for f in /sys/fs/cgroup/$1/$2 /sys/fs/cgroup/$3; do
    if [ -e $f ]; then cat $f; return; fi; done; echo missing $*; }
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("l")
    with pinnaced.start(root, bridge=None) as started:
        started.load(busybox_archive())
        yield started
    remove_root(root)


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("d")
    with dockerd.start(root, bridge=None) as started:
        started.load(busybox_archive())
        yield started
    remove_root(root)


@pytest.fixture
def container(engine: Engine) -> Iterator[str]:
    yield "limited"
    engine.request("DELETE", "/containers/limited", query={"force": "1"})


def run(engine: Engine, *arguments: str, status: int = 0) -> str:
    """Run a container without network to its end and return what it printed."""
    done = engine.cli("run", "--rm", "--net=none", *arguments)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode()


def start(engine: Engine, name: str, *options: str, command: str = "sleep 1000") -> None:
    words = ("run", "-d", f"--name={name}", "--net=none", *options, "busybox", "sh", "-c", command)
    done = engine.cli(*words)
    assert done.returncode == 0, done.stderr


def state_of(engine: Engine, name: str) -> Any:
    return engine.request("GET", f"/containers/{name}/json").json()["State"]


# Memory, processor, processes


def test_a_process_beyond_its_memory_is_killed_and_the_container_says_so(engine, container):
    limits = ("-m", "16m", "--memory-swap", "16m")
    start(engine, container, *limits, command="exec tail /dev/zero")
    ended = engine.request("POST", f"/containers/{container}/wait").json()
    state = state_of(engine, container)
    assert (ended["StatusCode"], state["ExitCode"], state["OOMKilled"]) == (137, 137, True)


def test_a_child_beyond_the_memory_is_killed_and_the_container_goes_on(engine, container):
    script = "tail /dev/zero; echo $?; exit 3"
    start(engine, container, "-m", "16m", "--memory-swap", "16m", command=script)
    assert engine.request("POST", f"/containers/{container}/wait").json()["StatusCode"] == 3
    assert engine.cli("logs", container).stdout == b"137\n"
    assert state_of(engine, container)["OOMKilled"]


def test_an_end_within_the_memory_is_not_called_out_of_memory(engine, container):
    start(engine, container, "-m", "64m")
    assert engine.cli("kill", container).returncode == 0
    assert engine.request("POST", f"/containers/{container}/wait").json()["StatusCode"] == 137
    assert not state_of(engine, container)["OOMKilled"]


def test_processes_of_exec_are_within_the_limits(engine, container):
    options = ("-m", "16m", "--memory-swap", "16m", "--pids-limit", "6")
    start(engine, container, *options)
    assert engine.cli("exec", container, "sh", "-c", "exec tail /dev/zero").returncode == 137
    forks = engine.cli("exec", container, "sh", "-c", "for i in 1 2 3 4 5 6; do sleep 9 & done")
    assert b"can't fork" in forks.stderr
    assert state_of(engine, container)["Running"]


def test_too_many_processes_cannot_be_made(engine):
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 9 & done; echo never"
    done = engine.cli("run", "--rm", "--net=none", "--pids-limit=6", "busybox", "sh", "-c", script)
    assert done.returncode == 2
    assert b"can't fork: Resource temporarily unavailable" in done.stderr
    assert b"never" not in done.stdout


def test_a_busy_container_is_throttled(engine):
    script = "timeout 2 sh -c 'while :; do :; done'; own cpu cpu.stat cpu.stat"
    printed = run(engine, "--cpus=0.2", "busybox", "sh", "-c", CGROUP + script)
    throttled = re.search(r"nr_throttled (\d+)", printed)
    assert throttled is not None, printed
    assert int(throttled[1]) > 0


def test_limits_change_while_the_container_runs(engine, container):
    options = ("-m", "32m", "--memory-swap", "32m", "--cpus", "0.5", "--pids-limit", "50")
    start(engine, container, *options)
    show = "own memory memory.limit_in_bytes memory.max; own pids pids.max pids.max"
    seen = engine.cli("exec", container, "sh", "-c", CGROUP + show).stdout
    assert seen.decode().split() == [str(32 * MIB), "50"]
    changes = ("-m", "48m", "--memory-swap", "96m", "--cpus", "0.7", "--pids-limit", "60")
    assert engine.cli("update", *changes, container).returncode == 0
    seen = engine.cli("exec", container, "sh", "-c", CGROUP + show).stdout
    assert seen.decode().split() == [str(48 * MIB), "60"]


def test_a_container_stays_on_its_processors(engine):
    printed = run(engine, "--cpuset-cpus=0", "busybox", "cat", "/proc/self/status")
    assert "Cpus_allowed_list:\t0\n" in printed


def test_nothing_remains_of_the_control_groups(engine):
    name = "gone"
    start(engine, name)
    pid = state_of(engine, name)["Pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    full = engine.request("GET", f"/containers/{name}/json").json()["Id"]
    assert any(full in line for line in lines)
    engine.request("DELETE", f"/containers/{name}", query={"force": "1"})
    end = time.monotonic() + DEADLINE_S
    while any(Path("/sys/fs/cgroup").glob(f"*/*/{full}")):
        assert time.monotonic() < end
        time.sleep(0.05)


# Files and devices


def test_a_read_only_root_refuses_writes_except_where_they_are_wanted(engine):
    script = """
        for place in /x /etc/x /etc/hosts /root/x; do echo > $place && echo wrote $place; done
        echo > /dev/shm/x && echo > /t/x && echo > /v/x && echo fine
    """
    places = ("--read-only", "--tmpfs", "/t", "-v", "/v")
    assert run(engine, *places, "busybox", "sh", "-c", script) == "fine\n"


def test_temporary_file_systems_have_their_size_and_mode(engine):
    script = """
        stat -c %a /t; df -k /t /dev/shm | awk '/tmpfs|shm/ {print $2}'
        dd if=/dev/zero of=/t/x bs=1M count=5 2>/dev/null; stat -c %s /t/x
        dd if=/dev/zero of=/dev/shm/x bs=1M count=9 2>/dev/null; stat -c %s /dev/shm/x
    """
    options = ("--tmpfs", "/t:size=3m,mode=1770", "--shm-size", "5m")
    printed = run(engine, *options, "busybox", "sh", "-c", script).split()
    assert printed == ["1770", "3072", "5120", str(3 * MIB), str(5 * MIB)]


def test_devices_can_be_used_as_far_as_they_were_given(engine):
    script = """
        (: < /dev/mine) && echo opened; (: > /dev/mine) 2>&1 | grep -o 'not permitted'
        mknod /tmp/kmsg c 1 11; head -c1 /tmp/kmsg 2>&1 | grep -o 'not permitted'
        mknod /tmp/zero c 1 5; head -c1 /tmp/zero | wc -c
        mknod /tmp/disk b 254 0; head -c1 /tmp/disk 2>&1 | grep -o 'not permitted'
        ls -l /dev/mine | cut -c1-10
    """
    usual = ("fuse", "loop-control", "net/tun", "autofs")  # no container has them by default
    device = next(f"/dev/{name}" for name in usual if Path("/dev", name).exists())
    printed = run(engine, f"--device={device}:/dev/mine:r", "busybox", "sh", "-c", script)
    no = "not permitted"
    assert printed.splitlines()[:-1] == ["opened", no, no, "1", no]
    assert printed.splitlines()[-1].startswith("crw")


def test_a_rule_for_a_class_of_devices_lets_it_be_made_and_used(engine):
    script = "mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg 2>&1 | grep -o 'not permitted'; echo ."
    denied = run(engine, "busybox", "sh", "-c", script)
    allowed = run(engine, "--device-cgroup-rule=c 1:11 rwm", "busybox", "sh", "-c", script)
    assert denied == "not permitted\n.\n"
    # What remains is the kernel's own refusal, in other words or none.
    assert allowed.endswith(".\n")


# Process attributes


def test_ulimits_kernel_parameters_and_the_killers_score_are_set(engine):
    options = (
        *("--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "nproc=77"),
        *("--sysctl", "net.core.somaxconn=99", "--sysctl", "kernel.msgmax=7777"),
        *("--oom-score-adj", "321"),
    )
    script = """
        ulimit -Sn; ulimit -Hn; ulimit -c; awk '/processes/ {print $3, $4}' /proc/self/limits
        cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax /proc/self/oom_score_adj
    """
    printed = run(engine, *options, "busybox", "sh", "-c", script).split()
    assert printed == ["100", "200", "0", "77", "77", "99", "7777", "321"]


def test_kernel_parameters_of_the_whole_host_are_refused(engine):
    body = {"Image": "busybox", "HostConfig": {"Sysctls": {"kernel.pid_max": "7777"}}}
    before = Path("/proc/sys/kernel/pid_max").read_text()
    made = engine.request("POST", "/containers/create", body)
    if made.status == 201:
        started = engine.request("POST", f"/containers/{made.json()['Id']}/start")
        engine.request("DELETE", f"/containers/{made.json()['Id']}", query={"force": "1"})
        assert started.status >= 400
    else:
        assert made.status == 400
    assert Path("/proc/sys/kernel/pid_max").read_text() == before


def test_privileges_are_not_gained_when_that_is_forbidden(engine):
    options = ("--security-opt", "no-new-privileges")
    assert "NoNewPrivs:\t1" in run(engine, *options, "busybox", "cat", "/proc/self/status")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--cap-drop=ALL",), 0),
        (("--cap-drop=ALL", "--cap-add=NET_ADMIN"), 1 << 12),
        (("--cap-add=SYS_TIME",), 0xA80425FB | 1 << 25),
        (("--cap-drop=CHOWN", "--cap-drop=CAP_KILL"), 0xA80425FB & ~(1 | 1 << 5)),
        (("--user=1000",), 0),
    ],
)
def test_capabilities_are_those_that_were_asked_for(engine, options, wanted):
    status = run(engine, *options, "busybox", "cat", "/proc/self/status")
    found = {name: int(value, 16) for name, value in re.findall(r"(Cap\w+):\t(\w+)", status)}
    held = int(Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0], 16)
    assert found["CapEff"] == found["CapPrm"] == wanted & held
    assert found["CapInh"] == found["CapAmb"] == 0


# Side by side with dockerd

HARMLESS_STATUS = ("Cap", "NoNewPrivs", "Seccomp:", "Groups", "Umask")


@pytest.mark.parametrize(
    "options",
    [(), ("--user=1000:1000",), ("--cap-drop=ALL",), ("--group-add=77",)],
    ids=["default", "user", "bare", "group"],
)
def test_identity_and_capabilities_are_those_under_dockerd(engine, docker, options):
    def status(of: Engine) -> list[str]:
        lines = run(of, *options, "busybox", "cat", "/proc/self/status").splitlines()
        return [line for line in lines if line.startswith(HARMLESS_STATUS)]

    assert status(engine) == status(docker)


def test_resource_limits_are_those_under_dockerd(engine, docker):
    def shown(of: Engine) -> list[str]:
        return run(of, "busybox", "cat", "/proc/self/limits").splitlines()

    # How many signals may wait depends on the moment.
    assert shown(engine) == shown(docker)


def test_what_dockerd_hides_of_proc_and_sys_is_hidden(engine, docker):
    hidden = {
        *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
        *("/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list"),
        *("/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"),
    }
    guarded = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

    def mounts(of: Engine) -> dict[str, set[str]]:
        lines = run(of, "busybox", "cat", "/proc/self/mounts").splitlines()
        fields = [line.split() for line in lines]
        return {f[1]: set(f[3].split(",")) & {"ro", "nosuid", "nodev", "noexec"} for f in fields}

    ours, theirs = mounts(engine), mounts(docker)
    assert theirs.keys() & (hidden | guarded) <= ours.keys()
    places = " ".join(sorted(hidden & ours.keys()))
    script = f"for p in {places}; do [ -d $p ] && ls -A $p || cat $p; done | wc -c"
    assert run(engine, "busybox", "sh", "-c", script) == "0\n"
    assert {place for place in guarded & ours.keys() if "ro" not in ours[place]} == set()
    for place in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"):
        assert theirs[place] <= ours[place], place


def test_device_nodes_are_those_under_dockerd(engine, docker):
    script = "find /dev ! -type d ! -type l -exec stat -c '%n %F %a %t:%T %u:%g' {} + | sort"

    def nodes(of: Engine) -> list[str]:
        return run(of, "busybox", "sh", "-c", script).splitlines()

    assert nodes(engine) == nodes(docker)


ATTEMPTS = """
    unshare -U true; unshare -m true; mount -t tmpfs x /tmp; dmesg | head -1; hostname foo
    date -s 2020-01-01; ip link set lo down; swapon /x; echo 1 > /proc/sys/kernel/panic
    echo c > /proc/sysrq-trigger; reboot -f; insmod /x.ko; umount /proc; chroot / true; renice -5 1
    mount -o remount,rw /proc/sys; mount -o remount,rw /sys; losetup /dev/loop0 /etc/hosts
    ls -A /proc/acpi /sys/firmware; cat /proc/keys /proc/timer_list; echo > /sys/kernel/x
"""


def test_a_root_shell_is_refused_what_dockerd_refuses(engine, docker):
    def words(of: Engine) -> list[str]:
        attempts = ATTEMPTS.replace("\n", ";").split(";")
        script = "".join(f"({attempt.strip()}) 2>&1\n" for attempt in attempts if attempt.strip())
        done = of.cli("run", "--rm", "--net=none", "busybox", "sh", "-c", script)
        return done.stdout.decode().splitlines()

    assert words(engine) == words(docker)


# System calls

NEVER = (
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key"),
    *("request_key", "userfaultfd", "kexec_load", "kexec_file_load", "mount", "umount2"),
    *("unshare", "setns", "bpf", "perf_event_open", "open_by_handle_at", "init_module"),
    *("finit_module", "delete_module", "pivot_root", "swapon", "swapoff", "acct", "reboot"),
    *("move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
)
# Harmless calls that dockerd's later default filters allow, and 20.10's did not yet.
LATER = (
    *("name_to_handle_at", "process_vm_readv", "process_vm_writev"),
    *("pkey_mprotect", "pkey_alloc", "pkey_free"),
)
# From here on 20.10 does not know the calls; its runtime says that they do not exist.
FIRST_UNKNOWN = 450
# These end the process, or what has called them, instead of returning.
UNPROBED = ("exit", "exit_group", "rt_sigreturn", "vfork")


def number_of(name: str) -> int:
    resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name
    return resolve(name.encode())


@pytest.fixture(scope="module")
def probed(engine: Engine, docker: Engine) -> tuple[dict[str, int], dict[str, int]]:
    """The errno of every system call in a default container: ours, and dockerd's."""
    unprobed = {number_of(name) for name in UNPROBED}
    wanted = [n for n in (*range(336), *range(424, 480)) if n not in unprobed]
    places = dict.fromkeys((sys.base_prefix, "/usr", "/lib", "/lib64"))
    binds = [f"--volume={place}:{place}:ro" for place in places if Path(place).exists()]
    program = Path(syscall_probe.__file__)
    binds.append(f"--volume={program}:/probe.py:ro")
    python = f"{sys.base_prefix}/bin/python3"

    def probe(of: Engine) -> dict[str, int]:
        printed = run(of, *binds, "busybox", python, "-I", "/probe.py", *map(str, wanted))
        rows = (line.split() for line in printed.splitlines())
        return {name: int(code) if code != "signal" else 0 for name, code in rows}

    return probe(engine), probe(docker)


def test_dangerous_system_calls_are_refused(probed):
    ours, _ = probed
    for name in NEVER:
        assert ours[str(number_of(name))] == errno.EPERM, name
    assert ours[str(number_of("clone3"))] == errno.ENOSYS
    for family in ("AF_ALG", "AF_VSOCK"):
        assert ours[family] in {errno.EPERM, errno.EAFNOSUPPORT, errno.EINVAL}, family


def test_system_calls_which_dockerd_refuses_are_refused(probed):
    ours, theirs = probed
    refused = {errno.EPERM, errno.ENOSYS}
    later = {str(number_of(name)) for name in LATER}
    wider = [
        name
        for name, code in theirs.items()
        if code in refused and ours[name] not in refused and name not in later
        if not name.isdigit() or int(name) < FIRST_UNKNOWN
    ]
    assert wider == []


def test_system_calls_which_dockerd_allows_are_allowed(probed):
    ours, theirs = probed
    narrower = {
        name
        for name, code in ours.items()
        if code in {errno.EPERM, errno.ENOSYS} and theirs[name] not in {errno.EPERM, errno.ENOSYS}
    }
    # dockerd 20.10 still allowed them; its successors do not.
    rings = {str(number_of(name)) for name in NEVER if name.startswith("io_uring")}
    assert narrower <= rings | {"AF_ALG", "AF_VSOCK"}
