"""HEALTHCHECK: its flags and forms."""

import re

from pinnace.engine.builds.flags import Flags, Kind
from pinnace.engine.builds.lexer import json_words
from pinnace.engine.times import parse_duration
from pinnace.errors import InvalidParameter
from pinnace.model.container import HealthConfig

HEALTH_FLAGS = {
    "interval": Kind.STRING,
    "timeout": Kind.STRING,
    "start-period": Kind.STRING,
    "start-interval": Kind.STRING,
    "retries": Kind.STRING,
}

_LEAST_NS = 1_000_000
_UNITS = ("ns", "us", "µs", "ms", "s", "m", "h")
_NUMBER = re.compile(r"[+-]?\d+")
_WITHOUT_UNIT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([^\d.]*)")
_INT32_MAX = 2**31 - 1


def parse_health(form: str, rest: str, flags: Flags) -> HealthConfig:
    """Return what `HEALTHCHECK <flags> <form> <rest>` asks for.

    Args:
        form: `NONE` or `CMD`.
        rest: The command line.
        flags: Those of HEALTH_FLAGS.

    Raises:
        InvalidParameter: As dockerd says it.
    """
    if form == "NONE":
        if rest:
            raise InvalidParameter("HEALTHCHECK NONE takes no arguments")
        return HealthConfig(test=["NONE"])
    if form != "CMD":
        raise InvalidParameter(f'Unknown type "{form}" in HEALTHCHECK (try CMD)')
    words = json_words(rest)
    if not rest or words == ():
        raise InvalidParameter("Missing command after HEALTHCHECK CMD")
    return HealthConfig(
        test=["CMD-SHELL", rest] if words is None else ["CMD", *words],
        interval=_interval("interval", flags),
        timeout=_interval("timeout", flags),
        start_period=_interval("start-period", flags),
        start_interval=_interval("start-interval", flags),
        retries=_retries(flags.text("retries")),
    )


def _interval(name: str, flags: Flags) -> int:
    text = flags.text(name)
    if text in ("", "0"):
        return 0
    sign = -1 if text.startswith("-") else 1
    bare = text.removeprefix("-" if sign < 0 else "+")
    try:
        duration_ns = sign * parse_duration(bare)
    except InvalidParameter:
        raise InvalidParameter(_duration_fault(text, bare)) from None
    if duration_ns and duration_ns < _LEAST_NS:
        raise InvalidParameter(f'Interval "{name}" cannot be less than 1ms')
    return duration_ns


def _duration_fault(text: str, bare: str) -> str:
    """Say what is wrong with a duration as Go's time.ParseDuration does."""
    match = _WITHOUT_UNIT.fullmatch(bare)
    if not match or match[2] in _UNITS:
        return f'time: invalid duration "{text}"'
    if not match[2]:
        return f'time: missing unit in duration "{text}"'
    return f'time: unknown unit "{match[2]}" in duration "{text}"'


def _retries(text: str) -> int:
    if not text:
        return 0
    if not _NUMBER.fullmatch(text):
        raise InvalidParameter(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > 12 or not -_INT32_MAX - 1 <= int(text) <= _INT32_MAX:
        raise InvalidParameter(f'strconv.ParseInt: parsing "{text}": value out of range')
    if int(text) < 0:
        raise InvalidParameter(f"--retries cannot be negative ({int(text)})")
    return int(text)
