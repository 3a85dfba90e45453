"""Who waits for a container to stop, to exit, or to be gone."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, get_args

from pinnace.errors import InvalidParameter

Condition = Literal["not-running", "next-exit", "removed"]
_CONDITIONS: tuple[Condition, ...] = get_args(Condition)


@dataclass(frozen=True, slots=True)
class WaitResult:
    """How the container ended; `error` when its removal failed."""

    status_code: int
    error: str | None = None


class WaitTicket:
    """A registered wait; the API sends its head between `wait` and `result`."""

    def __init__(self, future: "asyncio.Future[WaitResult]") -> None:
        self._future = future

    async def result(self) -> WaitResult:
        """Wait for the condition."""
        return await asyncio.shield(self._future)


def parse_condition(text: str) -> Condition:
    """Return the condition; "" is not-running.

    Raises:
        InvalidParameter: `invalid condition: "TEXT"`.
    """
    for condition in _CONDITIONS:
        if text == condition:
            return condition
    if text == "":
        return "not-running"
    raise InvalidParameter(f'invalid condition: "{text}"')


class Waiters:
    """Futures by container and condition."""

    def __init__(self) -> None:
        self._futures: dict[str, list[tuple[Condition, asyncio.Future[WaitResult]]]] = defaultdict(
            list
        )

    def add(self, container_id: str, condition: Condition) -> WaitTicket:
        """Register a wait that is not fulfilled yet."""
        future: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
        self._futures[container_id].append((condition, future))
        return WaitTicket(future)

    @staticmethod
    def done(result: WaitResult) -> WaitTicket:
        """Return a wait that is fulfilled already."""
        future: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
        future.set_result(result)
        return WaitTicket(future)

    def exited(self, container_id: str, result: WaitResult) -> None:
        """Fulfil the waits for the exit."""
        self._fulfil(container_id, result, {"not-running", "next-exit"})

    def removed(self, container_id: str, result: WaitResult) -> None:
        """Fulfil every wait for the container."""
        self._fulfil(container_id, result, set(_CONDITIONS))
        self._futures.pop(container_id, None)

    def removal_failed(self, container_id: str, result: WaitResult) -> None:
        """Tell those who wait for the removal that it failed."""
        self._fulfil(container_id, result, {"removed"})

    def _fulfil(self, container_id: str, result: WaitResult, conditions: set[Condition]) -> None:
        waiting = self._futures.pop(container_id, [])
        left = [(wanted, future) for wanted, future in waiting if wanted not in conditions]
        for wanted, future in waiting:
            if wanted in conditions and not future.done():
                future.set_result(result)
        if left:
            self._futures[container_id] = left
