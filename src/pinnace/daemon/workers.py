"""Who does the daemon's work beside the event loop: bounded threads, and tasks with an owner."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

WORKERS = 8
TRANSFERS = 24  # threads that may wait for clients or registries at the same time


class Workers:
    """Bounded threads for blocking work; implements the engine's `Offload` protocols."""

    def __init__(self, threads: int = WORKERS) -> None:
        self.pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="work")

    async def __call__(self, fn: Callable[[], T], /) -> T:
        """Run `fn` in a thread. Cancelled: it goes on, its result is lost."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, fn)


class Tasks:
    """Background tasks, owned by the daemon's one task group; a failure is logged, not spread."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def __call__(
        self, work: Coroutine[object, object, None], *, name: str
    ) -> "asyncio.Task[None]":
        """Start `work` under `name`."""
        return self._group.create_task(self._guarded(work, name), name=name)

    async def _guarded(self, work: Coroutine[object, object, None], name: str) -> None:
        try:
            await work
        except Exception:  # one of the four edges: a task must not take the daemon down
            log.exception("background task failed: %s", name)
