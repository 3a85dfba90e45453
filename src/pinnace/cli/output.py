"""How things look for a person: tables, sizes, ages, and text that cannot harm a terminal."""

from __future__ import annotations

import datetime
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Everything a terminal acts upon: C0 but line feed and tab, DEL, C1, and the direction overrides.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
AGE_STEPS = (
    (60, 1, "second"),
    (60 * 60, 60, "minute"),
    (48 * 3600, 3600, "hour"),
    (14 * 86400, 86400, "day"),
    (60 * 86400, 7 * 86400, "week"),
    (2 * 365 * 86400, 30 * 86400, "month"),
)


def printable(text: str) -> str:
    r"""Replace what a terminal would act upon by its escaped form (`\x1b`)."""
    return UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out columns with three spaces between them, as the Docker CLI does."""
    lines = [list(head), *([printable(cell).replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def size(size_bytes: float) -> str:
    """Return a decimal size with up to four digits: 1.98MB, 332MB, 12.3kB."""
    unit = 0
    while abs(size_bytes) >= 1000 and unit < len(SIZE_UNITS) - 1:
        size_bytes /= 1000
        unit += 1
    return f"{size_bytes:.3g}{SIZE_UNITS[unit]}"


def age(seconds: float) -> str:
    """Return a rough duration: "5 minutes", "About an hour", "3 weeks"."""
    for limit, unit_s, name in AGE_STEPS:
        if seconds < limit:
            count = max(0, int(seconds // unit_s))
            if seconds < 1:
                return "Less than a second"
            if count == 1 and name in ("minute", "hour"):
                return "About a minute" if name == "minute" else "About an hour"
            return f"{count} {name}" + ("s" if count != 1 else "")
    return f"{int(seconds // (365 * 86400))} years"


def ago(unix_s: float, now_s: float) -> str:
    """Return the age of a moment, or "N/A" for the zero time."""
    return f"{age(now_s - unix_s)} ago" if unix_s > 0 else "N/A"


def short_id(full: str) -> str:
    """Return the twelve digits by which a person knows an object."""
    return full.removeprefix("sha256:")[:12]


def moment(time_nano: int) -> str:
    """Return a local time with nanoseconds, RFC 3339."""
    seconds, nanos = divmod(time_nano, 1_000_000_000)
    local = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()
    zone = local.isoformat(timespec="seconds")[19:]
    return f"{local:%Y-%m-%dT%H:%M:%S}.{nanos:09d}{zone}"


def is_terminal() -> bool:
    """Tell whether standard output is a terminal."""
    return sys.stdout.isatty()


def ellipsis(text: str, width: int) -> str:
    """Cut a text to a width, marking the cut."""
    return text if len(text) <= width else text[: width - 1] + "…"
