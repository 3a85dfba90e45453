import asyncio
import signal
import socket

import msgspec
import pytest

from pinnace.contracts.monitor import Exit, TaskSpec
from pinnace.engine.containers.execs import ExecService
from pinnace.engine.containers.health import (
    ExecProber,
    HealthService,
    ProbeResult,
    go_duration,
    initial_health,
    judge,
    next_probe_ns,
    probe_command,
)
from pinnace.errors import RuntimeFailure
from pinnace.model.container import ContainerConfig, Health, HealthConfig, HealthResult
from pinnace.testing.lookup import FakeContainers, SeenEvents, a_container

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def checked(*test, status="running", shell=None, **config):
    container = a_container(
        status=status,
        config=ContainerConfig(
            image="busybox",
            shell=shell,
            healthcheck=HealthConfig(test=list(test or ("CMD", "probe")), **config),
        ),
    )
    state = msgspec.structs.replace(container.state, started_ns=START)
    return msgspec.structs.replace(container, state=state)


def result(code):
    return HealthResult(start="", end="", exit_code=code, output="")


def after(codes, *, since_start_ns=0, **config):
    health = Health(log=[])
    for code in codes:
        health = judge(health, result(code), HealthConfig(**config), since_start_ns=since_start_ns)
    return health


@pytest.mark.parametrize(
    ("test", "command"),
    [
        (["CMD", "curl", "x"], ["curl", "x"]),
        (["CMD-SHELL", "curl x"], ["/bin/sh", "-c", "curl x"]),
        (["NONE"], None),
        (["CMD"], None),
        (["WHAT", "x"], None),
    ],
)
def test_the_command_follows_the_kind_of_the_test(test, command):
    assert probe_command(checked(*test)) == command


def test_the_images_shell_runs_shell_probes():
    assert probe_command(checked("CMD-SHELL", "x", shell=["bash", "-ec"])) == ["bash", "-ec", "x"]


def test_a_container_without_a_check_has_no_health():
    assert initial_health(a_container()) is None
    assert initial_health(checked()) == Health(status="starting", log=[])


def test_one_success_makes_it_healthy():
    assert (after([1, 1, 0]).status, after([1, 1, 0]).failing_streak) == ("healthy", 0)


def test_three_failures_in_a_row_make_it_unhealthy_by_default():
    assert after([1, 1]).status == "starting"
    assert after([1, 1, 1]).status == "unhealthy"
    assert after([0, 1, 1]).status == "healthy"
    assert after([1], retries=1).status == "unhealthy"


def test_failures_within_the_start_period_do_not_count():
    early = {"start_period": 10 * SECOND, "since_start_ns": 9 * SECOND}
    assert after([1, 1, 1, 1], **early).failing_streak == 0
    assert after([0, 1], **early).failing_streak == 1  # once healthy they do
    assert after([1], start_period=SECOND, since_start_ns=SECOND).failing_streak == 1


def test_the_newest_five_results_are_kept():
    assert [r.exit_code for r in after([1, 2, 3, 4, 5, 6]).log] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("since", "status", "wait"),
    [
        (0, "starting", 2),  # the start interval
        (0, "healthy", 20),  # as usual once it succeeded
        (29, "starting", 1),  # right after the start period
        (15, "healthy", 15),
        (30, "starting", 20),
    ],
)
def test_probes_come_more_often_while_it_starts(since, status, wait):
    config = HealthConfig(
        interval=20 * SECOND, start_period=30 * SECOND, start_interval=2 * SECOND
    )
    health = Health(status=status)
    assert next_probe_ns(health, config, since_start_ns=since * SECOND) == wait * SECOND


def test_defaults_are_dockers():
    assert next_probe_ns(Health(), HealthConfig(), since_start_ns=0) == 30 * SECOND
    config = HealthConfig(start_period=60 * SECOND)
    assert next_probe_ns(Health(), config, since_start_ns=0) == 5 * SECOND


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0s"),
        (20, "20ns"),
        (1500, "1.5µs"),
        (500_000_000, "500ms"),
        (1_500_000_000, "1.5s"),
        (30 * SECOND, "30s"),
        (60 * SECOND, "1m0s"),
        (3601 * SECOND, "1h0m1s"),
    ],
)
def test_durations_print_as_in_go(duration, text):
    assert go_duration(duration) == text


class FakeClock:
    def __init__(self):
        self.now = START
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += int(seconds * SECOND)
        await asyncio.sleep(0)


class Probes:
    """Answers probes from a list; stops the container after the last."""

    def __init__(self, setting, answers):
        self.setting, self.answers = setting, list(answers)

    async def probe(self, container, command, timeout_ns):
        answer = self.answers.pop(0)
        if not self.answers:
            self.setting.last_probe()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Setting:
    def __init__(self, container, answers):
        self.container = container
        self.containers, self.events, self.clock = (
            FakeContainers(container),
            SeenEvents(),
            FakeClock(),
        )
        self.seen = []
        self.stopping = False
        self.service = HealthService(
            self.containers,
            Probes(self, answers),
            self.update,
            self.events,
            now_ns=lambda: self.clock.now,
            sleep=self.clock.sleep,
        )

    async def update(self, container_id, health):
        self.seen.append(health)
        record = self.containers.by_id(container_id)
        status = "exited" if self.stopping else record.state.status
        state = msgspec.structs.replace(record.state, health=health, status=status)
        self.containers.put(msgspec.structs.replace(record, state=state))

    def last_probe(self):
        self.stopping = True


async def test_a_container_is_probed_until_it_stops():
    one = Setting(
        checked(interval=10 * SECOND, retries=2), [ProbeResult(n, "") for n in (0, 1, 1, 0)]
    )
    await one.service.run(one.container.id)
    assert [health.status for health in one.seen] == ["healthy", "healthy", "unhealthy", "healthy"]
    assert one.events.actions == [
        "health_status: healthy",
        "health_status: unhealthy",
        "health_status: healthy",
    ]
    assert one.clock.slept == [10, 10, 10, 10]
    assert one.seen[0].log[0].start == "2023-11-14T22:13:30Z"


async def test_a_probe_that_cannot_run_counts_as_failed():
    one = Setting(checked(retries=1), [RuntimeFailure("no such program")])
    await one.service.run(one.container.id)
    assert one.seen[0].status == "unhealthy"
    assert (one.seen[0].log[0].exit_code, one.seen[0].log[0].output) == (-1, "no such program")


async def test_a_paused_container_is_not_probed():
    one = Setting(checked(), [ProbeResult(0, "")])
    one.containers.set_status(one.container.id, "paused")
    rounds = 0

    async def sleep(seconds):
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            one.containers.set_status(one.container.id, "exited")

    one.service._sleep = sleep
    await one.service.run(one.container.id)
    assert (rounds, one.seen) == (3, [])


async def test_a_result_of_an_earlier_run_is_dropped():
    one = Setting(checked(), [ProbeResult(0, "")])

    one.last_probe = lambda: _restart(one)
    await one.service.run(one.container.id)
    assert one.seen == []


def _restart(one):
    record = one.containers.by_id(one.container.id)
    state = msgspec.structs.replace(record.state, started_ns=START + 1)
    one.containers.put(msgspec.structs.replace(record, state=state))

    async def sleep(seconds):
        one.containers.set_status(one.container.id, "exited")

    one.service._sleep = sleep


async def test_watching_again_replaces_the_task_and_close_ends_it():
    one = Setting(checked(), [])
    forever = asyncio.Event()
    asleep = asyncio.Event()

    async def sleep(seconds):
        asleep.set()
        await forever.wait()

    one.service._sleep = sleep
    one.service.watch(one.container)
    one.service.watch(one.container)
    await asleep.wait()
    assert len(one.service._tasks) == 1
    await one.service.close()
    await asyncio.sleep(0)
    assert one.service._tasks == {}
    one.service.stop(one.container.id)


async def test_a_container_without_a_check_gets_no_task():
    container = a_container()
    service = HealthService(FakeContainers(container), None, None, SeenEvents())
    service.watch(container)
    assert service._tasks == {}


class ProbeTasks:
    """Monitor and runtime of one exec that prints and ends as the test says."""

    def __init__(self, output=b"", code=0, failure=None):
        self.output, self.code, self.failure = output, code, failure
        self.signals, self.execs = [], None
        self.ended_event = asyncio.Event()

    async def exec_task(self, container, exec_id, config, *, open_stdin, console_size):
        self.config = config
        return TaskSpec(id=exec_id, argv=(), env={}, pid_file="", exit_file="")

    async def release(self, container_id, exec_id):
        pass

    async def attach(self, task_id, client, sink, *, pending=False):
        self.client = socket.socket(fileno=socket.dup(client))
        return self

    async def ended(self):
        await self.ended_event.wait()
        return "eof"

    async def cancel(self):
        self.client.close()

    async def create(self, spec):
        if self.failure:
            raise self.failure
        self.client.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(self.client, self.output)
        if self.code is not None:
            await self.exit(spec.id, self.code)
        return 77

    async def exit(self, exec_id, code):
        await self.execs.on_exit(Exit(exec_id, code, 1))
        self.client.close()
        self.ended_event.set()

    async def signal(self, task_id, number):
        self.signals.append(number)
        await self.exit(task_id, 137)

    async def forget(self, task_id):
        pass


async def probe(tasks, timeout_ns=30 * SECOND):
    container = checked()
    execs = tasks.execs = ExecService(FakeContainers(container), tasks, tasks, SeenEvents())
    return await ExecProber(execs).probe(container, ["probe", "me"], timeout_ns)


async def test_a_probes_code_and_output_are_taken():
    tasks = ProbeTasks(b"all well\n", 0)
    assert await probe(tasks) == ProbeResult(0, "all well\n")
    assert tasks.config.cmd == ["probe", "me"]


async def test_output_is_cut_at_four_kilobytes():
    probed = await probe(ProbeTasks(b"x" * 500_000, 1))
    assert probed == ProbeResult(1, "x" * 4096 + "...")


async def test_bytes_that_are_no_text_are_replaced():
    assert (await probe(ProbeTasks(b"\xff\n"))).output == "\ufffd\n"


async def test_a_probe_that_takes_too_long_is_killed():
    tasks = ProbeTasks(b"still at it", None)
    probed = await probe(tasks, timeout_ns=10_000_000)
    assert probed == ProbeResult(-1, "Health check exceeded timeout (10ms): still at it")
    assert tasks.signals == [signal.SIGKILL]


async def test_a_probe_whose_command_is_missing_fails_with_dockers_text():
    tasks = ProbeTasks(failure=RuntimeFailure("executable file `probe` not found in $PATH"))
    with pytest.raises(Exception, match="executable file not found"):
        await probe(tasks)


async def test_cancelling_a_probe_kills_it():
    tasks = ProbeTasks(b"", None)
    running = asyncio.create_task(probe(tasks))
    while not hasattr(tasks, "client"):
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert tasks.signals == [signal.SIGKILL]


async def test_probing_a_container_that_is_gone_ends():
    service = HealthService(FakeContainers(), None, None, SeenEvents())
    await service.run("f" * 64)
