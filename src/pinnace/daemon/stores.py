"""Lets the engine's services write their records to the database."""

from pinnace.model.container import Container
from pinnace.model.event import Event
from pinnace.model.record import ContainerId
from pinnace.model.volume import Volume
from pinnace.state import containers as state
from pinnace.state.db import Database


class RecordStore:
    """Implements the store protocols of containers and volumes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_container(self, container: Container, intent: str | None = None) -> None:
        """Store a container."""
        await self._database.write(state.put_container(container, intent))

    async def delete_container(self, container_id: ContainerId) -> None:
        """Forget a container."""
        await self._database.write(state.delete_container(container_id))

    async def put_volume(self, volume: Volume) -> None:
        """Store a volume."""
        await self._database.write(state.put_volume(volume))

    async def delete_volume(self, name: str) -> None:
        """Forget a volume."""
        await self._database.write(state.delete_volume(name))

    async def put_events(self, events: list[Event]) -> None:
        """Append events."""
        await self._database.write(state.put_events(events))
