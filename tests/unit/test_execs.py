import asyncio
import socket

import pytest

from pinnace.contracts.monitor import Exit, TaskSpec
from pinnace.engine.containers.execs import MAX_ENDED, ExecService, ExecStartParams
from pinnace.engine.containers.hijacked import frame
from pinnace.errors import (
    Conflict,
    ContainerNotFound,
    ExecNotFound,
    InvalidParameter,
    NotFound,
    RuntimeFailure,
    StartFailed,
    Unavailable,
)
from pinnace.model.exec import ExecConfig
from pinnace.testing.lookup import FakeContainers, SeenEvents, a_container


class Attached:
    def __init__(self, client, sink):
        self.client, self.sink = client, sink
        self.how = asyncio.get_running_loop().create_future()
        self.cancelled = False

    async def ended(self):
        return await self.how

    async def cancel(self):
        self.cancelled = True


class Tasks:
    """The part of the monitor that execs need, in one place with the runtime's part."""

    def __init__(self):
        self.steps = []
        self.attached = None
        self.created = asyncio.Event()
        self.failure = None
        self.specs = []
        self.gone = False

    async def exec_task(self, container, exec_id, config, *, open_stdin, console_size):
        self.specs.append((open_stdin, console_size))
        return TaskSpec(id=exec_id, argv=("crun",), env={}, pid_file="p", exit_file="e")

    async def release(self, container_id, exec_id):
        self.steps.append("release")

    async def attach(self, task_id, client, sink, *, pending=False):
        self.steps.append("attach" if pending else "attach to a known task")
        self.attached = Attached(client, sink)
        return self.attached

    async def create(self, spec):
        self.steps.append("create")
        if self.failure:
            raise self.failure
        self.created.set()
        return 4242

    async def forget(self, task_id):
        self.steps.append("forget")

    async def resize(self, task_id, *, height, width):
        self.steps.append(f"resize {height} {width}")

    async def signal(self, task_id, signal):
        if self.gone:
            raise NotFound(task_id)
        if signal:
            self.steps.append(f"signal {signal}")


class Setting:
    def __init__(self):
        self.container = a_container()
        self.containers = FakeContainers(self.container)
        self.tasks, self.events = Tasks(), SeenEvents()
        self.execs = ExecService(self.containers, self.tasks, self.tasks, self.events)

    async def create(self, *cmd, **config):
        config.setdefault("attach_stdout", True)
        return await self.execs.create("web", ExecConfig(cmd=list(cmd) or ["true"], **config))


@pytest.fixture
def one():
    return Setting()


@pytest.fixture
def client():
    ours, daemons = socket.socketpair()
    ours.settimeout(5)
    yield ours, daemons
    ours.close()
    daemons.close()


async def test_an_exec_is_created_without_running(one):
    exec_id = await one.create("sh", "-c", "id", user="7", tty=True)
    shown = await one.execs.inspect(exec_id)
    assert (shown.running, shown.exit_code, shown.pid) == (False, None, 0)
    assert shown.process_config.entrypoint == "sh"
    assert shown.process_config.arguments == ["-c", "id"]
    assert shown.process_config.user == "7"
    assert one.events.actions == ["exec_create: sh -c id"]
    assert one.events.events[0].attributes["execID"] == exec_id
    assert one.execs.ids_of(one.container.id) == [exec_id]


async def test_a_detached_exec_runs_at_once_without_stdin(one):
    exec_id = await one.create(attach_stdin=True)
    assert await one.execs.start(exec_id, ExecStartParams(detach=True)) is None
    shown = await one.execs.inspect(exec_id)
    assert (shown.running, shown.pid) == (True, 4242)
    assert one.tasks.specs == [(False, None)]


async def test_an_attached_client_is_waiting_before_the_process_is_made(one, client):
    exec_id = await one.create(attach_stdin=True)
    plan = await one.execs.start(exec_id, ExecStartParams())
    run = asyncio.create_task(plan.run(client[1].fileno(), b"early"))
    await one.tasks.created.wait()
    assert one.tasks.steps == ["attach", "create"]
    sink = one.tasks.attached.sink
    assert (sink.stdin, sink.stdout, sink.stderr) == (True, True, False)
    assert (sink.framed, sink.early) == (True, b"early")
    await one.execs.on_exit(Exit(exec_id, 3, 1))
    assert not run.done()
    one.tasks.attached.how.set_result("eof")
    await run
    assert (await one.execs.inspect(exec_id)).exit_code == 3


async def test_the_end_is_told_and_everything_let_go(one):
    exec_id = await one.create("false")
    await one.execs.start(exec_id, ExecStartParams(detach=True))
    await one.execs.on_exit(Exit(exec_id, 1, 1))
    assert one.events.actions == ["exec_create: false ", "exec_start: false ", "exec_die"]
    assert one.events.events[-1].attributes["exitCode"] == "1"
    assert one.tasks.steps == ["create", "release", "forget"]
    assert one.execs.ids_of(one.container.id) == []
    assert await one.execs.wait(exec_id) == 1


async def test_an_exit_that_overtakes_the_start_is_kept(one):
    exec_id = await one.create()

    async def create_and_exit(spec):
        await one.execs.on_exit(Exit(spec.id, 9, 1))
        return 4242

    one.tasks.create = create_and_exit
    await one.execs.start(exec_id, ExecStartParams(detach=True))
    shown = await one.execs.inspect(exec_id)
    assert (shown.running, shown.exit_code, shown.pid) == (False, 9, 0)


@pytest.mark.parametrize(
    ("printed", "told", "code"),
    [
        (
            "executable file `nosuch` not found in $PATH: No such file or directory",
            'exec: "nosuch": executable file not found in $PATH: unknown',
            127,
        ),
        ("open executable: Permission denied", 'exec: "nosuch": permission denied: unknown', 126),
        (
            "chdir `/gone`: No such file or directory",
            'chdir to cwd ("") set in config.json failed: no such file or directory: unknown',
            126,
        ),
        ("the kernel is out of sorts", "exec failed: the kernel is out of sorts: unknown", 126),
    ],
)
async def test_a_command_that_cannot_run_is_told_to_the_client(one, client, printed, told, code):
    exec_id = await one.create("nosuch")
    one.tasks.failure = RuntimeFailure(printed)
    plan = await one.execs.start(exec_id, ExecStartParams())
    await plan.run(client[1].fileno())
    heard = client[0].recv(4096)
    assert heard[8:].startswith(b"OCI runtime exec failed: exec failed: ")
    assert heard.endswith(told.encode() + b"\r\n")
    assert heard[:8] == frame(1, heard[8:])[:8]
    assert one.tasks.attached.cancelled
    assert (await one.execs.inspect(exec_id)).exit_code == code
    assert await one.execs.wait(exec_id) == code


async def test_a_detached_command_that_cannot_run_fails_the_request(one):
    exec_id = await one.create("nosuch")
    one.tasks.failure = RuntimeFailure("executable file `nosuch` not found in $PATH")
    with pytest.raises(StartFailed) as caught:
        await one.execs.start(exec_id, ExecStartParams(detach=True))
    assert caught.value.exit_code == 127


async def test_an_exec_runs_only_once(one):
    exec_id = await one.create()
    await one.execs.start(exec_id, ExecStartParams(detach=True))
    with pytest.raises(Conflict, match=f"Exec command {exec_id} is already running"):
        await one.execs.start(exec_id, ExecStartParams())
    await one.execs.on_exit(Exit(exec_id, 0, 1))
    with pytest.raises(Conflict, match=f"Exec command {exec_id} has already run"):
        await one.execs.start(exec_id, ExecStartParams())


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("exited", "is not running"),
        ("created", "is not running"),
        ("paused", "is paused, unpause the container before exec"),
        ("restarting", "is restarting, wait until the container is running"),
    ],
)
async def test_only_a_running_container_has_execs(one, status, text):
    exec_id = await one.create()
    one.containers.set_status(one.container.id, status)
    with pytest.raises(Conflict, match=text):
        await one.create()
    with pytest.raises(Conflict, match=text):
        await one.execs.start(exec_id, ExecStartParams())


async def test_requests_that_cannot_be_meant_are_refused(one):
    with pytest.raises(InvalidParameter, match="No exec command specified"):
        await one.execs.create("web", ExecConfig())
    with pytest.raises(InvalidParameter, match="Invalid escape keys"):
        await one.create(detach_keys="ctrl-")
    with pytest.raises(ContainerNotFound):
        await one.execs.create("nobody", ExecConfig(cmd=["true"]))
    with pytest.raises(ExecNotFound, match="No such exec instance: nothing"):
        await one.execs.start("nothing", ExecStartParams())
    with pytest.raises(ExecNotFound):
        await one.execs.inspect("nothing")


async def test_the_terminal_gets_its_size_at_start(one, client):
    exec_id = await one.create(tty=True, console_size=[10, 20])
    plan = await one.execs.start(exec_id, ExecStartParams(tty=True, console_size=(30, 40)))
    assert not plan.content_framed
    run = asyncio.create_task(plan.run(client[1].fileno()))
    await one.tasks.created.wait()
    assert one.tasks.specs == [(False, (30, 40))]
    await one.execs.resize(exec_id, 5, 6)
    assert one.tasks.steps[-1] == "resize 5 6"
    one.tasks.attached.how.set_result("detached")
    await run
    assert one.events.actions[-1] == "exec_detach"


async def test_resize_waits_for_the_start(one):
    exec_id = await one.create(tty=True)
    resize = asyncio.create_task(one.execs.resize(exec_id, 5, 6))
    await asyncio.sleep(0)
    await one.execs.start(exec_id, ExecStartParams(detach=True, tty=True))
    await resize
    assert one.tasks.steps == ["create", "resize 5 6"]


async def test_resize_of_an_exec_that_is_never_started_gives_up(one, monkeypatch):
    monkeypatch.setattr("pinnace.engine.containers.execs.RESIZE_WAIT_S", 0.01)
    with pytest.raises(Unavailable, match="timeout waiting for exec session ready"):
        await one.execs.resize(await one.create(tty=True), 5, 6)


async def test_inspect_waits_for_an_exit_that_is_on_its_way(one):
    exec_id = await one.create()
    await one.execs.start(exec_id, ExecStartParams(detach=True))
    one.tasks.gone = True
    inspect = asyncio.create_task(one.execs.inspect(exec_id))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not inspect.done()
    await one.execs.on_exit(Exit(exec_id, 4, 1))
    assert (await inspect).exit_code == 4


async def test_a_cancelled_run_detaches_and_leaves_the_process(one, client):
    exec_id = await one.create()
    plan = await one.execs.start(exec_id, ExecStartParams())
    run = asyncio.create_task(plan.run(client[1].fileno()))
    await one.tasks.created.wait()
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert one.tasks.attached.cancelled
    assert (await one.execs.inspect(exec_id)).running


async def test_execs_go_with_their_container(one):
    exec_id = await one.create()
    waiting = asyncio.create_task(one.execs.wait(exec_id))
    await asyncio.sleep(0)
    one.execs.drop(one.container.id)
    with pytest.raises(ExecNotFound):
        await waiting
    assert not one.execs.owns(exec_id)


async def test_a_process_that_outlives_its_container_is_still_cleared_away(one):
    exec_id = await one.create()
    await one.execs.start(exec_id, ExecStartParams(detach=True))
    one.execs.drop(one.container.id)
    assert one.execs.owns(exec_id)
    await one.execs.on_exit(Exit(exec_id, 137, 1))
    assert one.tasks.steps == ["create", "release", "forget"]
    assert not one.execs.owns(exec_id)


async def test_an_unknown_exit_is_forgotten(one):
    await one.execs.on_exit(Exit("from-an-earlier-daemon", 0, 1))
    assert one.tasks.steps == ["forget"]


async def test_only_so_many_ended_execs_are_remembered(one):
    first = await one.create()
    for exec_id in [first] + [await one.create() for _ in range(MAX_ENDED)]:
        await one.execs.on_exit(Exit(exec_id, 0, 1))
    assert not one.execs.owns(first)
    assert len(one.execs._entries) == MAX_ENDED
