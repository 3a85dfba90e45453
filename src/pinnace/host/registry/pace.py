"""How fast a server must be: silence and trickles end an exchange.

Only the time spent waiting for the server counts; a slow reader of a download is no fault of it.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Stalled(TimeoutError):
    """The server was silent or too slow for too long."""


class Pace:
    """Watches one exchange.

    Args:
        stall_s: How long the server may be silent or too slow.
        low_water: Bytes per second that are fast enough.
    """

    def __init__(self, stall_s: float, low_water: int) -> None:
        self._stall_s = stall_s
        self._low_water = low_water
        self._waited_s = 0.0
        self._received = 0
        self._deadline: asyncio.Timeout | None = None

    async def of(self, piece: Awaitable[bytes]) -> bytes:
        """Return the next piece of a body.

        Raises:
            Stalled: It, or the body on average, comes too slowly.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._stall_s):
                received = await piece
        except TimeoutError as exc:
            raise Stalled from exc
        self._count(loop.time() - began, len(received))
        return received

    async def answer(self, answering: Awaitable[T], answer_s: float) -> T:
        """Return the head of an answer, which is due after the last piece that was sent.

        Raises:
            Stalled: It does not come, or the server takes nothing of what is sent.
        """
        try:
            async with asyncio.timeout(answer_s) as self._deadline:
                return await answering
        except TimeoutError as exc:
            raise Stalled from exc
        finally:
            self._deadline = None

    def sent(self, left_s: float | None = None) -> None:
        """Note that the server took a piece; it has so long for the next one, or the answer."""
        deadline = self._deadline
        if deadline is not None and not deadline.expired():
            now = asyncio.get_running_loop().time()
            deadline.reschedule(now + (self._stall_s if left_s is None else left_s))

    def _count(self, waited_s: float, size: int) -> None:
        self._waited_s += waited_s
        self._received += size
        if self._waited_s < self._stall_s:
            return
        if self._received < self._waited_s * self._low_water:
            raise Stalled
        self._waited_s, self._received = 0.0, 0
