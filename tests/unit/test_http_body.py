"""Decoders of body framing, the queue behind a reader, and answers as bytes."""

import asyncio
import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.api.http.answer import render_head, render_legacy_hijack, render_upgrade
from pinnace.api.http.body import BodyReader, ByteQueue, ChunkedDecoder, LengthDecoder, is_short
from pinnace.api.http.deadline import Deadline
from pinnace.api.http.failures import BodyIncomplete, BodyMalformed, BodyTooLarge


def decode_all(decoder, data, cuts):
    """Feed data in pieces, as a connection does; return the payload and what was left over."""
    buffer, payload = bytearray(), b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        piece = data[start:end]
        if not buffer and not decoder.done and decoder.passes(piece):
            payload += piece
            continue
        buffer += piece
        if not decoder.done:
            payload += decoder.decode(buffer)
    return payload, bytes(buffer)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.lists(st.integers(0, 2000)))
def test_chunks_cut_anywhere_give_the_same_payload(chunks, cuts):
    data = b"".join(b"%X;x=y\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    data += b"0\r\nTrailer: x\r\n\r\nNEXT"
    decoder = ChunkedDecoder()
    assert decode_all(decoder, data, cuts) == (b"".join(chunks), b"NEXT")
    assert decoder.done


@given(st.binary(max_size=100), st.integers(0, 100), st.lists(st.integers(0, 200)))
def test_a_length_takes_exactly_its_bytes(data, length, cuts):
    decoder = LengthDecoder(length)
    payload, rest = decode_all(decoder, data, cuts)
    assert payload == data[:length]
    assert rest == data[length:]
    assert decoder.done == (len(data) >= length)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_any_bytes_are_decoded_or_malformed(data, cuts):
    with contextlib.suppress(BodyMalformed):
        decode_all(ChunkedDecoder(), data, cuts)


def test_what_is_payload_as_a_whole_need_not_be_decoded():
    assert LengthDecoder(4).passes(b"1234")
    assert not LengthDecoder(4).passes(b"12345")
    chunked = ChunkedDecoder()
    assert not chunked.passes(b"4\r\n1")
    assert chunked.decode(bytearray(b"4\r\n1")) == b"1"
    assert chunked.passes(b"23")
    assert not chunked.passes(b"4")  # the end of a chunk is to be checked


def test_only_a_known_short_rest_is_worth_swallowing():
    assert is_short(LengthDecoder(65536))
    assert not is_short(LengthDecoder(65537))
    assert not is_short(ChunkedDecoder())


def a_queue(calls, high=10):
    return ByteQueue(lambda: calls.append("pause"), lambda: calls.append("resume"), high=high)


async def test_a_queue_pauses_its_source_when_full_and_resumes_it_when_half_empty():
    calls = []
    queue = a_queue(calls)
    for _ in range(4):
        queue.feed(b"12345")
    assert calls == ["pause"]
    for _ in range(3):
        assert await queue.get() == b"12345"
    assert calls == ["pause", "resume"]


async def test_a_queue_gives_what_it_holds_before_its_end_or_error():
    queue = a_queue([])
    queue.feed(b"rest")
    queue.end(BodyIncomplete("cut"))
    queue.end()
    queue.feed(b"late")
    assert await queue.get() == b"rest"
    with pytest.raises(BodyIncomplete):
        await queue.get()


async def test_a_reader_that_waits_is_woken():
    queue = a_queue([])
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await queue.get()
    queue.feed(b"now")
    assert await waiting == b"now"
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.end()
    assert await waiting == b""


async def test_a_body_is_read_up_to_its_limit():
    for size, fits in [(10, True), (11, False)]:
        queue = a_queue([])
        queue.feed(b"x" * 6)
        queue.feed(b"x" * (size - 6))
        queue.end()
        if fits:
            assert await BodyReader(queue).read(10) == b"x" * 10
        else:
            with pytest.raises(BodyTooLarge, match="10 bytes"):
                await BodyReader(queue).read(10)


async def test_a_silent_body_ends_the_wait():
    with pytest.raises(BodyIncomplete):
        await BodyReader(a_queue([]), idle_s=0.001).read(10)


async def test_the_first_read_tells_the_client_to_go_on():
    begun = []
    queue = a_queue([])
    queue.feed(b"a")
    queue.feed(b"b")
    queue.end()
    body = BodyReader(queue, begin=lambda: begun.append(1))
    assert begun == []
    assert [chunk async for chunk in body] == [b"a", b"b"]
    assert begun == [1]


def test_answers_are_rendered_exactly():
    assert render_head(200, [("X", "y")], "Content-Length: 0\r\n") == (
        b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 0\r\n\r\n"
    )
    assert render_head(299, [], "").startswith(b"HTTP/1.1 299 ")
    assert render_legacy_hijack([("A", "b")]) == b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    assert render_upgrade("tcp", []) == (
        b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("name", "value"), [("X", "a\nb"), ("X", "a\rb"), ("X", "\0"), ("a:b", "")]
)
def test_fields_that_would_become_two_are_refused(name, value):
    with pytest.raises(ValueError, match="forbidden"):
        render_upgrade("tcp", [(name, value)])


class FakeLoop:
    """A clock that is moved by hand, with the timers set on it."""

    def __init__(self):
        self.now = 0.0
        self.timers = []

    def time(self):
        return self.now

    def call_at(self, when, callback):
        timer = FakeTimer(when, callback)
        self.timers.append(timer)
        return timer

    def move_to(self, now):
        self.now = now
        due = [timer for timer in self.timers if timer.at <= now]
        self.timers = [timer for timer in self.timers if timer.at > now]
        for timer in due:
            if not timer.cancelled:
                timer.callback()


class FakeTimer:
    def __init__(self, at, callback):
        self.at = at
        self.callback = callback
        self.cancelled = False

    def when(self):
        return self.at

    def cancel(self):
        self.cancelled = True


def test_a_deadline_moved_later_keeps_its_timer_and_fires_once():
    loop, fired = FakeLoop(), []
    deadline = Deadline(loop, lambda: fired.append(loop.now))
    deadline.set(10)
    loop.move_to(5)
    deadline.set(10)
    assert len(loop.timers) == 1
    loop.move_to(10)
    assert fired == []
    loop.move_to(15)
    assert fired == [15]
    loop.move_to(100)
    assert fired == [15]


def test_a_deadline_can_move_closer_be_cleared_and_stopped():
    loop, fired = FakeLoop(), []
    deadline = Deadline(loop, lambda: fired.append(loop.now))
    deadline.set(100)
    deadline.set(1)
    loop.move_to(1)
    assert fired == [1]
    deadline.set(1)
    deadline.clear()
    loop.move_to(50)
    deadline.set(1)
    deadline.stop()
    loop.move_to(200)
    assert fired == [1]
