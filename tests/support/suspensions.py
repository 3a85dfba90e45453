"""Cancelling work at every point at which it waits, one run after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator


class _Watched:
    """Awaits a coroutine and tells whenever it waits."""

    def __init__(self, inner: Coroutine[Any, Any, Any], waits: Callable[[], None]) -> None:
        self._inner = inner
        self._waits = waits

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self._inner.send(None)  # noqa: E731
        while True:
            try:
                wanted = step()
            except StopIteration as stop:
                return stop.value
            self._waits()
            try:
                sent = yield wanted
                step = lambda sent=sent: self._inner.send(sent)  # noqa: E731
            except GeneratorExit:
                self._inner.close()
                raise
            except BaseException as exc:
                step = lambda exc=exc: self._inner.throw(exc)  # noqa: E731


async def _run(inner: Coroutine[Any, Any, Any], waits: Callable[[], None]) -> Any:
    return await _Watched(inner, waits)


async def cancelled_at(work: Coroutine[Any, Any, Any], number: int, *, times: int = 1) -> bool:
    """Run `work` and cancel it when it, or a task it began, waits for the `number`-th time.

    Args:
        work: What to run.
        number: From 1.
        times: How often it is cancelled, each time when something waits again.

    Returns:
        Whether it came to that; everything has ended by then.
    """
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    seen = 0

    def waits() -> None:
        nonlocal seen
        seen += 1
        if number <= seen < number + times:
            loop.call_soon(task.cancel)

    def make(_loop: asyncio.AbstractEventLoop, inner: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_run(inner, waits), loop=loop, **options)

    loop.set_task_factory(make)
    try:
        task = asyncio.create_task(work)
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
        async with asyncio.timeout(10):
            while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
                await asyncio.wait(left)
    finally:
        loop.set_task_factory(None)
    return seen >= number


async def cancelled_everywhere(
    attempt: Callable[[], Coroutine[Any, Any, Any]],
    check: Callable[[int], Awaitable[None]],
    *,
    times: int = 1,
) -> int:
    """Cancel attempts at the first point, the second, …, until one is through; check after each.

    Returns:
        How many points there were.
    """
    number = 1
    while await cancelled_at(attempt(), number, times=times):
        await check(number)
        number += 1
    await check(number)
    return number - 1
