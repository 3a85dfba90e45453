"""Containers, volumes and events in the database. Functions run on the database thread."""

import sqlite3
from collections.abc import Callable

import msgspec

from pinnace.model.container import Container
from pinnace.model.event import Event
from pinnace.model.record import ContainerId
from pinnace.model.volume import Volume

_encode = msgspec.json.encode
_container = msgspec.json.Decoder(Container)
_volume = msgspec.json.Decoder(Volume)
_event = msgspec.json.Decoder(Event)

Write = Callable[[sqlite3.Connection], None]


def all_containers(connection: sqlite3.Connection) -> list[tuple[Container, str | None]]:
    """Return every container with the intent its last write left behind."""
    rows = connection.execute("SELECT record, intent FROM containers")
    return [(_container.decode(record), intent) for record, intent in rows]


def put_container(container: Container, intent: str | None = None) -> Write:
    """Return a write that stores the record.

    Raises:
        sqlite3.IntegrityError: The name belongs to another container.
    """
    row = (container.id, container.name, _encode(container), intent)

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO containers (id, name, record, intent) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET"
            " name = excluded.name, record = excluded.record, intent = excluded.intent",
            row,
        )

    return write


def delete_container(container_id: ContainerId) -> Write:
    """Return a write that forgets the container."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM containers WHERE id = ?", (container_id,))

    return write


def all_volumes(connection: sqlite3.Connection) -> list[Volume]:
    """Return every volume."""
    return [_volume.decode(row[0]) for row in connection.execute("SELECT record FROM volumes")]


def put_volume(volume: Volume) -> Write:
    """Return a write that stores the volume."""
    row = (volume.name, _encode(volume))

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO volumes (name, record) VALUES (?, ?)", row)

    return write


def delete_volume(name: str) -> Write:
    """Return a write that forgets the volume."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM volumes WHERE name = ?", (name,))

    return write


def recent_events(connection: sqlite3.Connection, keep: int = 1000) -> list[Event]:
    """Return the newest `keep` events, oldest first, and drop the others."""
    connection.execute(
        "DELETE FROM events WHERE rowid NOT IN"
        " (SELECT rowid FROM events ORDER BY time_ns DESC LIMIT ?)",
        (keep,),
    )
    rows = connection.execute("SELECT record FROM events ORDER BY time_ns, rowid")
    return [_event.decode(row[0]) for row in rows]


def put_events(events: list[Event]) -> Write:
    """Return a write that appends events."""
    rows = [(event.time_nano, _encode(event)) for event in events]

    def write(connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT INTO events (time_ns, record) VALUES (?, ?)", rows)

    return write
