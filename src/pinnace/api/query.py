"""Query parameters: decoding and the words they are made of."""

import re
from collections.abc import Sequence
from urllib.parse import parse_qs

from pinnace.api.changes.change import QueryMap
from pinnace.errors import InvalidParameter

_FALSE = frozenset({"", "0", "no", "false", "none"})
_STRICT = {"": False, "0": False, "false": False, "1": True, "true": True}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_TIMESTAMP = re.compile(r"(-?[0-9]{1,12})(?:\.([0-9]{1,9}))?", re.ASCII)


def parse_query(raw: str) -> QueryMap:
    """Return the parameters of a raw query string or form body.

    Raises:
        InvalidParameter: More than 1000 parameters.
    """
    if not raw:
        return {}
    try:
        return parse_qs(raw, keep_blank_values=True, max_num_fields=1000)
    except ValueError as exc:
        raise InvalidParameter(f"invalid query string: {exc}") from exc


class Query:
    """Parameters of one request; of a repeated one the first counts.

    Args:
        values: Decoded parameters.
        strict: Booleans are 0, 1, true and false; other words are errors.
    """

    __slots__ = ("_strict", "values")

    def __init__(self, values: QueryMap, *, strict: bool = False) -> None:
        self.values = values
        self._strict = strict

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter as sent; `default` when it is absent."""
        found = self.values.get(name)
        return found[0] if found else default

    def optional(self, name: str) -> str | None:
        """Return a parameter, or None when it is absent or empty."""
        return self.text(name) or None

    def all(self, name: str) -> Sequence[str]:
        """Return every value of a parameter, also those given as `a,b` by some clients."""
        return self.values.get(name, ())

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a truth value: empty, 0, no, false and none are false, other words true.

        Raises:
            InvalidParameter: `Bad parameter`, with strict rules and another word.
        """
        found = self.values.get(name)
        if found is None:
            return default
        word = found[0].strip().lower() if not self._strict else found[0].lower()
        if not self._strict:
            return word not in _FALSE
        if word not in _STRICT:
            raise InvalidParameter("Bad parameter")
        return _STRICT[word]

    def integer(self, name: str, default: int) -> int:
        """Return an integer; `default` when it is absent or empty.

        Raises:
            InvalidParameter: Not an integer.
        """
        raw = self.text(name)
        if not raw:
            return default
        if not _INTEGER.fullmatch(raw):
            raise InvalidParameter(not_a_number(raw))
        return int(raw)

    def required_integer(self, name: str) -> int:
        """Return an integer that must be given.

        Raises:
            InvalidParameter: Absent, or not an integer.
        """
        raw = self.text(name)
        if not _INTEGER.fullmatch(raw):
            raise InvalidParameter(not_a_number(raw))
        return int(raw)

    def timestamp(self, name: str) -> int | None:
        """Return a Unix time (`seconds[.nanoseconds]`) in nanoseconds; None: absent, empty or 0.

        Raises:
            InvalidParameter: Not a time.
        """
        raw = self.text(name)
        if not raw:
            return None
        match = _TIMESTAMP.fullmatch(raw)
        if not match:
            raise InvalidParameter(f'invalid value for "{name}": {not_a_number(raw)}')
        fraction = (match[2] or "").ljust(9, "0")
        return int(match[1]) * 1_000_000_000 + int(fraction) or None


def not_a_number(raw: str) -> str:
    """Return the text for a word that is no integer."""
    quoted = raw[:64].replace("\\", "\\\\").replace('"', '\\"')
    return f'strconv.Atoi: parsing "{quoted}": invalid syntax'
