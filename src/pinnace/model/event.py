"""Events as `GET /events` sends them (API 1.56)."""

from msgspec import field

from pinnace.model.record import Record


class Actor(Record, frozen=True, kw_only=True):
    """What the event is about."""

    id: str = field(name="ID")
    attributes: dict[str, str]


class Event(Record, frozen=True, kw_only=True):
    """Something that happened. `time` in seconds, `time_nano` in nanoseconds (Unix)."""

    type: str
    action: str
    actor: Actor
    scope: str = field(name="scope", default="local")
    time: int = field(name="time")
    time_nano: int = field(name="timeNano")
