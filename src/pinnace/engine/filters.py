"""The `filters` parameter of list, prune and events calls."""

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from pinnace.errors import InvalidParameter

_FALSE = frozenset({"0", "f", "false"})
_TRUE = frozenset({"1", "t", "true"})


class Filters:
    """Values by key; a key's values are alternatives, keys must all hold."""

    def __init__(self, values: Mapping[str, Iterable[str]] | None = None) -> None:
        self._values = {key: list(found) for key, found in (values or {}).items() if found}

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str) -> list[str]:
        """Return the values of `key`; empty when it was not given."""
        return self._values.get(key, [])

    def validate(self, allowed: Collection[str]) -> None:
        """Check that only known keys were given.

        Raises:
            InvalidParameter: `invalid filter 'KEY'`, Docker's words.
        """
        for key in self._values:
            if key not in allowed:
                raise InvalidParameter(f"invalid filter '{key}'")

    def matches(self, key: str, accept: Callable[[str], bool]) -> bool:
        """Whether `key` was not given, or `accept` holds for one of its values."""
        values = self._values.get(key)
        return not values or any(accept(value) for value in values)

    def matches_labels(self, labels: Mapping[str, str] | None, key: str = "label") -> bool:
        """Whether every `label` value (`name` or `name=value`) is among the labels."""
        return all(_has_label(labels or {}, wanted) for wanted in self.get(key))

    def excludes_labels(self, labels: Mapping[str, str] | None) -> bool:
        """Whether some `label!` value is among the labels."""
        return any(_has_label(labels or {}, wanted) for wanted in self.get("label!"))

    def get_bool(self, key: str, *, default: bool) -> bool:
        """Return a truth value.

        Raises:
            InvalidParameter: `invalid filter 'KEY=[…]'`.
        """
        values = self.get(key)
        if not values:
            return default
        found = {_truth(value) for value in values}
        if len(found) != 1 or None in found:
            raise InvalidParameter(f"invalid filter '{key}=[{' '.join(values)}]'")
        return found == {True}


def parse_filters(raw: str | None) -> Filters:
    """Decode `{"key": ["value"]}` (documented) or `{"key": {"value": true}}` (Go clients).

    Raises:
        InvalidParameter: Neither form.
    """
    if not raw:
        return Filters()
    try:
        decoded = msgspec.json.decode(
            raw.encode(), type=dict[str, list[str] | dict[str, bool] | None]
        )
    except msgspec.MsgspecError as exc:
        raise InvalidParameter(f"invalid filter: {exc}") from exc
    return Filters(
        {
            key: [value for value, on in found.items() if on] if isinstance(found, dict) else found
            for key, found in decoded.items()
            if found
        }
    )


def _truth(value: str) -> bool | None:
    lowered = value.lower()
    if lowered in _TRUE:
        return True
    return False if lowered in _FALSE else None


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)
