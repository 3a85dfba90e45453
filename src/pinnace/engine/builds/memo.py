"""What COPY --from found in layers, remembered: layers never change, and hashing takes time."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

from pinnace.contracts.build_files import Selection

_MOST_ENTRIES = 100_000


class SelectionMemo:
    """Selections by layer and words, the least recently used forgotten; any thread may call."""

    def __init__(self, most_entries: int = _MOST_ENTRIES) -> None:
        """Keep selections of at most `most_entries` files together."""
        self._most = most_entries
        self._known: OrderedDict[Hashable, list[Selection]] = OrderedDict()
        self._entries = 0
        self._lock = Lock()

    def get(self, key: Hashable, find: Callable[[], list[Selection]]) -> list[Selection]:
        """Return what is known for `key`, or what `find` returns, which may raise."""
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        found = find()
        with self._lock:
            if key not in self._known:
                self._known[key] = found
                self._entries += _size(found)
            while self._entries > self._most:
                _, forgotten = self._known.popitem(last=False)
                self._entries -= _size(forgotten)
        return found


def _size(selections: list[Selection]) -> int:
    return 1 + sum(len(selection.entries) for selection in selections)
