"""How often and when something is tried again."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pinnace.errors import PinnaceError
from pinnace.host.registry.failures import ServerFailed, Throttled, is_passing

T = TypeVar("T")

log = logging.getLogger(__name__)

_LONGEST_S = 8.0
_LONGEST_ASKED_S = 60.0
# Progress makes attempts count anew, but not for ever: a server may give a byte each time.
_TOTAL_FACTOR = 20


@dataclass(frozen=True, slots=True)
class Patience:
    """How often something is tried, and how long the first pause may be."""

    attempts: int
    backoff_s: float

    def once(self) -> "Patience":
        """Return the patience for servers that others can stand in for."""
        return Patience(1, self.backoff_s)


class Retries:
    """The attempts of one transfer.

    Args:
        patience: How many in a row may fail before it fails.
    """

    def __init__(self, patience: Patience) -> None:
        self._attempts = patience.attempts
        self._backoff_s = patience.backoff_s
        self._failed = 0
        self._total = 0

    def progressed(self) -> None:
        """Note that an attempt brought something."""
        self._failed = 0

    async def failed(self, error: PinnaceError) -> None:
        """Wait until the next attempt.

        Waits as long as the server asks for, up to a minute; otherwise twice as long as before,
        with jitter, so that clients cut off together do not come back together.

        Raises:
            PinnaceError: `error`, when there is no next attempt.
        """
        self._failed += 1
        self._total += 1
        exhausted = self._failed >= self._attempts
        if exhausted or self._total >= self._attempts * _TOTAL_FACTOR or not is_passing(error):
            raise error
        delay_s = self._delay(error)
        log.info("registry: trying again in %.1f s: %s", delay_s, error)
        await asyncio.sleep(delay_s)

    def _delay(self, error: PinnaceError) -> float:
        if isinstance(error, ServerFailed | Throttled) and error.retry_after_s is not None:
            return min(error.retry_after_s, _LONGEST_ASKED_S)
        longest = min(self._backoff_s * 2.0 ** (self._failed - 1), _LONGEST_S)
        return random.uniform(longest / 2, longest)  # noqa: S311  spreads load, guards nothing


async def retrying(patience: Patience, operation: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `operation`, which is tried again when what failed may pass."""
    retries = Retries(patience)
    while True:
        try:
            return await operation()
        except PinnaceError as exc:
            await retries.failed(exc)
