"""Filters and moments as options give them and as the API takes them."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

from pinnace.cli.values import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable


def encode_filters(items: Iterable[str]) -> str | None:
    """Return the JSON of `key=value` filters, or None without any."""
    filters: dict[str, list[str]] = {}
    for item in items:
        key, _, value = item.partition("=")
        filters.setdefault(key.strip(), []).append(value)
    return json.dumps(filters) if filters else None


def moment(text: str | None, now_s: float) -> str | None:
    """Return Unix seconds of a time: Unix seconds, a duration back such as "10m", or RFC 3339.

    Raises:
        ValueError: It is none of these.
    """
    if text is None or text.replace(".", "", 1).isdigit():
        return text
    try:
        return f"{now_s - parse_duration(text) / 1e9:.9f}"
    except ValueError:
        pass
    try:
        parsed = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"invalid time: '{text}'") from None
    return f"{parsed.timestamp():.9f}"
