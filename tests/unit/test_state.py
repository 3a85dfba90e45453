import asyncio
import sqlite3

import pytest
from tests.support.specs import a_record

from pinnace.errors import Internal, Unavailable
from pinnace.model.event import Actor, Event
from pinnace.model.volume import Volume
from pinnace.state import containers as state
from pinnace.state.db import Database, connect, migrate, migrations


@pytest.fixture
async def database(tmp_path):
    opened = Database.open(tmp_path / "state.db")
    yield opened
    opened.close()


def test_migrations_are_numbered_without_gaps():
    numbers = [number for number, _ in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_migration_starts_from_the_schema_before_it(tmp_path):
    connection = connect(tmp_path / "step.db")
    for number, sql in migrations():
        assert connection.execute("PRAGMA user_version").fetchone()[0] == number - 1
        connection.executescript(f"BEGIN;{sql};PRAGMA user_version={number};COMMIT;")
    assert migrate(connection) == len(migrations())


def test_a_database_of_a_newer_program_is_refused(tmp_path):
    connection = connect(tmp_path / "new.db")
    connection.execute("PRAGMA user_version=999")
    connection.close()
    with pytest.raises(Unavailable, match="written by a newer version"):
        Database.open(tmp_path / "new.db")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    with pytest.raises(Unavailable, match="cannot open the database"):
        Database.open(tmp_path / "x.db")


def test_the_database_is_private(tmp_path):
    Database.open(tmp_path / "state.db").close()
    assert (tmp_path / "state.db").stat().st_mode & 0o777 == 0o600


async def test_containers_come_back_as_they_went_in(database):
    container = a_record()
    await database.write(state.put_container(container, "start"))
    assert await database.read(state.all_containers) == [(container, "start")]
    await database.write(state.put_container(container))
    assert await database.read(state.all_containers) == [(container, None)]
    await database.write(state.delete_container(container.id))
    assert await database.read(state.all_containers) == []


async def test_two_containers_cannot_have_one_name(database):
    first, second = a_record(), a_record()
    second = type(first)(
        **{f: getattr(first, f) for f in first.__struct_fields__} | {"id": "d" * 64}
    )
    await database.write(state.put_container(first))
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(state.put_container(second))


async def test_volumes_and_events_are_kept(database):
    volume = Volume(created_at="2026-01-01T00:00:00Z", mountpoint="/v", name="v")
    await database.write(state.put_volume(volume))
    assert await database.read(state.all_volumes) == [volume]
    events = [
        Event(type="t", action="a", actor=Actor(id=str(n), attributes={}), time=n, time_nano=n)
        for n in range(5)
    ]
    await database.write(state.put_events(events))
    kept = await database.write(lambda connection: state.recent_events(connection, keep=3))
    assert kept == events[2:]


async def test_a_write_that_raises_changes_nothing(database):
    def write(connection):
        state.put_container(a_record())(connection)
        raise LookupError("stop")

    with pytest.raises(LookupError, match="stop"):
        await database.write(write)
    assert await database.read(state.all_containers) == []


async def test_a_failing_disk_is_a_named_error(database):
    def write(connection):
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(Internal, match="disk is full"):
        await database.write(write)


async def test_writes_happen_in_the_order_of_the_calls(database):
    seen = []
    await asyncio.gather(*(database.write(lambda _c, n=n: seen.append(n)) for n in range(20)))
    assert seen == list(range(20))
