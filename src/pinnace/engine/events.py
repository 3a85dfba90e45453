"""What happened, for `GET /events`: history and live subscribers."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pinnace.engine.filters import Filters
from pinnace.model.event import Actor, Event

log = logging.getLogger(__name__)

HISTORY = 1000  # events kept for `since`
QUEUE = 1024  # events a slow subscriber may lag behind before it is cut off

FILTER_KEYS = frozenset(
    {
        "config", "container", "daemon", "event", "image", "label", "network", "node",
        "plugin", "scope", "secret", "service", "type", "volume",
    }
)  # fmt: skip


@dataclass(eq=False, slots=True)
class Subscription:
    """A live reader; iterate it. Ends at `until`, or when the reader was too slow."""

    filters: Filters
    until_ns: int | None
    backlog: deque[Event]
    queue: asyncio.Queue[Event | None] = field(default_factory=lambda: asyncio.Queue(QUEUE))

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events()

    async def _events(self) -> AsyncIterator[Event]:
        while self.backlog:
            yield self.backlog.popleft()
        while True:
            try:
                async with asyncio.timeout(self._left()):
                    event = await self.queue.get()
            except TimeoutError:
                return
            if event is None:
                return
            yield event

    def _left(self) -> float | None:
        if self.until_ns is None:
            return None
        return max(0.0, (self.until_ns - time.time_ns()) / 1e9)


class EventLog:
    """Publishes events to subscribers and keeps the newest `HISTORY`."""

    def __init__(self, history: Iterable[Event] = ()) -> None:
        self._history = deque(history, maxlen=HISTORY)
        self._subscriptions: set[Subscription] = set()
        self._unsaved: list[Event] = []
        self._last_ns = 0

    def publish(
        self, type_: str, action: str, actor_id: str, attributes: Mapping[str, str] | None = None
    ) -> None:
        """Record an event and hand it to every subscriber; never blocks."""
        now = max(time.time_ns(), self._last_ns + 1)
        self._last_ns = now
        event = Event(
            type=type_,
            action=action,
            actor=Actor(id=actor_id, attributes=dict(attributes or {})),
            time=now // 1_000_000_000,
            time_nano=now,
        )
        self._history.append(event)
        self._unsaved.append(event)
        for subscription in tuple(self._subscriptions):
            if event_matches(event, subscription.filters):
                self._deliver(subscription, event)

    @asynccontextmanager
    async def subscribe(
        self, since_ns: int | None, until_ns: int | None, filters: Filters
    ) -> AsyncIterator[Subscription]:
        """Give past events from `since_ns` on, then live ones until `until_ns`.

        Raises:
            InvalidParameter: An unknown filter.
        """
        filters.validate(FILTER_KEYS)
        backlog = deque(
            event
            for event in self._history
            if since_ns is not None
            and event.time_nano >= since_ns
            and (until_ns is None or event.time_nano <= until_ns)
            and event_matches(event, filters)
        )
        subscription = Subscription(filters, until_ns, backlog)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def take_unsaved(self) -> list[Event]:
        """Return the events published since the last call, for the store."""
        unsaved, self._unsaved = self._unsaved, []
        return unsaved

    def end(self) -> None:
        """End every subscription (shutdown)."""
        for subscription in tuple(self._subscriptions):
            self._cut(subscription)

    def _deliver(self, subscription: Subscription, event: Event) -> None:
        if subscription.queue.qsize() >= QUEUE - 1:
            log.warning("events reader cut off: more than %d events behind", QUEUE)
            self._cut(subscription)
        else:
            subscription.queue.put_nowait(event)

    def _cut(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        subscription.queue.put_nowait(None)


def event_matches(event: Event, filters: Filters) -> bool:
    """Whether an event passes the filters of `GET /events`."""
    attributes = event.actor.attributes

    def names(kind: str) -> bool:
        candidates = {event.actor.id, attributes.get("name", "")}
        if kind == "image":
            candidates |= {attributes.get("image", "")}
        return filters.matches(
            kind,
            lambda value: (
                (event.type == kind and (value in candidates or event.actor.id.startswith(value)))
                or (kind == "image" and event.type == "container" and value in candidates)
            ),
        )

    return (
        filters.matches("type", lambda value: value == event.type)
        and filters.matches("scope", lambda value: value == event.scope)
        and filters.matches("event", lambda value: _action_matches(event.action, value))
        and filters.matches_labels(attributes)
        and names("container")
        and names("image")
        and names("volume")
        and names("network")
        and filters.matches(
            "daemon",
            lambda value: (
                event.type == "daemon" and value in {event.actor.id, attributes.get("name", "")}
            ),
        )
        and not any(key in filters for key in ("config", "node", "plugin", "secret", "service"))
    )


def _action_matches(action: str, wanted: str) -> bool:
    """`exec_start` matches `exec_start: sh`; `health_status` matches `health_status: healthy`."""
    return action == wanted or action.partition(":")[0] == wanted
