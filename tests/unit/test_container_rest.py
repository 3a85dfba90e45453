"""Containers that are held while their files become a layer."""

import asyncio
from types import SimpleNamespace

import pytest

from pinnace.engine.containers.rest import ContainerRest
from pinnace.engine.locks import Locks
from pinnace.errors import ContainerNotFound
from pinnace.model.record import ContainerId

ID = ContainerId("a" * 64)


class Records:
    """Knows one container, by its state."""

    def __init__(self, status: str) -> None:
        self.status = status

    def by_id(self, container_id):
        if not self.status:
            raise ContainerNotFound(container_id)
        return SimpleNamespace(id=container_id, state=SimpleNamespace(status=self.status))


class Clearing:
    """Clears up once it is let."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def settled(self, container_id) -> None:
        assert container_id == ID
        await self.may_end.wait()


async def test_an_ended_container_is_held_once_it_is_cleared_up():
    clearing, locks, order = Clearing(), Locks(), []
    rest = ContainerRest(Records("exited"), clearing, locks)

    async def hold():
        async with rest.hold(ID) as is_at_rest:
            order.append(is_at_rest)
            await asyncio.sleep(0.01)
            order.append("let go")

    async def start():
        async with locks.hold(ID):
            order.append("started")

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0.01)
    starting = asyncio.create_task(start())
    await asyncio.sleep(0.01)
    assert order == []
    clearing.may_end.set()
    await asyncio.gather(holding, starting)
    assert order == [True, "let go", "started"]


@pytest.mark.parametrize("status", ["running", "paused", "restarting"])
async def test_a_container_that_was_started_again_is_not_at_rest(status):
    async with ContainerRest(Records(status), Clearing(), Locks()).hold(ID) as is_at_rest:
        assert not is_at_rest


async def test_a_container_that_is_gone_is_no_longer_held():
    with pytest.raises(ContainerNotFound):
        async with ContainerRest(Records(""), Clearing(), Locks()).hold(ID):
            pass
