"""Several awaitables as one, and work that is not to be left in the middle."""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine, Sequence
from typing import TypeVar

T = TypeVar("T")


async def together(work: Sequence[Coroutine[object, object, T]], *, name: str) -> list[T]:
    """Await all; the first failure cancels the others, is waited out, and raised as it is."""
    tasks = [asyncio.create_task(one, name=name) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def to_its_end(work: Awaitable[T]) -> T:
    """Await `work`; when cancelled, however often, wait for its end before leaving."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):  # the first one is raised below
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen; nobody is there to be told
        raise
