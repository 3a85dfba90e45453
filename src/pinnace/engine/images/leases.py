"""Content in flight: what is being loaded, pulled or committed must not be collected."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Key = TypeVar("Key", bound=str)


class Leases:
    """Counts who holds a layer or a blob; any thread may call.

    Keys are chain ids of layers, diff ids of what is staged, digests of blobs.

    In memory only: after a crash nobody holds anything, and boot removes what no image has.
    """

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._holders_of_all = 0
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, keys: Iterable[str]) -> Iterator[None]:
        """Keep `keys`, existing or to come, for the time of a `with` block."""
        held = list(keys)
        with self._lock:
            self._held.update(held)
        try:
            yield
        finally:
            with self._lock:
                self._held.subtract(held)
                self._held += Counter()

    @contextmanager
    def hold_all(self) -> Iterator[None]:
        """Keep everything: for work that learns only at its end which one it makes."""
        with self._lock:
            self._holders_of_all += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders_of_all -= 1

    def is_held(self, key: str) -> bool:
        """Whether somebody holds `key`."""
        with self._lock:
            return self._holders_of_all > 0 or self._held[key] > 0

    def unless_held(self, key: Key, remove: Callable[[Key], object]) -> bool:
        """Call `remove` if nobody holds `key`; a new holder waits for its end."""
        with self._lock:
            if self._holders_of_all or self._held[key] > 0:
                return False
            remove(key)
            return True
