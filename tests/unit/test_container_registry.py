import asyncio
import sqlite3

import pytest
from msgspec.structs import replace
from tests.support.specs import a_record

from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.errors import AlreadyExists, ContainerNotFound, Internal, InvalidParameter


class Store:
    """Keeps nothing; can fail, and can be made to wait."""

    def __init__(self, failure=None):
        self.failure = failure
        self.gate = asyncio.Event()
        self.gate.set()
        self.puts = []

    async def put_container(self, container, intent=None):
        await self.gate.wait()
        if self.failure:
            raise self.failure
        self.puts.append((container.id, intent))

    async def delete_container(self, container_id):
        pass


def record(id_, name):
    return replace(a_record(), id=id_ * 64 if len(id_) == 1 else id_.ljust(64, "0"), name=name)


async def test_found_by_id_name_slash_name_and_prefix():
    web = record("ab1", "web")
    registry = ContainerRegistry(Store(), [web, record("ab2", "db")])
    assert (
        registry.get(web.id) is registry.get("web") is registry.get("/web") is registry.get("ab1")
    )


async def test_a_prefix_that_fits_several_is_refused():
    registry = ContainerRegistry(Store(), [record("ab1", "web"), record("ab2", "db")])
    with pytest.raises(InvalidParameter, match="multiple IDs found with provided prefix: ab"):
        registry.get("ab")


@pytest.mark.parametrize("ref", ["", "/", "nope", "0"])
async def test_what_is_not_there_is_named(ref):
    with pytest.raises(ContainerNotFound, match=f"No such container: {ref}"):
        ContainerRegistry(Store(), [record("ab1", "web")]).get(ref)


async def test_a_name_beats_an_id_prefix():
    named = record("cd1", "ab")
    registry = ContainerRegistry(Store(), [record("ab1", "web"), named])
    assert registry.get("ab") is named


async def test_a_taken_name_tells_who_has_it():
    first = record("a", "web")
    registry = ContainerRegistry(Store(), [first])
    with pytest.raises(AlreadyExists, match=f'"/web" is already in use by container "{first.id}"'):
        await registry.put(record("b", "web"))


async def test_of_two_creates_with_one_name_only_one_gets_it():
    store = Store()
    store.gate.clear()
    registry = ContainerRegistry(store)
    both = [asyncio.create_task(registry.put(record(id_, "web"))) for id_ in "ab"]
    await asyncio.sleep(0)
    store.gate.set()
    results = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["AlreadyExists", "Container"]


async def test_a_claimed_name_is_not_visible_before_it_is_stored():
    store = Store()
    store.gate.clear()
    registry = ContainerRegistry(store)
    put = asyncio.create_task(registry.put(record("a", "web")))
    await asyncio.sleep(0)
    assert registry.find("web") is None
    store.gate.set()
    await put
    assert registry.get("web").id == "a" * 64


@pytest.mark.parametrize("failure", [sqlite3.IntegrityError("x"), OSError(28, "No space")])
async def test_a_failed_write_leaves_neither_record_nor_name(failure):
    store = Store(failure)
    registry = ContainerRegistry(store)
    with pytest.raises((AlreadyExists, OSError)):
        await registry.put(record("a", "web"))
    store.failure = None
    assert registry.find("web") is None
    await registry.put(record("b", "web"))


async def test_renaming_frees_the_old_name():
    registry = ContainerRegistry(Store())
    web = await registry.put(record("a", "web"))
    await registry.put(replace(web, name="shop"))
    assert registry.find("web") is None
    assert registry.get("shop").id == web.id


async def test_a_deleted_container_is_gone_in_every_way():
    registry = ContainerRegistry(Store())
    web = await registry.put(record("a", "web"))
    await registry.delete(web)
    assert registry.find(web.id) is registry.find("web") is registry.find("aaa") is None
    assert len(registry) == 0


async def test_what_has_happened_is_shown_on_a_full_disk_and_stored_later():
    store = Store()
    registry = ContainerRegistry(store, [record("ab1", "web")])
    store.failure = Internal("the database refused a write: no space left on device")
    ended = replace(registry.get("web"), restart_count=7)
    with pytest.raises(Internal):
        await registry.put(ended)
    assert registry.get("web").restart_count == 0
    await registry.put_fact(ended)
    assert registry.get("web") is ended
    await registry.save_again()
    assert store.puts == []
    store.failure = None
    await registry.save_again()
    await registry.save_again()
    assert store.puts == [(ended.id, None)]
