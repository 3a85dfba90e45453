"""The promises of `Monitor`, kept by the fake and by the supervisor."""

import asyncio
import signal
import socket

import pytest
from tests.support import cgroups
from tests.support.tasks import Lab, Terminal, unframed

from pinnace.contracts.monitor import Sink, TaskSpec
from pinnace.errors import AlreadyExists, Conflict, InvalidParameter, NotFound, RuntimeFailure
from pinnace.testing.monitor import FakeMonitor, Program


class FakeHarness:
    """Tasks of the fake that behave like those of the stub."""

    def __init__(self, directory):
        self.lab = Lab(directory)
        self.monitor = FakeMonitor()

    def talking(self, name, text, code, **options) -> TaskSpec:
        self.monitor.programs[name] = Program([(1, text)], code)
        return self.lab.task(name, "unused", **options)

    def chatting(self, name, *pieces) -> TaskSpec:
        self.monitor.programs[name] = Program(list(pieces), 0)
        return self.lab.task(name, "unused")

    def sleeping(self, name, **options) -> TaskSpec:
        return self.lab.task(name, "unused", **options)

    def echoing(self, name, **options) -> TaskSpec:
        self.monitor.programs[name] = Program(echoes=True)
        return self.lab.task(name, "unused", open_stdin=True, **options)

    def failing(self, name, words) -> TaskSpec:
        self.monitor.programs[name] = Program(failure=f"stub: {words}")
        return self.lab.task(name, "unused")


class RealHarness:
    """Tasks of the stub runtime, and of crun where a terminal is wanted."""

    def __init__(self, lab, monitor):
        self.lab = lab
        self.monitor = monitor

    def talking(self, name, text, code, **options) -> TaskSpec:
        return self.lab.task(
            name, "sh", "-c", f"printf %s '{text.decode()}'; exit {code}", **options
        )

    def chatting(self, name, *pieces) -> TaskSpec:
        script = "; ".join(f"printf %s '{text.decode()}' >&{stream}" for stream, text in pieces)
        return self.lab.task(name, "sh", "-c", script)

    def sleeping(self, name, **options) -> TaskSpec:
        if options.get("terminal"):
            return self.lab.container(name, "sleep", "1000", **options)
        return self.lab.task(name, "sleep", "1000", **options)

    def echoing(self, name, **options) -> TaskSpec:
        if options.get("terminal"):
            return self.lab.container(name, "cat", open_stdin=True, **options)
        return self.lab.task(name, "cat", open_stdin=True, **options)

    def failing(self, name, words) -> TaskSpec:
        return self.lab.task(name, words, kind="fail")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
async def harness(request, tmp_path):
    if request.param == "fake":
        yield FakeHarness(tmp_path)
        return
    cgroups.prepare()
    lab = Lab(tmp_path)
    try:
        yield RealHarness(lab, await lab.monitor())
    finally:
        await lab.close()


@pytest.fixture
def monitor(harness):
    return harness.monitor


@pytest.fixture
def client():
    made = Terminal()
    yield made
    made.close()


async def next_exit(monitor):
    async with asyncio.timeout(30):
        return await anext(monitor.exits())


async def test_a_started_task_runs_and_its_exit_is_told(harness, monitor):
    assert await monitor.create(harness.talking("t1", b"hello", 7)) > 1
    await monitor.start("t1")
    ended = await next_exit(monitor)
    assert (ended.id, ended.code, ended.oom_killed, ended.lost) == ("t1", 7, False, False)
    assert harness.lab.log("t1") == b"hello"
    assert harness.lab.record("t1")["code"] == 7


async def test_an_exec_runs_at_once_and_reaches_who_waited_for_it(harness, monitor, client):
    attachment = await monitor.attach("e1", client.fd, Sink(), pending=True)
    await monitor.create(harness.talking("e1", b"inside", 0, kind="exec"))
    assert unframed(await client.receive_all())[1] == b"inside"
    assert await attachment.ended() == "eof"
    assert (await next_exit(monitor)).id == "e1"


async def test_a_failing_runtime_is_told_in_its_words(harness, monitor):
    with pytest.raises(RuntimeFailure, match=r"^stub: no way$"):
        await monitor.create(harness.failing("t1", "no way"))
    with pytest.raises(NotFound):
        await monitor.start("t1")


async def test_an_id_is_taken_until_it_is_forgotten(harness, monitor):
    await monitor.create(harness.talking("t1", b"", 0))
    with pytest.raises(AlreadyExists):
        await monitor.create(harness.talking("t1", b"", 0))
    await monitor.start("t1")
    await next_exit(monitor)
    await monitor.forget("t1")
    await monitor.create(harness.talking("t1", b"", 0))


async def test_unknown_tasks_are_not_found(monitor, client):
    with pytest.raises(NotFound):
        await monitor.start("t1")
    with pytest.raises(NotFound):
        await monitor.signal("t1", signal.SIGTERM)
    with pytest.raises(NotFound):
        await monitor.resize("t1", height=1, width=1)
    with pytest.raises(NotFound):
        await monitor.watch("t1")
    with pytest.raises(NotFound):
        await monitor.attach("t1", client.fd, Sink())
    await monitor.forget("t1")


async def test_a_signal_ends_a_task_and_none_reaches_it_after(harness, monitor):
    await monitor.create(harness.sleeping("t1"))
    await monitor.start("t1")
    await monitor.signal("t1", signal.SIGKILL)
    assert (await next_exit(monitor)).code == 137
    with pytest.raises(NotFound):
        await monitor.signal("t1", signal.SIGKILL)


async def test_a_running_task_is_not_forgotten(harness, monitor):
    await monitor.create(harness.sleeping("t1"))
    await monitor.start("t1")
    with pytest.raises(Conflict):
        await monitor.forget("t1")


async def test_a_running_task_is_killed_and_forgotten_without_an_exit_if_asked(harness, monitor):
    await monitor.create(harness.sleeping("t1"))
    await monitor.start("t1")
    await monitor.forget("t1", kill=True)
    assert "t1" not in [task.id for task in await monitor.connect()]
    await monitor.create(harness.talking("t2", b"", 0))
    await monitor.start("t2")
    assert (await next_exit(monitor)).id == "t2"


async def test_an_exit_nobody_took_is_not_told_after_forgetting(harness, monitor):
    for task in ("t1", "t2"):
        await monitor.create(harness.talking(task, b"", 0))
    await monitor.start("t1")
    while next(t for t in await monitor.connect() if t.id == "t1").exit is None:
        await asyncio.sleep(0.01)
    await monitor.forget("t1")
    await monitor.start("t2")
    assert (await next_exit(monitor)).id == "t2"


async def test_a_task_that_never_started_is_forgotten_without_an_exit(harness, monitor):
    await monitor.create(harness.sleeping("t1"))
    await monitor.forget("t1")
    assert "t1" not in [task.id for task in await monitor.connect()]
    await monitor.create(harness.talking("t2", b"", 0))
    await monitor.start("t2")
    assert (await next_exit(monitor)).id == "t2"


async def test_only_terminals_have_a_size(harness, monitor):
    await monitor.create(harness.sleeping("t1"))
    with pytest.raises(InvalidParameter):
        await monitor.resize("t1", height=24, width=80)
    await monitor.create(harness.sleeping("t2", terminal=True))
    await monitor.resize("t2", height=24, width=80)


async def test_typed_bytes_and_the_end_of_input_reach_the_task(harness, monitor, client):
    sink = Sink(stdin=True, early=b"early ")
    attachment = await monitor.attach("t1", client.fd, sink, pending=True)
    await monitor.create(harness.echoing("t1", stdin_once=True))
    await monitor.start("t1")
    await client.send(b"late")
    client.end_input()
    assert (await next_exit(monitor)).code == 0
    assert unframed(await client.receive_all())[1] == b"early late"
    assert await attachment.ended() == "eof"


async def test_detach_keys_end_the_attachment_and_not_the_task(harness, monitor, client):
    sink = Sink(stdin=True, framed=False, detach_keys=b"\x10\x11")
    attachment = await monitor.attach("t1", client.fd, sink, pending=True)
    await monitor.create(harness.echoing("t1", terminal=True))
    await monitor.start("t1")
    await client.send(b"\x10")
    await client.send(b"\x11")
    assert await attachment.ended() == "detached"
    await monitor.signal("t1", signal.SIGKILL)
    assert (await next_exit(monitor)).code == 137


async def test_a_replay_comes_before_what_is_new(harness, monitor, client):
    await monitor.create(harness.echoing("t1", stdin_once=True))
    await monitor.start("t1")
    first = Terminal()
    await monitor.attach("t1", first.fd, Sink(stdin=True))
    await first.send(b"old ")
    await first.receive_until(b"old ")
    attachment = await monitor.attach("t1", client.fd, Sink(replay=True))
    await first.send(b"new")
    first.end_input()
    assert unframed(await client.receive_all())[1] == b"old new"
    assert await attachment.ended() == "eof"
    first.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_replay_can_give_one_stream_after_the_other(harness, monitor, client, stream):
    pieces = [(1, b"one "), (2, b"three "), (1, b"two "), (2, b"four")]
    await monitor.create(harness.chatting("t1", *pieces))
    await monitor.start("t1")
    await next_exit(monitor)
    sink = Sink(framed=False, replay=True, stream=stream, stream_by_stream=True)
    attachment = await monitor.attach("t1", client.fd, sink)
    assert await client.receive_all() == b"one two three four"
    assert await attachment.ended() == "eof"


async def test_without_a_replay_nothing_old_is_sent(harness, monitor, client):
    await monitor.create(harness.echoing("t1", stdin_once=True))
    await monitor.start("t1")
    first = Terminal()
    await monitor.attach("t1", first.fd, Sink(stdin=True))
    await first.send(b"old")
    await first.receive_until(b"old")
    await monitor.attach("t1", client.fd, Sink())
    await first.send(b"new")
    first.end_input()
    assert unframed(await client.receive_all())[1] == b"new"
    first.close()


async def test_a_client_that_waits_is_gone_when_the_task_is_forgotten(monitor, client):
    attachment = await monitor.attach("t1", client.fd, Sink(), pending=True)
    await monitor.forget("t1")
    assert await attachment.ended() == "gone"
    client.theirs.send(b"still open")
    await client.receive_until(b"still open")


async def test_a_cancelled_attachment_is_gone(harness, monitor, client):
    await monitor.create(harness.sleeping("t1"))
    attachment = await monitor.attach("t1", client.fd, Sink())
    await attachment.cancel()
    assert await attachment.ended() == "gone"
    await attachment.cancel()


async def test_a_watcher_wakes_for_output_and_sees_the_end(harness, monitor, client):
    await monitor.create(harness.echoing("t1", stdin_once=True))
    await monitor.start("t1")
    watcher = socket.socket(fileno=await monitor.watch("t1"))
    watcher.setblocking(False)
    await monitor.attach("t1", client.fd, Sink(stdin=True))
    await client.send(b"x")
    loop = asyncio.get_running_loop()
    assert await loop.sock_recv(watcher, 100) == b"\0"
    client.end_input()
    assert await loop.sock_recv(watcher, 100) == b""
    watcher.close()


async def test_tasks_are_listed_with_how_they_ended(harness, monitor):
    await monitor.create(harness.sleeping("t1"))
    await monitor.create(harness.talking("t2", b"", 3))
    await monitor.start("t2")
    await next_exit(monitor)
    statuses = {task.id: task for task in await monitor.connect()}
    assert statuses["t1"].exit is None
    assert statuses["t2"].exit is not None
    assert statuses["t2"].exit.code == 3


async def test_closing_ends_the_exits(harness, monitor):
    await monitor.close()
    async with asyncio.timeout(10):
        assert [ended async for ended in monitor.exits()] == []


async def test_a_start_may_be_asked_for_while_the_task_is_being_made(harness, monitor):
    spec = harness.talking("t", b"early", 0)
    creating = asyncio.ensure_future(monitor.create(spec))
    await asyncio.sleep(0)
    await asyncio.gather(creating, monitor.start("t"))
    async for ended in monitor.exits():
        assert (ended.id, ended.code) == ("t", 0)
        break
