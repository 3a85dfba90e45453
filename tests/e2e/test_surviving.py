"""Containers outlive the daemon; what happened without it is known when it is back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from tests.support import pinnaced
from tests.support.container_files import tar_of
from tests.support.engine import UnixConnection, end_processes_below, remove_root, unmount_below
from tests.support.images import busybox_archive

pytestmark = pytest.mark.root

DEADLINE_S = 60.0
COUNTING = 'i=0; while :; do i=$((i+1)); echo "line $i"; sleep 0.1; done'
SERVING = "while :; do echo served | nc -l -p 80; done"


def start(bridge: str, subnet: str):
    root = Path(tempfile.mkdtemp(prefix="pnts", dir="/var/tmp"))
    made = pinnaced.start(root, bridge=bridge, subnet=subnet)
    made.load(busybox_archive())
    return made


def finish(engine) -> None:
    if engine.process is None:  # a test failed between an end and a start
        engine.launch()
    engine.close()
    remove_root(engine.root)


@pytest.fixture(scope="module")
def shared():
    engine = start("pnt3e", "10.216.2.1/24")
    yield engine
    finish(engine)


@pytest.fixture
def engine(shared):
    """The module's daemon, running and without containers."""
    yield shared
    if shared.process is None:
        shared.launch()
    names = cli(shared, "ps", "-aq").split()
    if names:
        cli(shared, "rm", "-f", "-v", *names)


def cli(engine, *arguments: str) -> str:
    done = engine.cli(*arguments)
    assert done.returncode == 0, (arguments, done.stderr.decode(), engine.log_end())
    return done.stdout.decode().strip()


def run(engine, *options: str, command: str = COUNTING) -> str:
    return cli(engine, "run", "-d", *options, "busybox", "sh", "-c", command)


def inspect(engine, ref: str) -> dict:
    return engine.request("GET", f"/containers/{ref}/json").json()


def state(engine, ref: str) -> dict:
    return inspect(engine, ref)["State"]


def wait_for(condition, what: str):
    end = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"in vain waited for: {what}"
        time.sleep(0.05)
    return value


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def lines_of(engine, ref: str) -> list[str]:
    return cli(engine, "logs", ref).splitlines()


def assert_counted(lines: list[str]) -> None:
    assert lines == [f"line {n}" for n in range(1, len(lines) + 1)]


@pytest.fixture(params=["stopped", "killed"])
def away(request, engine):
    """Ends the daemon, in either way."""
    return engine.stop if request.param == "stopped" else engine.kill


def fetch(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.shutdown(socket.SHUT_WR)
        return client.recv(100)


def served(port: int) -> bool:
    with contextlib.suppress(OSError):
        return fetch(port) == b"served\n"
    return False


def test_a_running_container_is_the_same_afterwards(engine, away):
    web = run(engine, "--name", "web", "-p", "127.0.0.1::80", command=SERVING)
    count = run(engine)
    port = int(inspect(engine, web)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    before = state(engine, web), inspect(engine, web)["NetworkSettings"]
    seen = wait_for(lambda: lines_of(engine, count), "output")
    away()
    wait_for(lambda: served(port), "the port while the daemon is away")
    engine.launch()
    assert (state(engine, web), inspect(engine, web)["NetworkSettings"]) == before
    wait_for(lambda: served(port), "the port afterwards")
    assert cli(engine, "exec", web, "echo", "inside") == "inside"
    wait_for(lambda: len(lines_of(engine, count)) > len(seen) + 5, "more output")
    assert_counted(lines_of(engine, count))
    cli(engine, "stop", "-t", "0", web, count)
    assert state(engine, web)["ExitCode"] == 137
    other = run(engine, "-p", f"127.0.0.1:{port}:80", command=SERVING)
    wait_for(lambda: served(port), "the port given to another")
    assert state(engine, other)["Running"]


def test_files_of_a_running_container_are_found_without_a_mount_on_the_host(engine, away):
    user = "echo app:x:7:8::/: >> /etc/passwd"
    held = run(engine, command=f"{user}; echo mine > /made; while :; do sleep 1; done")
    merged = inspect(engine, held)["GraphDriver"]["Data"]["MergedDir"]
    wait_for(lambda: Path(merged, "made").exists(), "a file")
    wait_for(lambda: not mounted_roots(engine), "its root to be detached")
    away()
    engine.launch()
    assert not mounted_roots(engine)
    assert cli(engine, "exec", "-u", "app", held, "id", "-u") == "7"
    assert "mine\n" in engine.cli("cp", f"{held}:/made", "-").stdout.decode()
    engine.cli("cp", "-", f"{held}:/", stdin=tar_of(given=b"given\n").read())
    assert Path(merged, "given").read_text() == "given\n"
    assert not mounted_roots(engine)
    cli(engine, "kill", held)
    assert "given\n" in engine.cli("cp", f"{held}:/given", "-").stdout.decode()


def test_a_container_whose_runtime_is_not_configured_any_more_is_told_of(engine, away):
    before = engine.command
    engine.stop()
    engine.command = [*before, f"--add-runtime=other={shutil.which('crun')}"]
    try:
        engine.launch()
        held = run(engine, "--runtime", "other")
        away()
    finally:
        engine.command = before
    engine.launch()
    assert state(engine, held)["Running"]
    assert "MergedDir" in inspect(engine, held)["GraphDriver"]["Data"]
    done = engine.cli("exec", held, "true")
    assert b"unknown or invalid runtime name: other" in done.stdout
    cli(engine, "kill", held)
    assert state(engine, held)["ExitCode"] == 137
    cli(engine, "rm", held)


def mounted_roots(engine) -> list[str]:
    place = str(engine.root / "exec" / "bundles")
    return [line for line in Path("/proc/self/mountinfo").open() if place in line]


def test_following_and_attaching_work_afterwards(engine, away):
    reader = run(
        engine,
        "-i",
        command="echo ready; while read l; do echo got $l; [ $l = two ] && exit 6; done",
    )
    wait_for(lambda: lines_of(engine, reader) == ["ready"], "the first line")
    away()
    engine.launch()
    done = engine.cli("attach", reader, stdin=b"one\ntwo\n")
    assert done.stdout.decode().splitlines()[-2:] == ["got one", "got two"]
    followed = engine.cli("logs", "-f", reader)
    assert followed.stdout.decode().splitlines() == ["ready", "got one", "got two"]
    wait_for(lambda: state(engine, reader)["Status"] == "exited", "the end")
    assert state(engine, reader)["ExitCode"] == (6 if done.returncode == 6 else done.returncode)


def test_an_end_without_the_daemon_is_known_with_code_and_time(engine, away):
    held = run(
        engine, command="trap 'echo bye; exit 7' TERM; echo on; while :; do sleep 0.1; done"
    )
    pid = state(engine, held)["Pid"]
    wait_for(lambda: lines_of(engine, held) == ["on"], "the trap")
    away()
    before = time.time()
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: is_gone(pid), "the end")
    after = time.time()
    engine.launch()
    found = state(engine, held)
    assert (found["Status"], found["ExitCode"], found["Error"]) == ("exited", 7, "")
    moment = cli(engine, "inspect", "-f", "{{.State.FinishedAt}}", held)
    seconds = subprocess.run(
        ["date", "-d", moment, "+%s.%N"], capture_output=True, text=True, check=True
    )
    assert before - 1 <= float(seconds.stdout) <= after + 1
    assert lines_of(engine, held) == ["on", "bye"]
    assert cli(engine, "wait", held) == "7"
    cli(engine, "start", held)
    assert state(engine, held)["Running"]


def test_a_self_removing_container_that_ended_meanwhile_is_gone(engine, away):
    short = run(engine, "--rm", "-v", "/anonymous", "--name", "short")
    pid = state(engine, short)["Pid"]
    volume = inspect(engine, short)["Mounts"][0]["Name"]
    away()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid), "the end")
    engine.launch()
    assert engine.request("GET", f"/containers/{short}/json").status == 404
    assert engine.request("GET", f"/volumes/{volume}").status == 404
    run(engine, "--name", "short")


def test_a_self_removing_container_that_was_never_started_is_gone(engine, away):
    cli(engine, "create", "--rm", "busybox", "true")
    away()
    engine.launch()
    assert cli(engine, "ps", "-aq") == ""


def test_restart_policies_go_on(engine, away):
    policies = ("always", "unless-stopped", "on-failure", "no")
    made = {policy: run(engine, "--restart", policy) for policy in policies}
    stopped = run(engine, "--restart", "unless-stopped")
    cli(engine, "stop", "-t", "0", stopped)
    pids = {policy: state(engine, ref)["Pid"] for policy, ref in made.items()}
    away()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(map(is_gone, pids.values())), "the ends")
    engine.launch()
    for policy in ("always", "unless-stopped", "on-failure"):
        wait_for(lambda ref=made[policy]: state(engine, ref)["Running"], f"a start by {policy}")
    assert state(engine, made["no"])["Status"] == "exited"
    assert state(engine, stopped)["Status"] == "exited"


def test_a_paused_container_stays_paused(engine, away):
    paused = run(engine)
    wait_for(lambda: lines_of(engine, paused), "output")
    cli(engine, "pause", paused)
    count = len(lines_of(engine, paused))
    away()
    engine.launch()
    assert state(engine, paused)["Status"] == "paused"
    assert len(lines_of(engine, paused)) == count
    cli(engine, "unpause", paused)
    wait_for(lambda: len(lines_of(engine, paused)) > count, "output after the pause")
    assert_counted(lines_of(engine, paused))


def test_a_pause_that_a_crash_cut_short_is_undone(engine):
    frozen, thawed = run(engine), run(engine)
    cli(engine, "pause", thawed)
    engine.kill()
    for ref, word in ((frozen, "FROZEN"), (thawed, "THAWED")):
        Path(f"/sys/fs/cgroup/freezer/pinnace/{ref}/freezer.state").write_text(word)
    engine.launch()
    for ref in (frozen, thawed):
        assert state(engine, ref)["Status"] == "running"
        assert cli(engine, "exec", ref, "echo", "alive") == "alive"
    cli(engine, "rm", "-f", frozen, thawed)


def test_health_checks_go_on(engine, away):
    healthy = run(
        engine,
        *("--health-cmd", "test ! -e /sick", "--health-interval", "0.3s"),
        *("--health-retries", "1"),
    )
    wait_for(lambda: state(engine, healthy)["Health"]["Status"] == "healthy", "health")
    away()
    engine.launch()
    assert state(engine, healthy)["Health"]["Status"] == "healthy"
    cli(engine, "exec", healthy, "touch", "/sick")
    wait_for(lambda: state(engine, healthy)["Health"]["Status"] == "unhealthy", "illness")


def test_an_exec_goes_on_and_its_container_can_be_stopped(engine, away):
    outer = run(engine)
    cli(engine, "exec", "-d", outer, "sh", "-c", "echo $$ >/tmp/pid; sleep 1000")
    inner = wait_for(
        lambda: engine.cli("exec", outer, "cat", "/tmp/pid").stdout.decode().strip(), "the exec"
    )
    away()
    engine.launch()
    assert cli(engine, "exec", outer, "cat", f"/proc/{inner}/comm") == "sleep"
    cli(engine, "rm", "-f", outer)
    bundles = engine.root / "exec" / "bundles"
    wait_for(lambda: not any(bundles.iterdir()), "clean bundles")


def test_the_configuration_changes_without_stopping_containers(engine):
    kept = run(engine)
    pid = state(engine, kept)["Pid"]
    (engine.root / "daemon.json").write_text(json.dumps({"labels": ["changed=yes"]}))
    engine.restart()
    assert "changed=yes" in engine.request("GET", "/info").json()["Labels"]
    assert state(engine, kept)["Pid"] == pid
    (engine.root / "daemon.json").write_text("{}\n")


def test_after_a_reboot_states_are_true_and_policies_start(engine):
    plain = run(engine, "-p", "127.0.0.1::80")
    always = run(engine, "--restart", "always")
    fleeting = run(engine, "--rm")
    reboot(engine)
    found = state(engine, plain)
    assert (found["Status"], found["ExitCode"], found["Pid"]) == ("exited", 255, 0)
    assert engine.request("GET", f"/containers/{fleeting}/json").status == 404
    wait_for(lambda: state(engine, always)["Running"], "the start by policy")
    cli(engine, "start", plain)
    assert cli(engine, "exec", plain, "echo", "again") == "again"


def reboot(engine) -> None:
    """End everything at once and forget what a reboot forgets."""
    pids = [state(engine, ref)["Pid"] for ref in cli(engine, "ps", "-q").split()]
    engine.kill()
    end_processes_below(engine.root)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(map(is_gone, pids)), "the end of all containers")
    unmount_below(engine.root / "exec")
    shutil.rmtree(engine.root / "exec")
    pinnaced.remove_table("pinnace-pnt3e")
    subprocess.run(["ip", "link", "delete", "pnt3e"], check=True, capture_output=True)
    engine.launch()


# What clients leave when they die


def descriptors(engine) -> int:
    return len(os.listdir(f"/proc/{engine.pid}/fd"))


def settled_descriptors(engine) -> int:
    """Return their number once it stays: network namespaces are made in advance after a start."""
    seen = [descriptors(engine)]

    def unchanged() -> bool:
        seen.append(descriptors(engine))
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    wait_for(unchanged, "a quiet engine")
    return seen[-1]


@contextlib.contextmanager
def half_read(engine, method: str, path: str, body: bytes = b"", **headers: str):
    """A client that begins to read an answer, and then is gone."""
    connection = UnixConnection(engine.socket)
    connection.request(method, path, body=body, headers=headers)
    connection.sock.recv(1000)
    yield connection.sock
    connection.sock.close()


def test_dead_clients_leave_nothing(engine):
    ref = run(engine, command="while :; do echo a line of output; done")
    big = run(engine, command="dd if=/dev/zero of=/big bs=1M count=50; sleep 1000")
    wait_for(lambda: state(engine, ref)["Running"], "a start")
    cli(engine, "ps")
    before = settled_descriptors(engine)
    files = set(os.listdir(engine.root / "data" / "tmp"))
    upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
    for _ in range(3):
        with half_read(engine, "GET", f"/containers/{ref}/logs?follow=1&stdout=1"):
            pass
        query = "stream=1&stdout=1&stdin=1&logs=1"
        with half_read(engine, "POST", f"/containers/{ref}/attach?{query}", **upgrade):
            pass
        with half_read(engine, "GET", f"/containers/{big}/export"):
            pass
        with half_read(engine, "GET", f"/containers/{big}/archive?path=/big"):
            pass
        with half_read(engine, "GET", "/images/busybox/get"):
            pass
        with half_read(engine, "GET", f"/containers/{ref}/stats"):
            pass
        half_load(engine)
        half_copy(engine, big)
    wait_for(lambda: descriptors(engine) <= before + 2, "closed descriptors")
    wait_for(lambda: set(os.listdir(engine.root / "data" / "tmp")) <= files, "temporary files")
    assert cli(engine, "exec", big, "ls", "/tmp") == ""
    cli(engine, "rm", "-f", ref, big)


def half_send(engine, method: str, path: str, data: bytes) -> None:
    """Send a beginning of a large body and die."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(engine.socket))
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\n"
        client.sendall(f"{head}Content-Length: 100000000\r\n\r\n".encode() + data)
        client.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            client.recv(1)


def half_load(engine) -> None:
    half_send(engine, "POST", "/images/load", busybox_archive()[:300_000])


def half_copy(engine, ref: str) -> None:
    half_send(engine, "PUT", f"/containers/{ref}/archive?path=/tmp", b"")


def test_a_follower_of_a_dying_daemon_sees_its_end(engine):
    ref = run(engine)
    ended = threading.Event()

    def follow() -> None:
        engine.cli("logs", "-f", ref)
        ended.set()

    follower = threading.Thread(target=follow)
    follower.start()
    engine.kill()
    assert ended.wait(DEADLINE_S)
    follower.join()
    engine.launch()


# Things that are missing


def start_in_private_mounts(root: Path, setup: str, bridge: str, subnet: str):
    """Start a daemon whose mounts were changed by `setup`, a shell command."""
    made = pinnaced.start(root, bridge=bridge, subnet=subnet)
    made.load(busybox_archive())
    made.stop()
    end_processes_below(root)
    script = f'{setup} && exec "$@"'
    made.command = ["unshare", "-m", "sh", "-ec", script, "sh", *made.command]
    made.launch()
    return made


@pytest.fixture
def private_root():
    root = Path(tempfile.mkdtemp(prefix="pnts", dir="/var/tmp"))
    yield root
    end_processes_below(root)
    unmount_below(root)
    remove_root(root)


def test_a_missing_runtime_is_named_when_the_daemon_starts(private_root, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    made = pinnaced.start(private_root, bridge=None)
    with made:
        made.stop()
        made.environment["PATH"] = str(programs)
        with pytest.raises(RuntimeError, match="OCI runtime 'crun' is not installed"):
            made.launch()


def test_without_nftables_only_containers_without_bridge_start(private_root):
    library = next(Path("/usr/lib").glob("*/libnftables.so.1")).resolve()
    hide = f"mount --bind /dev/null {library} && mount --bind /dev/null $(command -v nft)"
    with start_in_private_mounts(private_root, hide, "pnt3n", "10.216.5.1/24") as made:
        failed = made.cli("run", "--rm", "busybox", "true")
        assert failed.returncode == 125
        assert b"nft" in failed.stderr
        assert cli(made, "run", "--rm", "--network", "none", "busybox", "echo", "fine") == "fine"


def test_read_only_control_groups_are_named(private_root):
    remount = (
        "for d in /sys/fs/cgroup/*; do mount -o remount,bind,ro $d || mount -o remount,ro $d; done"
    )
    with start_in_private_mounts(private_root, remount, "pnt3c", "10.216.6.1/24") as made:
        failed = made.cli("run", "--rm", "busybox", "true")
        assert failed.returncode == 125
        assert b"control groups: cannot make" in failed.stderr
        assert b"Read-only file system" in failed.stderr
        wait_for(lambda: not any((private_root / "exec/bundles").iterdir()), "clean bundles")


# A full disk


@pytest.fixture
def small():
    """A daemon whose data root is a file system of 32 MB."""
    root = Path(tempfile.mkdtemp(prefix="pnts", dir="/var/tmp"))
    data = root / "data"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "pinnace-test", str(data)]
    subprocess.run(mount, check=True)
    made = pinnaced.start(root, bridge="pnt3f", subnet="10.216.7.1/24")
    made.load(busybox_archive())
    yield made
    (data / "filler").unlink(missing_ok=True)
    finish(made)


def fill(engine) -> None:
    """Leave not a byte in the data root."""
    with (engine.root / "data" / "filler").open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def make_room(engine) -> None:
    (engine.root / "data" / "filler").unlink()


def test_a_full_disk_is_named_leaks_nothing_and_is_recovered_from(small):
    made = cli(small, "create", "busybox", "true")
    cli(small, "run", "--rm", "busybox", "true")
    containers = small.root / "data" / "containers"
    wait_for(lambda: len(list(containers.iterdir())) == 1, "the removal")
    fill(small)
    for _ in range(3):
        failed = small.cli("create", "busybox", "true")
        assert failed.returncode == 1
        assert b"no space left on device" in failed.stderr.lower()
    failed = small.cli("start", made)
    assert failed.returncode == 1
    assert b"no space left on device" in failed.stderr.lower()
    assert [path.name for path in containers.iterdir()] == [made]
    assert cli(small, "ps", "-aq", "--no-trunc") == made
    make_room(small)
    cli(small, "start", made)
    assert cli(small, "wait", made) == "0"
    assert cli(small, "run", "--rm", "busybox", "echo", "room") == "room"


def test_containers_go_on_while_the_disk_is_full(small):
    talking = run(small)
    ending = run(small)
    wait_for(lambda: lines_of(small, talking), "output")
    fill(small)
    time.sleep(0.5)  # what is written now cannot be kept
    cli(small, "exec", talking, "true")
    small.cli("kill", ending)
    wait_for(lambda: not state(small, ending)["Running"], "the end of one")
    assert state(small, talking)["Running"]
    make_room(small)
    count = len(lines_of(small, talking))
    wait_for(lambda: len(lines_of(small, talking)) > count + 3, "output with room again")
    small.restart()
    found = state(small, ending)
    assert (found["Status"], found["ExitCode"]) == ("exited", 137)
    assert state(small, talking)["Running"]
