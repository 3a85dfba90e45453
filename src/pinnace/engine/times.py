"""Points in time as users give them: timestamps, dates, and durations back from now."""

import re
from datetime import UTC, datetime

from pinnace.errors import InvalidParameter

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MAX_NS = 2.0**63 - 1024  # the greatest float that 63 bits hold
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"(?:{_PART})+")
_TIMESTAMP = re.compile(r"(\d+)(?:\.(\d{1,9}))?")
_FRACTION = re.compile(r"\.(\d+)")


def parse_time(text: str, *, now_ns: int) -> int:
    """Return Unix nanoseconds of `1700000000.5`, `2013-06-14T09:12:44Z` or `10m` (before now).

    Raises:
        InvalidParameter: None of these.
    """
    timestamp = _TIMESTAMP.fullmatch(text)
    if timestamp:
        return int(timestamp[1]) * 1_000_000_000 + int((timestamp[2] or "0").ljust(9, "0"))
    if _DURATION.fullmatch(text):
        return now_ns - parse_duration(text)
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text))
    except ValueError:
        raise InvalidParameter(f'failed to parse value as time or duration: "{text}"') from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    fraction = _FRACTION.search(text)
    nanos = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    return int(moment.timestamp()) * 1_000_000_000 + nanos


def parse_duration(text: str) -> int:
    """Return nanoseconds of a Go duration such as `1h30m`.

    Raises:
        InvalidParameter: Not one.
    """
    parts = re.findall(_PART, text) if _DURATION.fullmatch(text) else []
    total = sum(float(number) * _UNITS_NS[unit] for number, unit in parts)
    if not parts or total > _MAX_NS:
        raise InvalidParameter(f'invalid duration "{text}"')
    return sum(int(float(number) * _UNITS_NS[unit]) for number, unit in parts)
