"""Layers in flight: what is being loaded, pulled or committed must not be collected."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pinnace.oci.chain import ChainId


class Leases:
    """Counts who holds a layer; any thread may call.

    In memory only: after a crash nobody holds anything, and boot removes what no image has.
    """

    def __init__(self) -> None:
        self._held: Counter[ChainId] = Counter()
        self._holders_of_all = 0
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, chains: Iterable[ChainId]) -> Iterator[None]:
        """Keep `chains`, existing or to come, for the time of a `with` block."""
        held = list(chains)
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
        """Keep every layer: for work that learns only at its end which one it makes."""
        with self._lock:
            self._holders_of_all += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders_of_all -= 1

    def unless_held(self, chain: ChainId, remove: Callable[[ChainId], None]) -> bool:
        """Call `remove` if nobody holds the layer; a new holder waits for its end."""
        with self._lock:
            if self._holders_of_all or self._held[chain] > 0:
                return False
            remove(chain)
            return True
