"""What keeps containers going and what ends them: restarts, health checks, stop, init."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import pinnaced
from tests.support.engine import remove_root
from tests.support.images import busybox_archive, tiny_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.engine import Engine

pytestmark = pytest.mark.root

DEADLINE_S = 60.0
FOREVER = "while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("k")
    with pinnaced.start(root) as started:
        started.load(busybox_archive())
        yield started
    remove_root(root)


@pytest.fixture(autouse=True)
def no_containers_left(engine: Engine) -> Iterator[None]:
    yield
    for one in engine.request("GET", "/containers/json", query={"all": "1"}).json():
        engine.request("DELETE", f"/containers/{one['Id']}", query={"force": "1", "v": "1"})


def start(
    engine: Engine,
    name: str,
    script: str,
    *options: str,
    image: str = "busybox",
    net: str = "none",
) -> None:
    words = ("run", "-d", f"--name={name}", f"--net={net}", *options, image, "sh", "-c", script)
    done = engine.cli(*words)
    assert done.returncode == 0, done.stderr


def inspect(engine: Engine, name: str) -> Any:
    return engine.request("GET", f"/containers/{name}/json").json()


def status(engine: Engine, name: str) -> str:
    return inspect(engine, name)["State"]["Status"]


def logs(engine: Engine, name: str) -> list[str]:
    return engine.cli("logs", name).stdout.decode().splitlines()


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.05)


# Restart policies


def test_a_failing_container_is_restarted_as_often_as_its_policy_says(engine):
    start(engine, "web", "echo run; exit 3", "--restart=on-failure:3")
    wait_until(lambda: status(engine, "web") == "exited", "the last exit")
    shown = inspect(engine, "web")
    assert (shown["RestartCount"], shown["State"]["ExitCode"]) == (3, 3)
    assert logs(engine, "web") == ["run"] * 4


def test_a_container_that_succeeds_is_not_restarted_on_failure(engine):
    start(engine, "web", "echo run", "--restart=on-failure:3")
    wait_until(lambda: status(engine, "web") == "exited", "the exit")
    assert (inspect(engine, "web")["RestartCount"], logs(engine, "web")) == (0, ["run"])


def test_a_container_is_always_restarted_until_it_is_stopped(engine):
    start(engine, "web", "echo run; exit 0", "--restart=always")
    wait_until(lambda: inspect(engine, "web")["RestartCount"] >= 2, "two restarts")
    assert engine.cli("stop", "-t", "0", "web").returncode == 0
    assert status(engine, "web") == "exited"
    count = inspect(engine, "web")["RestartCount"]
    time.sleep(1)  # longer than the delay of the next restart
    assert (status(engine, "web"), inspect(engine, "web")["RestartCount"]) == ("exited", count)


def test_a_crash_is_followed_by_a_restart_and_a_kill_is_not(engine):
    for name in ("crashed", "killed"):
        start(engine, name, FOREVER, "--restart=always")
    before = inspect(engine, "crashed")["State"]["Pid"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: inspect(engine, "crashed")["State"]["Pid"] not in {0, before}, "a new run")
    assert inspect(engine, "crashed")["RestartCount"] == 1
    engine.cli("kill", "killed")
    assert status(engine, "killed") == "exited"


def test_another_policy_counts_at_once(engine):
    start(engine, "web", "sleep 0.3; exit 1", "--restart=always")
    wait_until(lambda: inspect(engine, "web")["RestartCount"] >= 1, "a restart")
    assert engine.cli("update", "--restart=no", "web").returncode == 0
    wait_until(lambda: status(engine, "web") == "exited", "the last exit")


def test_a_restarting_container_can_be_removed(engine):
    start(engine, "web", "exit 1", "--restart=always")
    wait_until(lambda: inspect(engine, "web")["RestartCount"] >= 1, "a restart")
    assert engine.cli("rm", "-f", "web").returncode == 0
    assert engine.request("GET", "/containers/web/json").status == 404


@pytest.mark.parametrize("crash", [True, False], ids=["killed", "stopped"])
def test_a_new_daemon_does_what_the_policies_say(engine, crash):
    start(engine, "kept", FOREVER)
    start(engine, "ended", FOREVER)
    for name, policy in (
        ("always", "always"),
        ("always-ended", "always"),
        ("always-stopped", "always"),
        ("unless", "unless-stopped"),
        ("unless-ended", "unless-stopped"),
        ("unless-stopped", "unless-stopped"),
    ):
        start(engine, name, FOREVER, f"--restart={policy}")
    start(engine, "failure-ended", FOREVER, "--restart=on-failure:5")
    engine.cli("stop", "-t", "0", "always-stopped", "unless-stopped")
    same = ("kept", "always", "unless")
    pids = {name: inspect(engine, name)["State"]["Pid"] for name in same}
    ended = ("ended", "always-ended", "unless-ended", "failure-ended")
    doomed = [inspect(engine, name)["State"]["Pid"] for name in ended]
    if crash:
        engine.kill()
    else:
        engine.stop()
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    engine.launch()
    again = ("always-ended", "always-stopped", "unless-ended", "failure-ended")
    for name in again:
        wait_until(lambda name=name: status(engine, name) == "running", f"{name} runs")
    assert {name: inspect(engine, name)["State"]["Pid"] for name in same} == pids
    assert (status(engine, "unless-stopped"), status(engine, "ended")) == ("exited", "exited")
    assert inspect(engine, "ended")["State"]["ExitCode"] == 137
    # What was adopted is watched like everything else.
    assert engine.cli("stop", "-t", "0", "kept").returncode == 0
    assert inspect(engine, "kept")["State"]["ExitCode"] == 137


# Health checks

HEALTH = ("--health-cmd=test -f /ok", "--health-interval=200ms", "--health-retries=2")


def health(engine: Engine, name: str) -> Any:
    return inspect(engine, name)["State"]["Health"]


def test_health_goes_from_starting_through_unhealthy_to_healthy_with_events(engine):
    since = str(time.time())
    start(engine, "web", FOREVER, *HEALTH, "--health-timeout=30s")
    wait_until(lambda: health(engine, "web")["Status"] == "unhealthy", "unhealthy")
    shown = health(engine, "web")
    assert shown["FailingStreak"] >= 2
    assert {row["ExitCode"] for row in shown["Log"]} == {1}
    engine.cli("exec", "web", "touch", "/ok")
    wait_until(lambda: health(engine, "web")["Status"] == "healthy", "healthy")
    assert health(engine, "web")["FailingStreak"] == 0
    assert "(healthy)" in engine.cli("ps", "--format", "{{.Status}}").stdout.decode()
    query = {"since": since, "until": str(time.time() + 1)}
    events = engine.request("GET", "/events", query=query).body.splitlines()
    said = [one["Action"] for one in map(json.loads, events) if "health_status" in one["Action"]]
    assert said == ["health_status: unhealthy", "health_status: healthy"]


def test_failures_within_the_start_period_do_not_count(engine):
    start(engine, "web", FOREVER, *HEALTH, "--health-start-period=10m")
    wait_until(lambda: len(health(engine, "web")["Log"]) >= 3, "three results")
    assert (health(engine, "web")["Status"], health(engine, "web")["FailingStreak"]) == (
        "starting",
        0,
    )
    engine.cli("exec", "web", "touch", "/ok")
    wait_until(lambda: health(engine, "web")["Status"] == "healthy", "healthy")


def test_a_check_that_takes_too_long_fails_and_leaves_no_process(engine):
    options = ("--health-cmd=sleep 777", "--health-interval=100ms", "--health-timeout=300ms")
    start(engine, "web", "sleep 1000", *options, "--health-retries=1")
    wait_until(lambda: health(engine, "web")["Status"] == "unhealthy", "unhealthy")
    row = health(engine, "web")["Log"][0]
    assert (row["ExitCode"], "exceeded timeout (300ms)" in row["Output"]) == (-1, True)
    wait_until(lambda: len(health(engine, "web")["Log"]) >= 4, "four results")
    listing = engine.request("GET", "/containers/web/top").json()["Processes"]
    assert sum("sleep 777" in row[-1] for row in listing) <= 2  # the shell's and its own


def test_the_end_of_a_check_is_shown_and_long_output_is_cut(engine):
    script = "head -c 9000 /dev/zero | tr '\\0' x; echo over >&2; exit 7"
    start(engine, "web", FOREVER, f"--health-cmd={script}", "--health-interval=100ms")
    wait_until(lambda: health(engine, "web")["Log"], "a result")
    row = health(engine, "web")["Log"][0]
    assert row["ExitCode"] == 7
    assert row["Output"] == "x" * 4096 + "..."


def test_health_checks_of_the_image_run_and_can_be_turned_off(engine):
    check = {"Test": ["CMD", "true"], "Interval": 200_000_000}
    engine.load(tiny_image("healthy:1", config={"Healthcheck": check}))
    start(engine, "with", FOREVER, image="healthy:1")
    start(engine, "without", FOREVER, "--no-healthcheck", image="healthy:1")
    wait_until(lambda: health(engine, "with")["Status"] == "healthy", "healthy")
    assert "Health" not in inspect(engine, "without")["State"]


def test_health_checks_go_on_after_the_daemon_died(engine):
    start(engine, "web", FOREVER, *HEALTH)
    wait_until(lambda: health(engine, "web")["Status"] == "unhealthy", "unhealthy")
    engine.kill()
    engine.launch()
    assert health(engine, "web")["Status"] in {"starting", "unhealthy"}
    engine.cli("exec", "web", "touch", "/ok")
    wait_until(lambda: health(engine, "web")["Status"] == "healthy", "healthy")


# Stopping


def test_a_container_is_asked_to_end_with_its_own_signal(engine):
    script = f"trap 'echo asked; exit 7' USR1; echo up; {FOREVER}"
    engine.load(tiny_image("asks:1", config={"StopSignal": "SIGUSR1"}))
    for name, options, image in (
        ("option", ("--stop-signal=USR1",), "busybox"),
        ("image", (), "asks:1"),
    ):
        start(engine, name, script, *options, image=image)
        wait_until(lambda name=name: logs(engine, name) == ["up"], "up")
        assert engine.cli("stop", "-t", "50", name).returncode == 0
        assert inspect(engine, name)["State"]["ExitCode"] == 7
        assert logs(engine, name) == ["up", "asked"]


def test_a_container_that_does_not_listen_is_killed_after_its_time(engine):
    script = f"trap 'echo no' TERM; echo up; {FOREVER}"
    start(engine, "web", script, "--stop-timeout=1")
    wait_until(lambda: logs(engine, "web") == ["up"], "up")
    since = str(time.time())
    assert engine.cli("stop", "web").returncode == 0
    assert inspect(engine, "web")["State"]["ExitCode"] == 137
    assert logs(engine, "web") == ["up", "no"]
    query = {"since": since, "until": str(time.time() + 1)}
    events = map(json.loads, engine.request("GET", "/events", query=query).body.splitlines())
    mine = (one for one in events if one.get("Actor", {})["Attributes"].get("name") == "web")
    said = [one["Action"] for one in mine if one["Type"] == "container"]
    assert said == ["kill", "kill", "die", "stop"]


def test_kill_gets_through_while_stop_waits(engine):
    start(engine, "web", f"trap '' TERM; echo up; {FOREVER}")
    wait_until(lambda: logs(engine, "web") == ["up"], "up")
    environment = {**os.environ, "DOCKER_HOST": engine.host}
    stopping = subprocess.Popen(["docker", "stop", "-t", "500", "web"], env=environment)
    try:
        assert engine.cli("kill", "web").returncode == 0
        assert stopping.wait(DEADLINE_S) == 0
    finally:
        stopping.kill()
        stopping.wait()


def test_a_paused_container_can_be_stopped(engine):
    start(engine, "web", "exec sleep 1000")
    engine.cli("pause", "web")
    assert engine.cli("stop", "-t", "1", "web").returncode == 0
    assert inspect(engine, "web")["State"]["ExitCode"] in {137, 143}


# Processes


def test_an_init_program_reaps_orphans_and_passes_signals_on(engine):
    script = f"trap 'exit 9' TERM; (sleep 0.1 & sleep 0.1 &); echo up; {FOREVER}"
    start(engine, "web", script, "--init")
    wait_until(lambda: logs(engine, "web") == ["up"], "up")
    first = engine.cli("exec", "web", "cat", "/proc/1/comm").stdout
    assert first == b"docker-init\n"
    states = "for p in /proc/[0-9]*; do cut -d' ' -f3 $p/stat 2>/dev/null; done"
    wait_until(
        lambda: b"Z" not in engine.cli("exec", "web", "sh", "-c", states).stdout, "no zombies"
    )
    assert engine.cli("stop", "-t", "50", "web").returncode == 0
    assert inspect(engine, "web")["State"]["ExitCode"] == 9


def test_every_process_ends_with_the_first_one(engine):
    start(engine, "web", "sleep 31337 & (setsid sleep 31337 &); echo up; sleep 0.5")
    pid = inspect(engine, "web")["State"]["Pid"]
    assert pid
    assert engine.request("POST", "/containers/web/wait").json()["StatusCode"] == 0
    wait_until(lambda: not processes_named(b"sleep\x0031337\x00"), "nothing runs")


def processes_named(command: bytes) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read() == command:
                    found.append(pid)
        except OSError:
            continue
    return found


def test_the_supervisor_keeps_no_zombies(engine):
    for number in range(5):
        start(engine, f"short{number}", "exit 1")
    for number in range(5):
        engine.request("POST", f"/containers/short{number}/wait")

    def zombies() -> list[str]:
        mine = {p for p in filter(str.isdigit, os.listdir("/proc")) if belongs(p)}
        return [p for p in filter(str.isdigit, os.listdir("/proc")) if is_zombie_of(p, mine)]

    def belongs(pid: str) -> bool:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return str(engine.root).encode() in file.read()
        except OSError:
            return False

    def is_zombie_of(pid: str, parents: set[str]) -> bool:
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return False
        return fields[0] == "Z" and fields[1] in parents

    wait_until(lambda: not zombies(), "no zombies")


# Names inside


def test_names_inside_are_those_that_were_asked_for(engine):
    options = (
        *("--hostname=web", "--domainname=example.org", "--add-host=db:203.0.113.7"),
        *("--add-host=up:host-gateway", "--dns=203.0.113.53", "--dns-search=example.net"),
        "--dns-option=ndots:3",
    )
    script = f"cat /etc/hosts; echo; cat /etc/hostname; hostname; cat /etc/resolv.conf; {FOREVER}"
    start(engine, "web", script, *options, net="bridge")
    wait_until(lambda: any("ndots" in line for line in logs(engine, "web")), "the files")
    lines = [line.split("\t") for line in logs(engine, "web")]
    shown = inspect(engine, "web")["NetworkSettings"]["Networks"]["bridge"]
    assert ["127.0.0.1", "localhost"] in lines
    assert ["203.0.113.7", "db"] in lines
    assert [shown["Gateway"], "up"] in lines
    assert [shown["IPAddress"], "web.example.org web"] in lines
    text = "\n".join(logs(engine, "web")).partition("\n\n")[2].splitlines()
    assert text[:2] == ["web", "web"]
    assert {*text[2:]} >= {"nameserver 203.0.113.53", "search example.net", "options ndots:3"}


def test_the_names_are_written_anew_at_every_start_and_can_be_changed_meanwhile(engine):
    start(engine, "web", FOREVER, "--hostname=web", net="bridge")
    engine.cli("exec", "web", "sh", "-c", "echo 203.0.113.9 mine >> /etc/hosts")
    assert b"mine" in engine.cli("exec", "web", "cat", "/etc/hosts").stdout
    engine.cli("restart", "-t", "0", "web")
    hosts = engine.cli("exec", "web", "cat", "/etc/hosts").stdout.decode()
    address = inspect(engine, "web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert "mine" not in hosts
    assert f"{address}\tweb\n" in hosts
