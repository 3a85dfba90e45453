"""Holding a container that has ended, while something is done with its files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.containers.runner import Runner
from pinnace.engine.locks import Locks
from pinnace.model.record import ContainerId

_ACTIVE = frozenset({"running", "paused", "restarting"})


class ContainerRest:
    """Keeps containers from being started, whoever asks for it."""

    def __init__(self, registry: ContainerRegistry, runner: Runner, locks: Locks) -> None:
        self._registry = registry
        self._runner = runner
        self._locks = locks

    @asynccontextmanager
    async def hold(self, container_id: ContainerId) -> AsyncIterator[bool]:
        """Keep a container at rest, for the time of a `with` block.

        Yields:
            Whether it is: it does not run, and its root filesystem was unmounted.

        Raises:
            ContainerNotFound: It is gone.
        """
        async with self._locks.hold(container_id):
            container = self._registry.by_id(container_id)
            if container.state.status in _ACTIVE:
                yield False
                return
            await self._runner.settled(container_id)
            yield True
