"""Signals by name or number, as `docker kill` takes them."""

import re
import signal

from pinnace.errors import InvalidParameter

_REALTIME = re.compile(r"(RTMIN|RTMAX)(?:([+-])(\d{1,2}))?")
_RTMIN, _RTMAX = 34, 64


def parse_signal(text: str) -> int:
    """Return the number of `9`, `KILL`, `SIGKILL`, `RTMIN+3`, … in any case.

    Raises:
        InvalidParameter: `invalid signal: TEXT`.
    """
    if text.isascii() and text.isdigit():
        # int() refuses thousands of digits with an error of its own.
        number = int(text[:9])
        if 0 < number <= _RTMAX and len(text) <= 9:
            return number
        raise InvalidParameter(f"invalid signal: {text}")
    name = text.upper().removeprefix("SIG")
    realtime = _REALTIME.fullmatch(name)
    if realtime:
        base = _RTMIN if realtime[1] == "RTMIN" else _RTMAX
        number = base + int(f"{realtime[2] or '+'}{realtime[3] or 0}")
        if _RTMIN <= number <= _RTMAX:
            return number
    elif f"SIG{name}" in signal.Signals.__members__:
        return signal.Signals[f"SIG{name}"].value
    raise InvalidParameter(f"invalid signal: {text}")
