"""The records of all containers: in memory for readers, written through to the store."""

import logging
import sqlite3
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from pinnace.errors import AlreadyExists, AmbiguousPrefix, ContainerNotFound, Internal
from pinnace.model.container import Container
from pinnace.model.record import ContainerId

log = logging.getLogger(__name__)


class ContainerStore(Protocol):
    """Where container records are kept."""

    async def put_container(self, container: Container, intent: str | None = None) -> None:
        """Store the record with what is being done to it.

        Raises:
            sqlite3.IntegrityError: The name belongs to another container.
        """
        ...

    async def delete_container(self, container_id: ContainerId) -> None:
        """Forget the record."""
        ...


class ContainerRegistry:
    """Finds containers by id, prefix and name; the only writer of their records.

    Readers see a record as soon as the store has it, never before; but see `put_fact`.
    """

    def __init__(self, store: ContainerStore, containers: Iterable[Container] = ()) -> None:
        self._store = store
        self._by_id: dict[str, Container] = {}
        self._ids: list[str] = []
        self._names: dict[str, str] = {}
        self._unsaved: set[str] = set()
        for container in containers:
            self._remember(container)

    def __iter__(self) -> Iterator[Container]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def names(self) -> Mapping[str, str]:
        """Ids by name."""
        return self._names

    def get(self, ref: str) -> Container:
        """Return the container with this full id, name or unambiguous id prefix, in that order.

        Raises:
            ContainerNotFound: There is none.
            AmbiguousPrefix: The prefix fits several.
        """
        found = self.find(ref)
        if found is None:
            raise ContainerNotFound(ref)
        return found

    def find(self, ref: str) -> Container | None:
        """Return what `get` returns, or None."""
        if ref in self._by_id:
            return self._by_id[ref]
        name = ref.removeprefix("/")
        named = self._by_id.get(self._names.get(name, ""))
        if named is not None:
            return named
        if not ref:
            return None
        first = bisect_left(self._ids, ref)
        matches = [known for known in self._ids[first : first + 2] if known.startswith(ref)]
        if len(matches) > 1:
            raise AmbiguousPrefix(ref)
        return self._by_id[matches[0]] if matches else None

    def by_id(self, container_id: ContainerId) -> Container:
        """Return the container with this full id.

        Raises:
            ContainerNotFound: There is none.
        """
        try:
            return self._by_id[container_id]
        except KeyError:
            raise ContainerNotFound(container_id) from None

    async def put(self, container: Container, *, intent: str | None = None) -> Container:
        """Store a new or changed record, then show it to readers; return it.

        Raises:
            AlreadyExists: The name belongs to another container; Docker's text.
        """
        holder = self._names.get(container.name)
        if holder is not None and holder != container.id:
            raise self._taken(container.name, holder)
        previous = self._by_id.get(container.id)
        # Claimed before the store answers, so that two creates cannot both get this far.
        self._names[container.name] = container.id
        try:
            await self._store.put_container(container, intent)
        except sqlite3.IntegrityError:
            self._release(container, previous)
            raise self._taken(container.name, "another") from None
        except BaseException:
            self._release(container, previous)
            raise
        self._remember(container)
        return container

    async def put_fact(self, container: Container) -> Container:
        """Show readers what has happened to a known container, and store it.

        It has happened whether it can be stored or not: on a full disk `save_again` has to try.
        """
        try:
            return await self.put(container)
        except Internal:
            log.exception("not stored", extra={"container": container.id})
            self._remember(container)
            self._unsaved.add(container.id)
            return container

    async def save_again(self) -> None:
        """Store the facts that could not be stored; those that still cannot be are kept."""
        for container_id in tuple(self._unsaved):
            container = self._by_id.get(container_id)
            try:
                if container is not None:
                    await self.put(container)
            except Internal as exc:
                log.debug("still not stored: %s", exc, extra={"container": container_id})
                return
            self._unsaved.discard(container_id)

    async def delete(self, container: Container) -> None:
        """Forget a container."""
        await self._store.delete_container(container.id)
        del self._by_id[container.id]
        del self._ids[bisect_left(self._ids, container.id)]
        if self._names.get(container.name) == container.id:
            del self._names[container.name]

    def _release(self, container: Container, previous: Container | None) -> None:
        if previous is None or previous.name != container.name:
            self._names.pop(container.name, None)

    def _remember(self, container: Container) -> None:
        previous = self._by_id.get(container.id)
        if previous is None:
            insort(self._ids, container.id)
        elif previous.name != container.name:
            self._names.pop(previous.name, None)
        self._by_id[container.id] = container
        self._names[container.name] = container.id

    @staticmethod
    def _taken(name: str, holder: str) -> AlreadyExists:
        return AlreadyExists(
            f'Conflict. The container name "/{name}" is already in use by container "{holder}".'
            " You have to remove (or rename) that container to be able to reuse that name."
        )
