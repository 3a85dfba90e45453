"""Containers of build steps: the engine's own, made, attached to, run and taken away."""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from pinnace.contracts.build_cache import BuildCache
from pinnace.contracts.monitor import Attachment, Monitor, Sink
from pinnace.engine.containers.waiters import WaitTicket
from pinnace.engine.images.together import to_its_end
from pinnace.errors import Conflict, NotFound, PinnaceError
from pinnace.model.create import CreateParams
from pinnace.model.record import ContainerId

log = logging.getLogger(__name__)

_HEADER = 8
_READ = 64 << 10
Took = Callable[[int, bytes], Awaitable[None]]


class Containers(Protocol):
    """The verbs of `ContainerService` that steps need."""

    async def create(self, params: CreateParams) -> tuple[ContainerId, object]:
        """Create a container."""
        ...

    async def start(self, ref: str) -> None:
        """Start it."""
        ...

    async def wait(self, ref: str, condition: str = "not-running") -> WaitTicket:
        """Register a wait."""
        ...

    async def kill(self, ref: str, signal: str) -> None:
        """Kill it."""
        ...

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it."""
        ...


class Rest(Protocol):
    """Holds containers that have ended; see `ContainerRest`."""

    def hold(self, container_id: ContainerId) -> AbstractAsyncContextManager[bool]:
        """Keep one at rest, for the time of a `with` block."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How a step's container ended."""

    id: ContainerId
    code: int


class StepContainers:
    """Runs the containers of steps."""

    def __init__(
        self, containers: Containers, rest: Rest, monitor: Monitor, cache: BuildCache
    ) -> None:
        self._containers = containers
        self._rest = rest
        self._monitor = monitor
        self._cache = cache

    async def create(self, params: CreateParams) -> ContainerId:
        """Make a container, noted beforehand so that a crash does not leave it.

        Raises:
            PinnaceError: See `ContainerService.create`.

        Cancelled: there is none.
        """
        container = ContainerId(secrets.token_hex(32))
        try:
            await self._cache.add_container(container)
            await to_its_end(self._containers.create(replace(params, id=container)))
        except asyncio.CancelledError:
            await to_its_end(self.remove(container))
            raise
        except BaseException:
            await to_its_end(self._cache.forget_container(container))
            raise
        return container

    async def run(self, container: ContainerId, took: Took) -> Ended:
        """Start it, hand over its output and wait for its end.

        Args:
            container: Made by `create`.
            took: Gets the stream (1 or 2) and bytes.

        Raises:
            PinnaceError: It could not be started.

        Cancelled: it may still run; `remove` and `stop` kill it.
        """
        ours, theirs = socket.socketpair()
        with ours, contextlib.ExitStack() as closing:
            closing.callback(theirs.close)
            ours.settimeout(0)
            sink = Sink(stdin=False, stdout=True, stderr=True, framed=True)
            attachment = await self._monitor.attach(container, theirs.fileno(), sink, pending=True)
            theirs.close()
            reading = asyncio.create_task(_frames(ours, took), name="output of a build step")
            try:
                ticket = await self._containers.wait(container, "next-exit")
                # A start is not left half-way; whoever cancels removes what runs then.
                await to_its_end(self._containers.start(container))
                result = await ticket.result()
                await reading
            finally:
                await _let_go(reading, attachment)
        return Ended(container, result.status_code)

    def at_rest(self, container: ContainerId) -> AbstractAsyncContextManager[bool]:
        """Keep an ended container from running again; see `ContainerRest.hold`."""
        return self._rest.hold(container)

    async def remove(self, container: ContainerId) -> None:
        """Remove a container with its volumes, running or not."""
        try:
            await self._containers.remove(container, force=True, volumes=True)
        except NotFound:
            pass
        except (Conflict, PinnaceError):
            log.exception("a build step's container stays", extra={"container": container})
            return
        await self._cache.forget_container(container)

    async def stop(self, container: ContainerId) -> None:
        """Kill a container if it runs, and leave it to the user."""
        try:
            await self._containers.kill(container, "SIGKILL")
        except (Conflict, NotFound):
            pass  # it does not run
        except PinnaceError:
            log.exception("a build step's container goes on", extra={"container": container})
        await self.keep(container)

    async def keep(self, container: ContainerId) -> None:
        """Leave a container to the user."""
        await self._cache.forget_container(container)

    async def remove_left(self) -> list[ContainerId]:
        """Remove the containers that an earlier daemon's builds left."""
        left = list(await self._cache.containers())
        for container in left:
            await self.remove(container)
        return left


async def _let_go(reading: "asyncio.Task[None]", attachment: Attachment) -> None:
    if reading.done():
        return
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    with contextlib.suppress(PinnaceError):
        await asyncio.shield(attachment.cancel())


async def _frames(source: socket.socket, took: Took) -> None:
    """Read stdcopy frames to the end."""
    loop = asyncio.get_running_loop()
    stream, left = 1, 0
    held = b""
    while data := await loop.sock_recv(source, _READ):
        held += data
        while held:
            if left:
                piece, held = held[:left], held[left:]
                left -= len(piece)
                await took(stream, piece)
                continue
            if len(held) < _HEADER:
                break
            stream, left = held[0], int.from_bytes(held[4:_HEADER], "big")
            held = held[_HEADER:]
