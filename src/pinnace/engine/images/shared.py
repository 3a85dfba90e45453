"""Work that several clients want at the same time, done once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar

from pinnace.engine.images.bridge import Message, Progress
from pinnace.errors import PinnaceError

T = TypeVar("T")


class Audience:
    """Everybody who is shown how one piece of work goes on; any thread may tell."""

    def __init__(self) -> None:
        self._watchers: list[Progress] = []
        self._latest: Message | None = None

    def say(self, message: Message) -> None:
        """Tell what must arrive."""
        self._latest = message
        for watcher in tuple(self._watchers):
            watcher.say(message)

    def show(self, message: Message) -> None:
        """Tell what may be dropped."""
        self._latest = message
        for watcher in tuple(self._watchers):
            watcher.show(message)

    def join(self, watcher: Progress) -> None:
        """Tell `watcher` too from now on, and what was told last."""
        self._watchers.append(watcher)
        if self._latest is not None:
            watcher.say(self._latest)

    def leave(self, watcher: Progress) -> None:
        """Tell it no longer."""
        self._watchers.remove(watcher)

    @property
    def is_empty(self) -> bool:
        """Whether nobody listens."""
        return not self._watchers


class _Running(Generic[T]):
    def __init__(self, audience: Audience, task: "asyncio.Task[T]") -> None:
        self.audience = audience
        self.task = task
        self.is_given_up = False


class _GivenUp(Exception):
    """Everybody else left, so that the work was cancelled."""


class SharedWork(Generic[T]):
    """Runs work by key; ends it when the last who wants it leaves."""

    def __init__(self) -> None:
        self._running: dict[Hashable, _Running[T]] = {}

    async def join(
        self,
        key: Hashable,
        work: Callable[[Audience], Coroutine[object, object, T]],
        watcher: Progress,
    ) -> T:
        """Return what the work comes to, started by `work` unless it runs already.

        When what somebody else started fails, `work` is tried as well: it may have other
        credentials.

        Cancelled: the work goes on for the others; without others it is cancelled and its end
        awaited.
        """
        while (running := self._running.get(key)) is not None:
            try:
                return await self._follow(running, watcher)
            except (PinnaceError, _GivenUp):
                continue
        return await self._follow(self._start(key, work), watcher)

    async def _follow(self, running: "_Running[T]", watcher: Progress) -> T:
        if running.is_given_up:
            await asyncio.wait([running.task])
            raise _GivenUp
        running.audience.join(watcher)
        try:
            return await asyncio.shield(running.task)
        finally:
            running.audience.leave(watcher)
            if running.audience.is_empty and not running.task.done():
                running.is_given_up = True
                running.task.cancel()
                await asyncio.wait([running.task])

    def _start(
        self, key: Hashable, work: Callable[[Audience], Coroutine[object, object, T]]
    ) -> _Running[T]:
        audience = Audience()
        task = asyncio.create_task(work(audience), name=f"shared work: {key}")
        running = _Running(audience, task)
        self._running[key] = running

        def end(ended: "asyncio.Task[T]") -> None:
            del self._running[key]
            if not ended.cancelled():
                ended.exception()  # seen, also when everybody has left

        task.add_done_callback(end)
        return running
