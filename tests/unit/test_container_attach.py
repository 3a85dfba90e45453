import asyncio
import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.contracts.monitor import Sink
from pinnace.engine.containers.attach import AttachParams, AttachService, parse_detach_keys
from pinnace.engine.containers.hijacked import frame
from pinnace.engine.containers.logs import LogStream
from pinnace.errors import Conflict, ContainerNotFound, InvalidParameter, NotSupported
from pinnace.model.container import ContainerConfig
from pinnace.testing.lookup import FakeContainers, SeenEvents, a_container


class Attached:
    """An attachment that ends when the test says so."""

    def __init__(self, task_id, client, sink, *, pending):
        self.task_id, self.client, self.sink, self.pending = task_id, client, sink, pending
        self.how = asyncio.get_running_loop().create_future()
        self.cancelled = False

    async def ended(self):
        return await self.how

    async def cancel(self):
        self.cancelled = True


class Attaching:
    """The one part of the monitor that attach needs."""

    def __init__(self):
        self.attached = asyncio.Queue()

    async def attach(self, task_id, client, sink, *, pending=False):
        attachment = Attached(task_id, client, sink, pending=pending)
        self.attached.put_nowait(attachment)
        return attachment


class Logs:
    def __init__(self, *chunks, readable=True):
        self.chunks, self.readable = chunks, readable
        self.opened = []

    async def open(self, ref, params):
        if not self.readable:
            raise NotSupported("configured logging driver does not support reading")
        self.opened.append(params)

        async def pieces():
            for chunk in self.chunks:
                yield chunk

        return LogStream(tty=False, chunks=pieces())


class Setting:
    def __init__(self, container, logs=None):
        self.containers = FakeContainers(container)
        self.monitor, self.events, self.logs = Attaching(), SeenEvents(), logs or Logs()
        self.service = AttachService(self.containers, self.monitor, self.logs, self.events)
        self.client, self.daemon_side = socket.socketpair()

    async def plan(self, **params):
        return await self.service.attach("web", AttachParams(**params))

    def received(self):
        self.client.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            return self.client.recv(1 << 16)
        return b""


@pytest.fixture
def setting():
    made = []

    def make(container=None, logs=None):
        made.append(Setting(container or a_container(), logs))
        return made[-1]

    yield make
    for one in made:
        one.client.close()
        one.daemon_side.close()


@pytest.mark.parametrize(
    ("keys", "sequence"),
    [
        (None, b"\x10\x11"),
        ("", b"\x10\x11"),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-A", b"\x01"),
        ("a", b"a"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
        ("x,ctrl-z,y", b"x\x1ay"),
    ],
)
def test_detach_keys_are_read_in_dockers_notation(keys, sequence):
    assert parse_detach_keys(keys) == sequence


@pytest.mark.parametrize("keys", ["ctrl-", "ctrl-1", "ctrl-pp", "ab", "a,,b", ",", "é", "ctrl-é"])
def test_other_detach_keys_are_refused(keys):
    with pytest.raises(InvalidParameter) as caught:
        parse_detach_keys(keys)
    assert caught.value.message == f"Invalid detach keys ({keys}) provided"


@given(st.text())
def test_any_detach_keys_give_bytes_or_a_refusal(keys):
    with contextlib.suppress(InvalidParameter):
        assert parse_detach_keys(keys)


async def test_the_client_is_handed_over_and_served_until_the_output_is_over(setting):
    one = setting(a_container(config=ContainerConfig(open_stdin=True, image="busybox")))
    plan = await one.plan(stream=True, stdin=True, stdout=True, stderr=True)
    assert plan.content_framed
    task = asyncio.create_task(plan.run(one.daemon_side.fileno(), b"early"))
    attached = await one.monitor.attached.get()
    assert attached.client == one.daemon_side.fileno()
    assert attached.sink == Sink(stdin=True, framed=True, early=b"early")
    assert not task.done()
    attached.how.set_result("eof")
    await task
    assert one.events.actions == ["attach"]


async def test_a_client_may_attach_before_the_container_is_started(setting):
    one = setting(a_container(status="created"))
    plan = await one.plan(stream=True, stdout=True)
    task = asyncio.create_task(plan.run(one.daemon_side.fileno()))
    attached = await one.monitor.attached.get()
    assert attached.pending
    attached.how.set_result("eof")
    await task


async def test_a_terminal_is_never_framed(setting):
    one = setting(a_container(config=ContainerConfig(tty=True)))
    assert not (await one.plan(stream=True, stdout=True)).content_framed


async def test_stdin_is_left_out_where_the_container_has_none(setting):
    one = setting()
    plan = await one.plan(stream=True, stdin=True, stdout=True)
    task = asyncio.create_task(plan.run(one.daemon_side.fileno()))
    attached = await one.monitor.attached.get()
    assert not attached.sink.stdin
    attached.how.set_result("gone")
    await task


async def test_detaching_with_keys_is_told(setting):
    one = setting(a_container(config=ContainerConfig(tty=True, open_stdin=True)))
    plan = await one.plan(stream=True, stdin=True, stdout=True, detach_keys="ctrl-x")
    task = asyncio.create_task(plan.run(one.daemon_side.fileno()))
    attached = await one.monitor.attached.get()
    assert attached.sink.detach_keys == b"\x18"
    attached.how.set_result("detached")
    await task
    assert one.events.actions == ["attach", "detach"]


async def test_a_cancelled_run_detaches_the_client(setting):
    one = setting()
    plan = await one.plan(stream=True, stdout=True)
    task = asyncio.create_task(plan.run(one.daemon_side.fileno()))
    attached = await one.monitor.attached.get()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attached.cancelled


async def test_a_running_containers_log_is_replayed_by_the_supervisor(setting):
    one = setting(logs=Logs((1, b"never")))
    plan = await one.plan(logs=True, stdout=True)
    task = asyncio.create_task(plan.run(one.daemon_side.fileno()))
    attached = await one.monitor.attached.get()
    assert attached.sink.replay
    assert not attached.sink.stream
    attached.how.set_result("eof")
    await task
    assert one.received() == b""
    assert one.events.actions == []


async def test_a_stopped_containers_log_is_sent_from_here(setting):
    one = setting(a_container(status="exited"), Logs((1, b"a\n"), (2, b"b\n")))
    plan = await one.plan(logs=True, stdout=True, stderr=True)
    await plan.run(one.daemon_side.fileno())
    assert one.received() == frame(1, b"a\n") + frame(2, b"b\n")
    assert one.monitor.attached.empty()


async def test_replay_then_stream_does_not_repeat_the_log(setting):
    one = setting(a_container(status="exited"), Logs((1, b"a\n")))
    plan = await one.plan(logs=True, stream=True, stdout=True)
    task = asyncio.create_task(plan.run(one.daemon_side.fileno()))
    attached = await one.monitor.attached.get()
    assert one.received() == frame(1, b"a\n")
    assert not attached.sink.replay
    attached.how.set_result("eof")
    await task


async def test_a_client_that_left_during_replay_is_not_attached(setting):
    one = setting(a_container(status="exited"), Logs(*[(1, b"x" * 100_000)] * 50))
    plan = await one.plan(logs=True, stream=True, stdout=True)
    one.client.close()
    await plan.run(one.daemon_side.fileno())
    assert one.monitor.attached.empty()


async def test_neither_logs_nor_stream_ends_at_once(setting):
    one = setting()
    await (await one.plan(stdout=True)).run(one.daemon_side.fileno())
    assert one.monitor.attached.empty()


async def test_a_paused_container_refuses_clients(setting):
    one = setting(a_container(status="paused"))
    with pytest.raises(Conflict, match="is paused, unpause the container before attach"):
        await one.plan(stream=True)


async def test_an_unknown_container_refuses_clients(setting):
    one = setting()
    with pytest.raises(ContainerNotFound):
        await one.service.attach("nobody", AttachParams())


async def test_logs_that_cannot_be_read_are_refused_before_the_hijack(setting):
    one = setting(logs=Logs(readable=False))
    with pytest.raises(NotSupported):
        await one.plan(logs=True)
