"""The supervisor with real processes: streams, exits, clients, crashes."""

import asyncio
import dataclasses
import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support import cgroups
from tests.support.tasks import Lab, Terminal, unframed, until

from pinnace.contracts.monitor import LogFiles, Sink, TaskSpec
from pinnace.errors import (
    AlreadyExists,
    Conflict,
    InvalidParameter,
    NotFound,
    RuntimeFailure,
    Unavailable,
)

pytestmark = pytest.mark.root

# A daemon that attaches a client, starts a task, and is killed by the test.
DAEMON = """
import asyncio, json, sys
from pathlib import Path
from pinnace.contracts.monitor import LogFiles, Sink, TaskSpec
from pinnace.host.runtime.monitor import SupervisorMonitor

async def main():
    fields = json.loads(sys.argv[2])
    spec = TaskSpec(**fields | {"log": LogFiles(**fields["log"])})
    monitor = SupervisorMonitor(Path(sys.argv[1]))
    await monitor.connect()
    await monitor.attach(spec.id, int(sys.argv[3]), Sink(stdin=True), pending=True)
    await monitor.create(spec)
    await monitor.start(spec.id)
    print("started", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.fixture
async def lab(tmp_path):
    cgroups.prepare()
    made = Lab(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def monitor(lab):
    return await lab.monitor()


@pytest.fixture
def client():
    made = Terminal()
    yield made
    made.close()


async def exit_of(monitor, task_id):
    async with asyncio.timeout(30):
        async for ended in monitor.exits():
            if ended.id == task_id:
                return ended
    raise AssertionError("no exit")


async def run(monitor, spec):
    """Create and start a task, and return its exit."""
    await monitor.create(spec)
    if spec.start_fifo:
        await monitor.start(spec.id)
    return await exit_of(monitor, spec.id)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


async def test_a_container_of_crun_runs_and_its_exit_is_recorded(lab, monitor):
    ended = await run(monitor, lab.container("c1", "sh", "-c", "echo out; echo err >&2; exit 7"))
    assert (ended.code, ended.lost, ended.oom_killed) == (7, False, False)
    assert lab.log("c1", 1) == b"out\n"
    assert lab.log("c1", 2) == b"err\n"
    assert lab.record("c1")["code"] == 7
    assert abs(ended.finished_ns - time.time_ns()) < 60e9


async def test_a_created_container_waits_for_its_start(lab, monitor):
    pid = await monitor.create(lab.container("c1", "echo", "now"))
    assert Path(f"/proc/{pid}").exists()
    assert lab.log("c1") == b""
    await monitor.start("c1")
    assert (await exit_of(monitor, "c1")).code == 0
    assert lab.log("c1") == b"now\n"


async def test_a_command_that_is_missing_fails_with_the_words_of_crun(lab, monitor):
    with pytest.raises(RuntimeFailure, match=r"executable file `nosuch` not found in \$PATH"):
        await monitor.create(lab.container("c1", "nosuch"))
    with pytest.raises(NotFound):
        await monitor.start("c1")


async def test_a_terminal_has_its_size_before_the_command_runs(lab, monitor, client):
    spec = lab.container(
        "c1",
        "sh",
        "-c",
        "stty size; read x; stty size",
        terminal=True,
        open_stdin=True,
        console_size=(33, 77),
    )
    await monitor.attach("c1", client.fd, Sink(stdin=True, framed=False), pending=True)
    await monitor.create(spec)
    await monitor.start("c1")
    await client.receive_until(b"33 77")
    await monitor.resize("c1", height=12, width=34)
    await client.send(b"\n")
    await client.receive_until(b"12 34")
    assert (await exit_of(monitor, "c1")).code == 0


async def test_an_exec_of_crun_is_ours_and_reports_its_exit(lab, monitor, client):
    await monitor.create(lab.container("c1", "sleep", "1000"))
    await monitor.start("c1")
    attachment = await monitor.attach("e1", client.fd, Sink(), pending=True)
    await monitor.create(lab.exec_of("c1", "e1", "sh", "-c", "echo inside; exit 5"))
    assert (await exit_of(monitor, "e1")).code == 5
    assert await attachment.ended() == "eof"
    assert unframed(await client.receive_all())[1] == b"inside\n"
    await monitor.signal("c1", signal.SIGKILL)
    assert (await exit_of(monitor, "c1")).code == 137


async def test_the_failure_of_a_runtime_is_what_it_printed(lab, monitor, client):
    attachment = await monitor.attach("t1", client.fd, Sink(), pending=True)
    with pytest.raises(RuntimeFailure, match=r"^stub: no way$"):
        await monitor.create(lab.task("t1", "no way", kind="fail"))
    await monitor.forget("t1")
    assert await attachment.ended() == "gone"


async def test_a_runtime_that_does_not_exist_is_a_clear_failure(lab, monitor):
    spec = lab.task("t1", "true")
    broken = type(spec)(**{f: getattr(spec, f) for f in spec.__slots__} | {"argv": ["/no/such"]})
    with pytest.raises(RuntimeFailure, match="/no/such"):
        await monitor.create(broken)


async def test_a_signal_is_counted_from_128(lab, monitor):
    await monitor.create(lab.task("t1", "sleep", "1000"))
    await monitor.start("t1")
    await monitor.signal("t1", signal.SIGTERM)
    assert (await exit_of(monitor, "t1")).code == 143
    with pytest.raises(NotFound):
        await monitor.signal("t1", signal.SIGTERM)


async def test_signals_the_supervisor_ignores_work_in_tasks(lab, monitor):
    spec = lab.task("t1", "sh", "-c", "grep -E '^Sig(Ign|Blk)' /proc/self/status")
    await run(monitor, spec)
    ignored = [int(line.split()[1], 16) for line in lab.log("t1").splitlines()]
    # SIGINT and SIGQUIT: the stub's shell, for what it runs in the background; 32 and 33: libc
    assert [value & ~(0b110 | 0b11 << 31) for value in ignored] == [0, 0]


async def test_an_id_in_use_is_refused_until_it_is_forgotten(lab, monitor):
    await run(monitor, lab.task("t1", "true"))
    with pytest.raises(AlreadyExists):
        await monitor.create(lab.task("t1", "true"))
    await monitor.forget("t1")
    assert (await run(monitor, lab.task("t1", "echo", "again"))).code == 0


async def test_a_running_task_is_not_forgotten(lab, monitor):
    await monitor.create(lab.task("t1", "sleep", "1000"))
    await monitor.start("t1")
    with pytest.raises(Conflict):
        await monitor.forget("t1")


async def test_forgetting_a_task_that_never_started_kills_it_silently(lab, monitor):
    pid = await monitor.create(lab.task("t1", "true"))
    await monitor.forget("t1")
    await until(lambda: not Path(f"/proc/{pid}").exists())
    ended = await run(monitor, lab.task("t2", "true"))
    assert ended.id == "t2"
    assert not (lab.directory / "t1" / "exit").exists()


async def test_without_a_terminal_there_is_no_size(lab, monitor):
    await monitor.create(lab.task("t1", "sleep", "1000"))
    with pytest.raises(InvalidParameter):
        await monitor.resize("t1", height=1, width=1)


async def test_input_reaches_the_task_and_its_end_too(lab, monitor, client):
    sink = Sink(stdin=True, early=b"early ")
    attachment = await monitor.attach("t1", client.fd, sink, pending=True)
    await monitor.create(lab.task("t1", "cat", open_stdin=True, stdin_once=True))
    await client.send(b"late")
    await monitor.start("t1")
    client.end_input()
    assert (await exit_of(monitor, "t1")).code == 0
    assert await attachment.ended() == "eof"
    assert unframed(await client.receive_all()) == {1: b"early late", 2: b""}


async def test_input_that_fills_the_pipe_arrives_whole(lab, monitor, client):
    data = os.urandom(1 << 20) * 8
    attachment = await monitor.attach("t1", client.fd, Sink(stdin=True), pending=True)
    await monitor.create(lab.task("t1", "sha256sum", open_stdin=True, stdin_once=True))
    sending = asyncio.create_task(client.send(data))
    await monitor.start("t1")
    await sending
    client.end_input()
    assert await attachment.ended() == "eof"
    assert hashlib.sha256(data).hexdigest().encode() in await client.receive_all()


async def test_input_stays_open_after_a_client_when_it_is_not_once(lab, monitor):
    await monitor.create(lab.task("t1", "head", "-c", "6", open_stdin=True))
    await monitor.start("t1")
    for part in (b"one", b"two"):
        client = Terminal()
        attachment = await monitor.attach("t1", client.fd, Sink(stdin=True, stdout=False))
        await client.send(part)
        client.end_input()
        if part == b"one":
            client.close()
            assert await attachment.ended() == "gone"
    assert (await exit_of(monitor, "t1")).code == 0
    assert lab.log("t1") == b"onetwo"
    client.close()


async def test_detach_keys_are_found_across_reads_and_nothing_else_is_kept(lab, monitor, client):
    spec = lab.container("c1", "cat", terminal=True, open_stdin=True)
    sink = Sink(stdin=True, framed=False, detach_keys=b"\x10\x11")
    attachment = await monitor.attach("c1", client.fd, sink, pending=True)
    await monitor.create(spec)
    await monitor.start("c1")
    await client.send(b"a\x10")
    await client.receive_until(b"a")
    await client.send(b"b\n")
    await client.receive_until(b"^Pb")
    await client.send(b"\x10")
    await client.send(b"\x11")
    assert await attachment.ended() == "detached"
    await monitor.signal("c1", signal.SIGKILL)
    assert (await exit_of(monitor, "c1")).code == 137


async def test_a_replay_goes_on_live_without_gap_or_repetition(lab, monitor, tmp_path):
    total = 50 << 20
    script = f"seq 1 999999999 | head -c {total}"
    await monitor.create(lab.task("t1", "sh", "-c", script))
    await monitor.start("t1")
    clients, readers = [], []
    for threshold in (0, 5 << 20, 20 << 20, 40 << 20):
        log = tmp_path / "t1" / "log" / "000001.out"
        await until(lambda log=log, least=threshold: log.stat().st_size >= least)
        client = Terminal()
        clients.append(client)
        await monitor.attach("t1", client.fd, Sink(replay=True))
        readers.append(asyncio.create_task(client.receive_all()))
    assert (await exit_of(monitor, "t1")).code == 0
    expected = hashlib.sha256(lab.log("t1")).digest()
    assert len(lab.log("t1")) == total
    for data in await asyncio.gather(*readers):
        assert hashlib.sha256(unframed(data)[1]).digest() == expected
    for client in clients:
        client.close()


async def test_a_slow_client_holds_up_neither_task_nor_others(lab, monitor, client):
    quick = Terminal()
    script = "seq 1 3000000"
    slow_end = await monitor.attach("t1", client.fd, Sink(), pending=True)
    await monitor.attach("t1", quick.fd, Sink(), pending=True)
    await monitor.create(lab.task("t1", "sh", "-c", script))
    reading = asyncio.create_task(quick.receive_all())
    await monitor.start("t1")
    assert (await exit_of(monitor, "t1")).code == 0
    expected = lab.log("t1")
    assert unframed(await reading)[1] == expected
    await monitor.forget("t1")
    for path in (lab.directory / "t1" / "log").iterdir():
        path.unlink()
    assert unframed(await client.receive_all())[1] == expected
    assert await slow_end.ended() == "eof"
    quick.close()


async def test_a_client_a_whole_log_behind_loses_nothing(lab, monitor, client):
    log = LogFiles(str(lab.directory / "t1" / "log"), max_size=1 << 20, max_files=2)
    attachment = await monitor.attach("t1", client.fd, Sink(), pending=True)
    await monitor.create(lab.task("t1", "seq", "1", "3000000", log=log))
    await monitor.start("t1")
    data = unframed(await client.receive_all())[1]
    assert data == b"".join(b"%d\n" % number for number in range(1, 3000001))
    assert await attachment.ended() == "eof"
    assert (await exit_of(monitor, "t1")).code == 0


async def test_a_replay_alone_ends_while_the_task_runs(lab, monitor, client):
    await monitor.create(lab.task("t1", "sh", "-c", "echo first; exec sleep 1000"))
    await monitor.start("t1")
    await until(lambda: lab.log("t1"))
    attachment = await monitor.attach("t1", client.fd, Sink(replay=True, stream=False))
    assert await attachment.ended() == "eof"
    assert unframed(await client.receive_all())[1] == b"first\n"


async def test_an_ended_task_can_be_replayed_until_it_is_forgotten(lab, monitor, client):
    await run(monitor, lab.task("t1", "echo", "past"))
    await monitor.attach("t1", client.fd, Sink(replay=True))
    assert unframed(await client.receive_all())[1] == b"past\n"


async def test_a_slow_client_of_an_exec_holds_it_up_and_loses_nothing(lab, monitor, client):
    attachment = await monitor.attach("e1", client.fd, Sink(), pending=True)
    await monitor.create(lab.task("e1", "seq", "1", "2000000", kind="exec"))
    data = unframed(await client.receive_all())[1]
    assert data == b"".join(b"%d\n" % number for number in range(1, 2000001))
    assert await attachment.ended() == "eof"


async def test_an_exec_without_a_client_is_not_held_up(lab, monitor):
    await monitor.create(lab.task("e1", "seq", "1", "2000000", kind="exec"))
    assert (await exit_of(monitor, "e1")).code == 0


async def test_output_that_is_not_kept_still_reaches_clients(lab, monitor, client):
    log = LogFiles(str(lab.directory / "t1" / "log"), discard=True)
    await monitor.attach("t1", client.fd, Sink(), pending=True)
    await monitor.create(lab.task("t1", "echo", "live", log=log))
    await monitor.start("t1")
    assert unframed(await client.receive_all())[1] == b"live\n"
    assert list((lab.directory / "t1" / "log").iterdir()) == []


async def test_a_client_that_leaves_is_told_as_gone(lab, monitor):
    await monitor.create(lab.task("t1", "sleep", "1000"))
    client = Terminal()
    attachment = await monitor.attach("t1", client.fd, Sink())
    client.close()
    async with asyncio.timeout(10):
        assert await attachment.ended() == "gone"


async def test_a_cancelled_attachment_leaves_the_socket_open(lab, monitor, client):
    await monitor.create(lab.task("t1", "sleep", "1000"))
    attachment = await monitor.attach("t1", client.fd, Sink())
    await attachment.cancel()
    assert await attachment.ended() == "gone"
    client.theirs.send(b"still")
    await client.receive_until(b"still")


async def test_attaching_to_an_unknown_task_fails_unless_it_may_wait(monitor, client):
    with pytest.raises(NotFound):
        await monitor.attach("nobody", client.fd, Sink())


async def test_a_watcher_wakes_when_the_log_grows_and_ends_with_it(lab, monitor):
    await monitor.create(lab.task("t1", "sh", "-c", "read x; echo grown", open_stdin=True))
    await monitor.start("t1")
    watcher = socket.socket(fileno=await monitor.watch("t1"))
    watcher.settimeout(10)
    client = Terminal()
    await monitor.attach("t1", client.fd, Sink(stdin=True))
    await client.send(b"\n")
    assert await asyncio.to_thread(watcher.recv, 100) == b"\0"
    assert await asyncio.to_thread(watcher.recv, 100) == b""
    watcher.close()
    client.close()


async def test_descendants_that_keep_the_output_open_delay_its_end_only_a_little(
    lab, monitor, client
):
    script = "sleep 1000 & echo done"
    attachment = await monitor.attach("t1", client.fd, Sink(), pending=True)
    await monitor.create(lab.task("t1", "sh", "-c", script))
    await monitor.start("t1")
    async with asyncio.timeout(20):
        assert await attachment.ended() == "eof"
    assert unframed(await client.receive_all())[1] == b"done\n"


async def test_orphans_are_waited_for_without_taking_statuses(lab, monitor):
    script = "for i in 1 2 3 4 5; do sh -c 'sleep 0.05 & exit 9' ; done; exit 3"
    assert (await run(monitor, lab.task("t1", "sh", "-c", script))).code == 3

    def zombies():
        children = Path(f"/proc/{monitor.supervisor_pid}/task/{monitor.supervisor_pid}/children")
        return children.read_text().split()

    await until(lambda: not zombies(), "the end of all children")


async def test_the_launcher_enters_cgroups_before_the_runtime(lab, monitor):
    group = Path("/sys/fs/cgroup/pids") / f"pnt-{os.getpid()}"
    group.mkdir()
    try:
        files = [str(group / "cgroup.procs")]
        spec = lab.task("t1", "cat", "/proc/self/cgroup", cgroup_files=files)
        assert (await run(monitor, spec)).code == 0
        assert f":pids:/{group.name}\n".encode() in lab.log("t1")
        broken = lab.task("t2", "true", cgroup_files=[str(group / "absent" / "cgroup.procs")])
        with pytest.raises(RuntimeFailure, match="absent"):
            await monitor.create(broken)
    finally:
        await until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


async def test_what_is_left_in_the_cgroup_is_killed_with_the_main_process(lab, monitor):
    group = Path("/sys/fs/cgroup/pids") / f"pnt-k-{os.getpid()}"
    group.mkdir()
    try:
        spec = lab.task(
            "t1",
            "sh",
            "-c",
            "setsid sleep 1000 & echo $!",
            cgroup_files=[str(group / "cgroup.procs")],
            kill_cgroup=str(group),
        )
        assert (await run(monitor, spec)).code == 0
        pid = int(lab.log("t1"))
        await until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the descendant")
    finally:
        await until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


async def test_an_out_of_memory_kill_is_read_from_the_cgroup(lab, monitor):
    counts = lab.directory / "memory.oom_control"
    counts.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    ended = await run(monitor, lab.task("t1", "true", oom_file=str(counts)))
    assert ended.oom_killed


async def test_descriptors_do_not_leak(lab, monitor):
    async def one(number):
        client = Terminal()
        task_id = f"t{number}"
        await monitor.attach(task_id, client.fd, Sink(stdin=True), pending=True)
        spec = lab.task(task_id, "cat", open_stdin=True, stdin_once=True)
        await monitor.create(spec)
        await monitor.start(task_id)
        client.end_input()
        await client.receive_all()
        await exit_of(monitor, task_id)
        await monitor.forget(task_id)
        client.close()

    await one(0)
    before = descriptors(monitor.supervisor_pid), descriptors(os.getpid())
    for number in range(1, 51):
        await one(number)
    assert (descriptors(monitor.supervisor_pid), descriptors(os.getpid())) == before


async def test_exits_while_no_daemon_was_there_are_told_to_the_next(lab, monitor):
    await monitor.create(lab.task("t1", "sh", "-c", "read x; exit 4", open_stdin=True))
    await monitor.start("t1")
    client = Terminal()
    await monitor.attach("t1", client.fd, Sink(stdin=True))
    await monitor.close()
    await client.send(b"\n")  # the client is still served
    await until(lambda: (lab.directory / "t1" / "exit").exists())
    following = await lab.monitor()
    assert following.supervisor_pid == monitor.supervisor_pid
    assert (await exit_of(following, "t1")).code == 4
    await following.forget("t1")
    client.close()


async def test_the_newer_daemon_wins(lab, monitor):
    await monitor.create(lab.task("t1", "sleep", "1000"))
    newer = await lab.monitor()
    assert [task.id for task in await newer.connect()] == ["t1"]
    async with asyncio.timeout(10):
        assert [ended async for ended in monitor.exits()] == []
    with pytest.raises(Unavailable):
        await monitor.start("t1")
    await newer.start("t1")


async def test_tasks_survive_the_death_of_the_supervisor_under_load(lab, monitor):
    numbers = {"t1": 1_500_000, "t2": 1_000_000}
    for task_id, count in numbers.items():
        script = f"seq 1 {count}; read x; exit 6"
        await monitor.create(lab.task(task_id, "sh", "-c", script, open_stdin=True))
        await monitor.start(task_id)
    for _ in range(3):
        size = len(lab.log("t1"))
        await until(lambda least=size: len(lab.log("t1")) > least or b"1500000\n" in lab.log("t1"))
        old = monitor.supervisor_pid
        os.kill(old, signal.SIGKILL)
        await until(lambda old=old: monitor.supervisor_pid != old, "another supervisor")
    for task_id, count in numbers.items():
        client = Terminal()
        await monitor.attach(task_id, client.fd, Sink(stdin=True, stdout=False))
        await client.send(b"\n")
        ended = await exit_of(monitor, task_id)
        assert (ended.code, ended.lost) == (6, False)
        expected = b"".join(b"%d\n" % number for number in range(1, count + 1))
        assert lab.log(task_id, 1) == expected
        client.close()


async def test_calls_wait_while_the_supervisor_is_replaced(lab, monitor, client):
    await monitor.create(lab.container("c1", "cat", open_stdin=True, stdin_once=True))
    await monitor.start("c1")
    attachment = await monitor.attach("c1", client.fd, Sink(stdin=True))
    os.kill(monitor.supervisor_pid, signal.SIGKILL)
    assert await attachment.ended() == "gone"
    again = await monitor.attach("c1", client.fd, Sink(stdin=True))
    await client.send(b"after")
    client.end_input()
    assert (await exit_of(monitor, "c1")).code == 0
    assert await again.ended() == "eof"
    assert lab.log("c1") == b"after"


async def test_a_start_does_not_overtake_the_create_that_waits_for_a_supervisor(lab, monitor):
    old = monitor.supervisor_pid
    os.kill(old, signal.SIGKILL)
    await until(lambda: not monitor._ready.is_set())

    async def start_at_once() -> None:
        await monitor._ready.wait()
        await monitor.start("t1")

    starting = asyncio.ensure_future(start_at_once())
    await asyncio.sleep(0)  # it waits before the create does
    await asyncio.gather(monitor.create(lab.task("t1", "true")), starting)
    assert (await exit_of(monitor, "t1")).code == 0


async def test_a_signal_that_ended_an_adopted_task_is_known(lab, monitor):
    await monitor.create(lab.container("c1", "sleep", "1000"))
    await monitor.start("c1")
    old = monitor.supervisor_pid
    os.kill(old, signal.SIGKILL)
    await until(lambda: monitor.supervisor_pid != old)
    await monitor.signal("c1", signal.SIGKILL)
    ended = await exit_of(monitor, "c1")
    assert (ended.code, ended.lost) == (137, False)


async def test_the_supervisor_is_a_good_citizen(lab, monitor):
    pid = monitor.supervisor_pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) == pid
    links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)}
    assert links == {"/dev/null"}
    assert (lab.exec_root / "supervisor.sock").stat().st_mode & 0o777 == 0o600


async def test_two_starts_make_one_supervisor(lab):
    first, second = await asyncio.gather(lab.monitor(), lab.monitor())
    assert first.supervisor_pid == second.supervisor_pid


async def test_a_full_disk_drops_output_but_neither_blocks_nor_ends_anything(lab, monitor, client):
    place = lab.directory / "t1" / "log"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "pnt", str(place)], check=True)
    try:
        # In pieces: only clients that keep up get what the log cannot take.
        pieces = "i=0; while [ $i -lt 100 ]; do seq $((i*1000+1)) $((i*1000+1000)); i=$((i+1)); "
        script = pieces + "sleep 0.01; done; read x; seq 1 10"
        attachment = await monitor.attach("t1", client.fd, Sink(stdin=True), pending=True)
        await monitor.create(lab.task("t1", "sh", "-c", script, open_stdin=True))
        reading = asyncio.create_task(client.receive_all())
        await monitor.start("t1")
        report = lab.exec_root / "supervisor.log"
        payload = sum(len(b"%d\n" % number) for number in range(1, 100001))
        await until(lambda: len(client.received) > payload, "the whole output")
        await until(lambda: client.received.endswith(b"0\n"), "its last line")
        assert report.read_text().count("output is being dropped") == 1
        kept = lab.log("t1")
        (place / "000001.out").open("r+").truncate(0)
        await client.send(b"\n")
        assert (await exit_of(monitor, "t1")).code == 0
        expected = b"".join(b"%d\n" % number for number in [*range(1, 100001), *range(1, 11)])
        assert unframed(await reading)[1] == expected
        assert expected.startswith(kept)
        assert len(kept) > 100_000
        assert "the log is being written again" in report.read_text()
        assert await attachment.ended() == "eof"
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_daemon_that_is_killed_takes_neither_tasks_nor_clients_with_it(lab, client):
    spec = lab.task("t1", "cat", open_stdin=True, stdin_once=True)
    message = json.dumps(dataclasses.asdict(spec))
    daemon = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        DAEMON,
        str(lab.exec_root),
        message,
        str(client.fd),
        pass_fds=[client.fd],
        stdout=asyncio.subprocess.PIPE,
    )
    assert await daemon.stdout.readline() == b"started\n"
    daemon.kill()
    await daemon.wait()
    client.theirs.close()
    following = await lab.monitor()
    assert [(task.id, task.exit) for task in await following.connect()] == [("t1", None)]
    await client.send(b"still served")
    client.end_input()
    assert (await exit_of(following, "t1")).code == 0
    assert unframed(await client.receive_all())[1] == b"still served"


async def test_tasks_get_the_limits_and_the_umask_of_who_started_the_supervisor(lab, monitor):
    await run(monitor, lab.task("t1", "sh", "-c", "umask; ulimit -n"))
    umask, limit = lab.log("t1").split()
    assert umask == b"0022"
    assert int(limit) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def slowed(spec: TaskSpec, seconds: float) -> TaskSpec:
    """A runtime that takes its time."""
    return dataclasses.replace(
        spec, argv=["sh", "-c", f'sleep {seconds}; exec "$@"', "sh", *spec.argv]
    )


async def test_a_hello_waits_for_a_container_that_is_just_being_made(lab, monitor):
    slow = slowed(lab.container("c1", "sleep", "1000"), 0.5)
    making = asyncio.ensure_future(monitor.create(slow))
    await asyncio.sleep(0.1)  # the request is on its way
    newer = await lab.monitor()
    found = {task.id: task for task in await newer.connect()}
    assert (found["c1"].exit, found["c1"].started) == (None, False)
    with pytest.raises(Unavailable):
        await making
    await newer.forget("c1", kill=True)
    await until(lambda: not Path(f"/proc/{found['c1'].pid}").exists(), "the end")


async def test_a_hello_does_not_wait_for_execs(lab, monitor):
    await monitor.create(lab.container("c1", "sleep", "1000"))
    await monitor.start("c1")
    slow = slowed(lab.exec_of("c1", "e1", "sleep", "1000"), 1.5)
    making = asyncio.ensure_future(monitor.create(slow))
    await asyncio.sleep(0.1)
    newer = await lab.monitor()
    assert [task.id for task in await newer.connect()] == ["c1"]
    with pytest.raises(Unavailable):
        await making
    # once it is there it is told, so that it can be handed on
    await until(lambda: "e1" in newer._tasks, "the news of the exec")
    await newer.forget("e1", kill=True)


async def test_a_supervisor_that_dies_while_it_is_replaced_is_replaced_again(lab, monitor):
    await monitor.create(lab.task("t1", "sh", "-c", "read x; exit 6", open_stdin=True))
    await monitor.start("t1")
    seen = set()
    for _ in range(3):
        old = monitor.supervisor_pid
        seen.add(old)
        os.kill(old, signal.SIGKILL)
        await until(lambda old=old: monitor.supervisor_pid != old, "another supervisor")
        os.kill(monitor.supervisor_pid, signal.SIGKILL)  # in the midst of taking over
    await monitor.signal("t1", signal.SIGTERM)
    assert (await exit_of(monitor, "t1")).code == 143
    await monitor.create(lab.task("t2", "true"))


async def test_a_start_that_a_dead_supervisor_had_begun_is_finished(lab, monitor):
    spec = lab.container("c1", "sh", "-c", "exit 7")
    await monitor.create(spec)
    fifo = Path(spec.start_fifo)
    await until(lambda: fifo.exists(), "the fifo")
    fifo.rename(f"{fifo}.starting")  # what one that dies before the byte leaves
    old = monitor.supervisor_pid
    os.kill(old, signal.SIGKILL)
    await until(lambda: monitor.supervisor_pid != old, "another supervisor")
    await monitor.start("c1")
    assert (await exit_of(monitor, "c1")).code == 7
