import os
import socket
import time
from pathlib import Path

import pytest

from pinnace.engine.containers.logs import LogParams, LogService
from pinnace.errors import Conflict, InvalidParameter, NotFound, NotSupported
from pinnace.model.container import ContainerConfig, HostConfig, LogConfig
from pinnace.supervisor.logs import ENTRY, Entry
from pinnace.testing.lookup import FakeContainers, a_container

SECOND = 1_000_000_000
EPOCH = 1_700_000_000 * SECOND


class WrittenLog:
    """A log directory as the supervisor writes it."""

    def __init__(self, directory: Path):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.number = 0
        self.rotate()

    def rotate(self):
        self.number += 1
        for suffix in ("out", "err", "idx"):
            self._path(suffix).touch()

    def _path(self, suffix):
        return self.directory / f"{self.number:06d}.{suffix}"

    def write(self, data: bytes, *, stream: int = 1, second: float = 0):
        path = self._path("out" if stream == 1 else "err")
        entry = Entry(EPOCH + int(second * SECOND), stream, path.stat().st_size, len(data))
        with path.open("ab") as file:
            file.write(data)
        with self._path("idx").open("ab") as file:
            file.write(entry.pack())


class Watched:
    """The one part of the monitor that following needs."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.known = True

    async def watch(self, task_id):
        if not self.known:
            raise NotFound(task_id)
        return self.theirs.detach()

    def grew(self):
        self.ours.send(b"x")

    def ended(self):
        self.ours.close()


@pytest.fixture
def written(tmp_path):
    return WrittenLog(tmp_path / "log")


@pytest.fixture
def monitor():
    watched = Watched()
    yield watched
    watched.ours.close()
    watched.theirs.close()


def service(written, monitor, container=None):
    containers = FakeContainers(container or a_container(status="exited"))
    return LogService(containers, monitor, lambda _id: written.directory)


async def read(written, monitor, container=None, **wanted):
    wanted.setdefault("stdout", True)
    wanted.setdefault("stderr", True)
    logs = await service(written, monitor, container).open("web", LogParams(**wanted))
    return [chunk async for chunk in logs]


async def text(written, monitor, **wanted):
    return b"".join(data for _, data in await read(written, monitor, **wanted))


async def test_streams_come_in_the_order_in_which_they_were_written(written, monitor):
    written.write(b"a\n")
    written.write(b"b\n", stream=2)
    written.write(b"c\n")
    assert await read(written, monitor) == [(1, b"a\n"), (2, b"b\n"), (1, b"c\n")]


async def test_neighbouring_chunks_of_a_stream_are_joined(written, monitor):
    for number in range(100):
        written.write(b"%d\n" % number)
    chunks = await read(written, monitor)
    assert chunks == [(1, b"".join(b"%d\n" % n for n in range(100)))]


async def test_only_the_wanted_stream_is_sent(written, monitor):
    written.write(b"a\n")
    written.write(b"b\n", stream=2)
    assert await read(written, monitor, stdout=False) == [(2, b"b\n")]


async def test_reading_goes_on_in_the_next_generation(written, monitor):
    written.write(b"old\n")
    written.rotate()
    written.write(b"new\n")
    assert await text(written, monitor) == b"old\nnew\n"


async def test_a_log_that_was_never_written_is_empty(tmp_path, monitor):
    logs = LogService(
        FakeContainers(a_container(status="created")), monitor, lambda _id: tmp_path / "no"
    )
    stream = await logs.open("web", LogParams(stdout=True))
    assert [chunk async for chunk in stream] == []


async def test_each_line_gets_the_time_of_its_chunk(written, monitor):
    written.write(b"a\nb\n", second=1.5)
    written.write(b"c\n", stream=2, second=2)
    assert await text(written, monitor, timestamps=True) == (
        b"2023-11-14T22:13:21.500000000Z a\n"
        b"2023-11-14T22:13:21.500000000Z b\n"
        b"2023-11-14T22:13:22.000000000Z c\n"
    )


async def test_a_line_that_came_in_pieces_gets_one_time(written, monitor):
    written.write(b"on", second=1)
    written.write(b"other\n", stream=2, second=2)
    written.write(b"e\ntwo", second=3)
    out = [data for stream, data in await read(written, monitor, timestamps=True) if stream == 1]
    assert b"".join(out) == (
        b"2023-11-14T22:13:21.000000000Z one\n2023-11-14T22:13:23.000000000Z two"
    )


async def test_tail_counts_lines_of_both_streams(written, monitor):
    written.write(b"a\nb\n")
    written.write(b"c\n", stream=2)
    written.write(b"d\n")
    assert await text(written, monitor, tail=3) == b"b\nc\nd\n"
    assert await text(written, monitor, tail=2, stderr=False) == b"d\n"
    assert await text(written, monitor, tail=0) == b""
    assert await text(written, monitor, tail=100) == b"a\nb\nc\nd\n"


async def test_since_and_until_bound_the_times(written, monitor):
    for second in range(5):
        written.write(b"%d\n" % second, second=second)
    wanted = {"since_ns": EPOCH + 1 * SECOND, "until_ns": EPOCH + 3 * SECOND}
    assert await text(written, monitor, **wanted) == b"1\n2\n3\n"


async def test_tail_and_since_take_the_later_start(written, monitor):
    for second in range(5):
        written.write(b"%d\n" % second, second=second)
    assert await text(written, monitor, tail=4, since_ns=EPOCH + 3 * SECOND) == b"3\n4\n"
    assert await text(written, monitor, tail=1, since_ns=EPOCH + 3 * SECOND) == b"4\n"


async def test_details_show_what_the_log_options_name(written, monitor):
    config = ContainerConfig(labels={"tier": "a b", "other": "x"}, env=["MODE=1", "NO=2"])
    log = LogConfig(type="json-file", config={"labels": "tier", "env-regex": "^MO"})
    container = a_container(status="exited", config=config, host_config=HostConfig(log_config=log))
    written.write(b"x\ny\n")
    chunks = await read(written, monitor, container, details=True)
    assert b"".join(data for _, data in chunks) == b"MODE=1,tier=a+b x\nMODE=1,tier=a+b y\n"


async def test_following_ends_after_the_last_output(written, monitor):
    written.write(b"one\n")
    container = a_container(status="running")
    logs = await service(written, monitor, container).open(
        "web", LogParams(stdout=True, follow=True)
    )
    assert await anext(logs.chunks) == (1, b"one\n")
    written.write(b"two\n")
    monitor.grew()
    assert await anext(logs.chunks) == (1, b"two\n")
    written.write(b"three\n")
    monitor.ended()
    assert [chunk async for chunk in logs] == [(1, b"three\n")]


async def test_following_a_stopped_container_ends_at_once(written, monitor):
    written.write(b"one\n")
    assert await text(written, monitor, follow=True) == b"one\n"


async def test_following_a_task_that_just_ended_ends(written, monitor):
    monitor.known = False
    written.write(b"one\n")
    assert await read(written, monitor, a_container(), follow=True) == [(1, b"one\n")]


async def test_following_ends_at_until(written, monitor):
    written.write(b"one\n")
    until = time.time_ns() + SECOND // 50
    assert await read(written, monitor, a_container(), follow=True, until_ns=until) == [
        (1, b"one\n")
    ]


async def test_leaving_early_closes_every_descriptor(written, monitor):
    written.write(b"one\n")
    logs = await service(written, monitor, a_container()).open(
        "web", LogParams(stdout=True, follow=True)
    )
    before = len(os.listdir("/proc/self/fd"))
    assert await anext(logs.chunks) == (1, b"one\n")
    await logs.aclose()
    assert len(os.listdir("/proc/self/fd")) == before - 1  # the watch as well


async def test_a_large_log_is_read_in_bounded_pieces(written, monitor):
    for _ in range(20):
        written.write(b"x" * 999_999 + b"\n")
    chunks = await read(written, monitor)
    assert sum(len(data) for _, data in chunks) == 20_000_000
    assert max(len(data) for _, data in chunks) <= 2 << 20


async def test_no_stream_is_a_bad_request(written, monitor):
    with pytest.raises(InvalidParameter, match="you must choose at least one stream"):
        await read(written, monitor, stdout=False, stderr=False)


async def test_driver_none_cannot_be_read(written, monitor):
    container = a_container(host_config=HostConfig(log_config=LogConfig(type="none")))
    with pytest.raises(NotSupported, match="configured logging driver does not support reading"):
        await read(written, monitor, container)


async def test_a_container_on_its_way_out_has_no_log(written, monitor):
    with pytest.raises(Conflict, match="dead or marked for removal"):
        await read(written, monitor, a_container(status="dead"))


def test_an_entry_is_sixteen_bytes():
    assert ENTRY.size == 16
