"""Progress messages as Docker's clients expect them: words, counts and a bar drawn in text.

`progress` repeats `progressDetail` as text, for clients that only print. Form of both: Moby,
`pkg/streamformatter` and `pkg/jsonmessage`; sizes are decimal with four digits.
"""

import time
from collections.abc import Callable

from pinnace.engine.images.bridge import Message

UPDATES_PER_S = 10
_CELLS = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def step(status: str, id: str) -> Message:  # noqa: A002 - Docker's word
    """Return a message about a layer that has nothing to count."""
    return {"status": status, "progressDetail": {}, "id": id}


def counted(status: str, id: str, current: int, total: int) -> Message:  # noqa: A002
    """Return a message with a bar; bytes, a `total` of 0 is unknown."""
    detail = {"current": current, "total": total} if total > 0 else {"current": current}
    return {
        "status": status,
        "progressDetail": detail,
        "progress": bar(current, total),
        "id": id,
    }


def bar(current: int, total: int) -> str:
    """Return `[=====>     ]  1.2MB/3.4MB`, or the current size alone without a total."""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{human_size(current):>8}"
    cells = min(current * 100 // total // 2, _CELLS)
    drawn = f"[{'=' * cells}>{' ' * (_CELLS - cells)}] {human_size(current):>8}"
    return drawn if current > total else f"{drawn}/{human_size(total)}"


def human_size(size: int) -> str:
    """Return bytes as Docker prints them: `1.984MB`."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.4g}{_UNITS[unit]}"


class Meter:
    """Shows how far one layer is, at most `UPDATES_PER_S` times a second.

    Any one thread or the loop may call.

    Args:
        show: Takes the messages that may be dropped.
        status: Docker's word, such as `Downloading`.
        id: The layer, 12 digits.
        total: Bytes in all; 0: unknown.
        clock: Seconds.
    """

    def __init__(
        self,
        show: Callable[[Message], None],
        status: str,
        id: str,  # noqa: A002
        total: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show = show
        self._status = status
        self._id = id
        self._total = total
        self._clock = clock
        self._next = clock()
        self._current = 0

    def at(self, current: int) -> None:
        """Say that `current` bytes are done."""
        self._current = current
        now = self._clock()
        if now >= self._next or current == self._total:
            self._next = now + 1 / UPDATES_PER_S
            self._show(counted(self._status, self._id, current, self._total))

    def add(self, count: int) -> None:
        """Say that `count` more bytes are done."""
        self.at(self._current + count)
