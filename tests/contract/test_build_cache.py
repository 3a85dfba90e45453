"""What every implementation of `contracts.build_cache.BuildCache` promises."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from pinnace.contracts.build_cache import BuildCache, CacheDirectory, CachedStep
from pinnace.contracts.image_store import ImageChange, ImageStore, StoredImage
from pinnace.model.image import ImageRecord
from pinnace.model.record import ContainerId, ImageId
from pinnace.state.builds import SqliteBuildCache
from pinnace.state.db import Database
from pinnace.state.images import SqliteImageStore
from pinnace.testing.build_cache import FakeBuildCache
from pinnace.testing.image_store import FakeImageStore

if TYPE_CHECKING:
    from pathlib import Path

A, B = ImageId("sha256:" + "a" * 64), ImageId("sha256:" + "b" * 64)
STEP = CachedStep("1" * 64, A, "RUN x", created_ns=5, used_ns=5)
DIRECTORY = CacheDirectory("apt", 0, created_ns=5, used_ns=5)
ONE, OTHER = ContainerId("1" * 64), ContainerId("2" * 64)


@dataclass
class World:
    cache: BuildCache
    images: ImageStore

    async def add(self, *images: ImageId) -> None:
        stored = [StoredImage(ImageRecord(id=image), b"config") for image in images]
        await self.images.apply(ImageChange(put=stored))

    async def drop(self, image: ImageId) -> None:
        await self.images.apply(ImageChange(drop=[image]))


@pytest.fixture(params=["fake", "sqlite"])
def world(request, tmp_path):
    if request.param == "fake":
        images = FakeImageStore()
        yield World(FakeBuildCache(images), images)
        return
    database = Database.open(tmp_path / "state.db")
    yield World(SqliteBuildCache(database), SqliteImageStore(database))
    database.close()


@pytest.fixture
def cache(world):
    return world.cache


async def test_nothing_is_known_at_first(cache):
    assert await cache.find("1" * 64, 7) is None
    assert list(await cache.steps()) == []
    assert list(await cache.directories()) == []
    assert list(await cache.containers()) == []


async def test_a_step_is_found_and_the_use_is_counted(world, cache):
    await world.add(A)
    await cache.put(STEP)
    assert await cache.find("2" * 64, 7) is None
    assert list(await cache.steps()) == [STEP]
    assert await cache.find(STEP.key, 7) == A
    assert await cache.find(STEP.key, 9) == A
    assert list(await cache.steps()) == [replace(STEP, used_ns=9, uses=2)]


async def test_a_step_with_the_same_key_is_replaced(world, cache):
    await world.add(A, B)
    await cache.put(STEP)
    await cache.find(STEP.key, 7)
    again = replace(STEP, image=B, created_ns=8, used_ns=8)
    await cache.put(again)
    assert list(await cache.steps()) == [again]


async def test_a_step_whose_image_is_gone_already_is_not_remembered(world, cache):
    await world.add(A)
    await cache.put(replace(STEP, image=B))
    assert list(await cache.steps()) == []
    assert await cache.find(STEP.key, 7) is None
    await world.add(B)
    assert list(await cache.steps()) == []


async def test_steps_go_with_their_image_and_others_stay(world, cache):
    await world.add(A, B)
    other = replace(STEP, key="2" * 64, image=B)
    for step in (STEP, replace(STEP, key="3" * 64), other):
        await cache.put(step)
    await world.drop(A)
    await world.add(A)
    assert list(await cache.steps()) == [other]
    assert await cache.find(STEP.key, 7) is None


async def test_a_step_survives_that_its_image_is_stored_anew(world, cache):
    await world.add(A)
    await cache.put(STEP)
    await world.add(A)
    await world.images.apply(ImageChange(update=[ImageRecord(id=A, comment="new")]))
    assert await cache.find(STEP.key, 7) == A


async def test_steps_come_in_the_order_they_were_made(world, cache):
    await world.add(A)
    steps = [replace(STEP, key=str(n) * 64, created_ns=n) for n in (3, 1, 2)]
    for step in steps:
        await cache.put(step)
    assert [step.created_ns for step in await cache.steps()] == [1, 2, 3]


async def test_steps_are_forgotten_one_by_one(world, cache):
    await world.add(A)
    other = replace(STEP, key="2" * 64)
    await cache.put(STEP)
    await cache.put(other)
    await cache.forget([STEP.key, "3" * 64])
    await cache.forget([])
    assert list(await cache.steps()) == [other]


async def test_directories_are_told_apart_by_id_and_number(cache):
    second = replace(DIRECTORY, number=1, created_ns=6)
    odd = replace(DIRECTORY, id="../é\n", created_ns=7)
    for directory in (odd, second, DIRECTORY):
        await cache.put_directory(directory)
    assert list(await cache.directories()) == [DIRECTORY, second, odd]
    used = replace(DIRECTORY, used_ns=9, uses=1)
    await cache.put_directory(used)
    await cache.forget_directory("apt", 1)
    await cache.forget_directory("apt", 2)
    assert list(await cache.directories()) == [used, odd]


async def test_containers_are_noted_once_and_forgotten(cache):
    for container in (ONE, OTHER, ONE):
        await cache.add_container(container)
    assert sorted(await cache.containers()) == [ONE, OTHER]
    for _ in range(2):
        await cache.forget_container(ONE)
    assert list(await cache.containers()) == [OTHER]


async def test_uses_at_the_same_time_are_all_counted(world, cache):
    await world.add(A)
    await cache.put(STEP)
    await asyncio.gather(*[cache.find(STEP.key, n) for n in range(20)])
    assert [step.uses for step in await cache.steps()] == [20]


async def test_everything_outlives_the_daemon(tmp_path: Path):
    database = Database.open(tmp_path / "state.db")
    await World(SqliteBuildCache(database), SqliteImageStore(database)).add(A)
    before = SqliteBuildCache(database)
    await before.put(STEP)
    await before.put_directory(DIRECTORY)
    await before.add_container(ONE)
    database.close()
    database = Database.open(tmp_path / "state.db")
    try:
        cache = SqliteBuildCache(database)
        assert list(await cache.steps()) == [STEP]
        assert list(await cache.directories()) == [DIRECTORY]
        assert list(await cache.containers()) == [ONE]
    finally:
        database.close()
