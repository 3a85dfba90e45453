"""A small epoll loop: descriptors, timers, and nothing else."""

from __future__ import annotations

import heapq
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
ERROR = select.EPOLLERR | select.EPOLLHUP


class Timer:
    """A call that is due at a time; cancel it by `cancel()`."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self.call: Callable[[], None] | None = call

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due

    def cancel(self) -> None:
        """Forget the call."""
        self.call = None


class Loop:
    """Calls a handler with the event mask when its descriptor is ready (level-triggered).

    Handlers must tolerate being called for nothing: a descriptor number may be used again within
    one round of events. A handler that raises is reported and its descriptor no longer watched.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []
        self._report = report
        self.running = False

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Start calling `handler`; with `events` 0 only for errors and hang-ups."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events on a watched descriptor."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching; must come before the descriptor is closed. Unknown ones are ignored."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call something once, `delay_s` from now."""
        timer = Timer(time.monotonic() + delay_s, call)
        heapq.heappush(self._timers, timer)
        return timer

    def run(self) -> None:
        """Run until `running` is set to False."""
        self.running = True
        while self.running:
            self.run_once()

    def run_once(self, timeout_s: float | None = None) -> None:
        """Wait for one round of events and serve it."""
        for fd, events in self._epoll.poll(self._patience(timeout_s)):
            handler = self._handlers.get(fd)
            if handler is not None:
                self._serve(fd, handler, events)
        now = time.monotonic()
        while self._timers and self._timers[0].due <= now:
            timer = heapq.heappop(self._timers)
            if timer.call is not None:
                self._guard(timer.call)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()

    def _patience(self, timeout_s: float | None) -> float | None:
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return timeout_s
        due = max(0.0, self._timers[0].due - time.monotonic())
        return due if timeout_s is None else min(due, timeout_s)

    def _serve(self, fd: int, handler: Callable[[int], None], events: int) -> None:
        try:
            handler(events)
        except Exception as exc:  # noqa: BLE001 - an edge: others go on
            self._report(f"handler of descriptor {fd}: {_where(exc)}")
            self.unwatch(fd)

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as exc:  # noqa: BLE001 - as above
            self._report(f"timer: {_where(exc)}")


def _where(exc: Exception) -> str:
    """Return the error and the lines it passed through, without importing traceback."""
    places = []
    trace = exc.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}")  # noqa: PTH119
        trace = trace.tb_next
    return f"{type(exc).__name__}: {exc} ({' '.join(places)})"
