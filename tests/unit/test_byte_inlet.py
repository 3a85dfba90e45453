"""Bytes from the event loop to a worker thread."""

import asyncio

import pytest

from pinnace.engine.images.bridge import HIGH_WATER, ByteInlet
from pinnace.errors import Unavailable


async def pieces(count, size):
    for number in range(count):
        yield bytes([number]) * size


def read_all(inlet, size):
    found = b""
    while data := inlet.read(size):
        assert len(data) <= size
        found += data
    return found


async def test_a_thread_reads_in_order_and_at_its_own_sizes_what_is_more_than_fits():
    inlet = ByteInlet()
    size = HIGH_WATER // 4
    feeding = asyncio.create_task(inlet.feed_all(pieces(20, size)))
    found = await asyncio.to_thread(read_all, inlet, size - 1)
    await feeding
    assert found == b"".join(bytes([number]) * size for number in range(20))


async def test_reads_fail_after_an_abort_although_something_was_there():
    inlet = ByteInlet()
    await inlet.feed_all(pieces(3, 10))
    assert await asyncio.to_thread(inlet.read, 5) == bytes(5)
    inlet.abort()
    with pytest.raises(Unavailable):
        await asyncio.to_thread(inlet.read, 5)


async def test_feeding_goes_on_when_nobody_reads_any_more():
    inlet = ByteInlet()
    feeding = asyncio.create_task(inlet.feed_all(pieces(20, HIGH_WATER // 4)))
    await asyncio.to_thread(inlet.read, 1)
    inlet.close()
    async with asyncio.timeout(20):
        await feeding
