"""Tasks that outlive the request that asked for them.

A dropped connection must not leave a half-started container: mutations run in tasks of the daemon,
and the request only waits for them (ARCHITECTURE rule C5).
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TypeVar

from pinnace.errors import PinnaceError

T = TypeVar("T")

log = logging.getLogger(__name__)


class OwnedTasks:
    """Holds running mutations until they end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self, work: Coroutine[object, object, T], name: str) -> T:
        """Run `work` to its end, whatever becomes of the caller, and return its result.

        Cancelled: the caller is let go at once; the work goes on, its failure is logged.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell_failure)
            raise

    async def drain(self, timeout_s: float) -> int:
        """Wait for the running work; return how many pieces are left when time is up."""
        if not self._tasks:
            return 0
        _, left = await asyncio.wait(tuple(self._tasks), timeout=timeout_s)
        return len(left)


def _tell_failure(task: "asyncio.Task[T]") -> None:
    if task.cancelled():
        return
    failure = task.exception()
    if isinstance(failure, PinnaceError):
        log.info("abandoned request failed", extra={"task": task.get_name(), "why": failure})
    elif failure is not None:
        log.error("abandoned request failed", exc_info=failure, extra={"task": task.get_name()})
