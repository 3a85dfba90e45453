"""The small parts of the engine: filters, events, times, signals, restarts, names, locks."""

import asyncio

import pytest

from pinnace.engine.containers.names import random_name
from pinnace.engine.containers.restart import Backoff, wants_restart, wants_start_at_boot
from pinnace.engine.containers.signals import parse_signal
from pinnace.engine.containers.waiters import Waiters, WaitResult, parse_condition
from pinnace.engine.events import EventLog
from pinnace.engine.filters import Filters, parse_filters
from pinnace.engine.images.together import to_its_end
from pinnace.engine.locks import Locks
from pinnace.engine.times import parse_duration, parse_time
from pinnace.errors import InvalidParameter
from pinnace.model.container import RestartPolicy

S = 1_000_000_000


@pytest.mark.parametrize(
    "raw", ['{"label": ["a", "b"]}', '{"label": {"a": true, "b": true, "c": false}}']
)
def test_both_forms_of_filters_mean_the_same(raw):
    assert parse_filters(raw).get("label") == ["a", "b"]


@pytest.mark.parametrize("raw", ["{", "[]", '{"a": 1}', '{"a": [1]}', "null"])
def test_broken_filters_are_refused(raw):
    with pytest.raises(InvalidParameter, match="invalid filter"):
        parse_filters(raw)


def test_truth_values_of_filters_must_agree():
    assert Filters({"dangling": ["1"]}).get_bool("dangling", default=False)
    with pytest.raises(InvalidParameter):
        Filters({"dangling": ["true", "false"]}).get_bool("dangling", default=False)


@pytest.mark.parametrize(
    ("text", "number"),
    [("9", 9), ("KILL", 9), ("sigterm", 15), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)],
)
def test_signals_by_name_and_number(text, number):
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["0", "65", "NOPE", "", "RTMIN+40", "-9", "SIG", "٩"])
def test_what_is_no_signal_is_refused(text):
    with pytest.raises(InvalidParameter, match=f"invalid signal: {text}".replace("+", r"\+")):
        parse_signal(text)


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1700000000", 1_700_000_000 * S),
        ("1700000000.5", 1_700_000_000 * S + S // 2),
        ("1700000000.000000001", 1_700_000_000 * S + 1),
        ("2013-06-14T09:12:44Z", 1_371_201_164 * S),
        ("2013-06-14T09:12:44.25+02:00", 1_371_193_964 * S + S // 4),
        ("2013-06-14", 1_371_168_000 * S),
        ("10m", 5000 * S - 600 * S),
        ("1h0.5s", 5000 * S - 3600 * S - S // 2),
    ],
)
def test_points_in_time(text, time_ns):
    assert parse_time(text, now_ns=5000 * S) == time_ns


@pytest.mark.parametrize("text", ["", "x", "10", "5 m", "m"])
def test_bad_durations_are_refused(text):
    with pytest.raises(InvalidParameter):
        parse_duration(text)


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "stopped", "again"),
    [
        (RestartPolicy(name="no"), 1, 0, False, False),
        (RestartPolicy(name="always"), 0, 99, False, True),
        (RestartPolicy(name="always"), 0, 0, True, False),
        (RestartPolicy(name="unless-stopped"), 1, 0, False, True),
        (RestartPolicy(name="on-failure"), 0, 0, False, False),
        (RestartPolicy(name="on-failure"), 1, 99, False, True),
        (RestartPolicy(name="on-failure", maximum_retry_count=2), 1, 1, False, True),
        (RestartPolicy(name="on-failure", maximum_retry_count=2), 1, 2, False, False),
    ],
)
def test_restart_policies(policy, code, restarts, stopped, again):
    wanted = wants_restart(policy, exit_code=code, restarts=restarts, manually_stopped=stopped)
    assert wanted is again


@pytest.mark.parametrize(
    ("name", "stopped", "starts"),
    [("always", True, True), ("unless-stopped", True, False), ("unless-stopped", False, True),
     ("no", False, False)],
)  # fmt: skip
def test_after_a_reboot_the_policy_decides(name, stopped, starts):
    policy = RestartPolicy(name=name)
    assert wants_start_at_boot(policy, exit_code=255, manually_stopped=stopped) is starts


def test_the_delay_doubles_to_a_minute_and_starts_over_after_a_good_run():
    backoff = Backoff()
    delays = [backoff.next(S) for _ in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60.0
    assert backoff.next(11 * S) == 0.1


def test_names_are_free_even_when_luck_has_run_out():
    class Everything:
        def __contains__(self, name):
            return len(name) < 20

    assert len(random_name(Everything())) >= 20


@pytest.mark.parametrize("text", ["gone", "NOT-RUNNING"])
def test_unknown_wait_conditions_are_refused(text):
    with pytest.raises(InvalidParameter, match="invalid condition"):
        parse_condition(text)


async def test_an_exit_ends_the_waits_for_it_and_a_removal_all():
    waiters = Waiters()
    exit_, removal = waiters.add("c", "next-exit"), waiters.add("c", "removed")
    waiters.exited("c", WaitResult(3))
    assert (await exit_.result()).status_code == 3
    waiters.removed("c", WaitResult(3))
    assert (await removal.result()).status_code == 3


async def test_a_waiter_that_leaves_does_not_end_the_others():
    waiters = Waiters()
    first, second = waiters.add("c", "next-exit"), waiters.add("c", "next-exit")
    leaving = asyncio.create_task(first.result())
    await asyncio.sleep(0)
    leaving.cancel()
    waiters.exited("c", WaitResult(0))
    assert (await second.result()).status_code == 0


async def test_locks_of_different_keys_do_not_wait_for_each_other():
    locks = Locks()
    async with locks.hold("a"), asyncio.timeout(5), locks.hold("b"):
        waiting = asyncio.create_task(_take(locks, "a"))
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    assert locks._locks == {}


async def test_work_is_awaited_to_its_end_however_often_its_caller_is_cancelled():
    go, done = asyncio.Event(), []

    async def work():
        await go.wait()
        done.append(1)

    caller = asyncio.create_task(to_its_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == [1]


async def _take(locks, key):
    async with locks.hold(key):
        pass


async def test_subscribers_get_history_then_live_events_in_order():
    events = EventLog()
    events.publish("container", "create", "a", {"name": "web"})
    events.publish("image", "tag", "b")
    async with events.subscribe(0, None, Filters({"type": ["container"]})) as subscription:
        events.publish("container", "start", "a", {"name": "web"})
        events.publish("volume", "create", "v")
        events.end()
        found = [event.action async for event in subscription]
    assert found == ["create", "start"]


async def test_events_end_at_until():
    events = EventLog()
    events.publish("container", "create", "a")
    async with events.subscribe(0, 1, Filters()) as subscription:
        assert [event async for event in subscription] == []


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ({"container": ["web"]}, True), ({"container": ["abc"]}, True),
        ({"container": ["other"]}, False), ({"image": ["busybox"]}, True),
        ({"event": ["exec_start"]}, True), ({"event": ["exec_start: ls"]}, True),
        ({"event": ["exec"]}, False), ({"label": ["tier=front"]}, True), ({"label": ["x"]}, False),
        ({"scope": ["local"]}, True), ({"volume": ["web"]}, False), ({"node": ["x"]}, False),
    ],
)  # fmt: skip
async def test_event_filters(filters, matches):
    events = EventLog()
    attributes = {"name": "web", "image": "busybox", "tier": "front"}
    events.publish("container", "exec_start: ls", "abc123", attributes)
    async with events.subscribe(0, None, Filters(filters)) as subscription:
        events.end()
        assert bool([event async for event in subscription]) is matches


async def test_a_reader_that_is_too_slow_is_cut_off():
    events = EventLog()
    async with events.subscribe(None, None, Filters()) as subscription:
        for number in range(3000):
            events.publish("container", "create", str(number))
        assert len([event async for event in subscription]) < 3000


async def test_an_unknown_event_filter_is_refused():
    with pytest.raises(InvalidParameter):
        async with EventLog().subscribe(None, None, Filters({"x": ["y"]})):
            pass


def test_event_times_never_repeat():
    events = EventLog()
    for number in range(100):
        events.publish("container", "create", str(number))
    times = [event.time_nano for event in events.take_unsaved()]
    assert len(set(times)) == 100
    assert times == sorted(times)
