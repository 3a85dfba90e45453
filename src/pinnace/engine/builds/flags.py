"""Flags of an instruction: `--name`, `--name=value`, before its other words."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from pinnace.errors import InvalidParameter


class Kind(Enum):
    """What a flag takes."""

    BOOL = auto()
    STRING = auto()
    STRINGS = auto()  # may be given several times


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that were given, checked."""

    values: Mapping[str, tuple[str, ...]]

    def text(self, name: str) -> str:
        """Return the value of a flag, "" when it was not given."""
        return self.values.get(name, ("",))[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return all values of a flag."""
        return self.values.get(name, ())

    def truth(self, name: str) -> bool | None:
        """Return the value of a BOOL flag, None when it was not given."""
        given = self.values.get(name)
        return given[0] == "true" if given else None


def split_flags(text: str) -> tuple[tuple[str, ...], str]:
    """Return the words at the start of `text` that begin with `--`, unquoted, and the rest.

    A word `--` ends the flags and belongs to neither.
    """
    flags: list[str] = []
    while text.startswith("--"):
        word, rest = _first_word(text)
        if word == "--":
            return tuple(flags), rest
        flags.append(word)
        text = rest
    return tuple(flags), text


def parse_flags(words: tuple[str, ...], known: Mapping[str, Kind]) -> Flags:
    """Return the flags of `words`.

    Raises:
        InvalidParameter: Unknown, repeated, without its value, or not a boolean.
    """
    values: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, value = word[2:].partition("=")
        kind = known.get(name)
        if kind is None:
            raise InvalidParameter(f"Unknown flag: {name}")
        if name in values and kind is not Kind.STRINGS:
            raise InvalidParameter(f"Duplicate flag specified: {name}")
        is_incomplete = equals and not value if kind is Kind.BOOL else not equals
        if is_incomplete:
            raise InvalidParameter(f"Missing a value on flag: {name}")
        if kind is Kind.BOOL:
            value = _truth(name, value)
        values[name] = (*values.get(name, ()), value)
    return Flags(values)


def _truth(name: str, value: str) -> str:
    lower = value.lower() or "true"
    if lower not in ("true", "false"):
        raise InvalidParameter(f"Expecting boolean value for flag {name}, not: {value}")
    return lower


def _first_word(text: str) -> tuple[str, str]:
    """Return the first word without its quotes and escapes, and what follows it."""
    word, quote = "", ""
    at = 0
    while at < len(text):
        char = text[at]
        if not quote and char.isspace():
            break
        if char == "\\" and quote != "'":
            at += 1
            word += text[at : at + 1]
        elif quote:
            quote, word = ("", word) if char == quote else (quote, word + char)
        elif char in "'\"":
            quote = char
        else:
            word += char
        at += 1
    return word, text[at:].lstrip()
