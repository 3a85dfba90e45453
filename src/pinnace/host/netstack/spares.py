"""Network namespaces made in advance, so that a container's start does not wait for one.

An empty namespace takes longer to make than everything that is put into it. Made while nobody
waits, that time is nobody's. Spares are held by descriptors only: they have no name and no links
on the host, and end with the daemon, however that ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pinnace.host.netstack.sandbox import Namespace

if TYPE_CHECKING:
    from pinnace.host.kernel.namespaces import NamespaceThread

_KEPT = 2
# After a start, so that spares are not made in the middle of it, or of the next; and after an end.
_QUIET_S, _OVER_S = 0.05, 0.001


class Spares:
    """A few namespaces nobody has been in; nothing is made before the first is asked for.

    Args:
        thread: Where namespaces are made.
    """

    def __init__(self, thread: NamespaceThread) -> None:
        self._thread = thread
        self._spares: list[Namespace] = []
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> Namespace:
        """Return a namespace, which is the caller's now. On the namespace thread.

        Raises:
            OSError: None was left, and the kernel refused to make one.
        """
        return self._spares.pop() if self._spares else Namespace(self._thread)

    def refill_later(self, *, over: bool = False) -> None:
        """Make new ones once no more has been asked for during a moment. On the event loop.

        Args:
            over: A sandbox has just been removed: the moment may be short.
        """
        self.stop()
        loop = asyncio.get_running_loop()
        delay_s = _OVER_S if over else _QUIET_S
        self._timer = loop.call_later(delay_s, self._thread.post, self._refill)

    def stop(self) -> None:
        """Make no more. On the event loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Let those kept go. On the namespace thread."""
        while self._spares:
            self._spares.pop().close()

    def _refill(self) -> None:
        while len(self._spares) < _KEPT:
            self._spares.append(Namespace(self._thread))
