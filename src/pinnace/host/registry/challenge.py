"""What a registry asks for: `WWW-Authenticate`, by RFC 9110 section 11.6.1."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(rf"\s*({_WORD})(?=\s|,|$)")
_ESCAPED = re.compile(r"\\(.)")
MAX_HEADER = 16 << 10


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate.

    Attributes:
        scheme: In lower case: `bearer`, `basic`.
        parameters: By their names in lower case.
    """

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(values: Sequence[str]) -> Sequence[Challenge]:
    """Return the challenges of header values; what is malformed ends the reading of its value."""
    found: list[Challenge] = []
    for value in values:
        if len(value) <= MAX_HEADER:
            found += _parse(value)
    return found


def _parse(value: str) -> list[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(value):
        parameter = _PARAMETER.match(value, position) if found else None
        if parameter:
            name, quoted, plain = parameter.groups()
            text = _ESCAPED.sub(r"\1", quoted) if quoted is not None else plain
            found[-1][1].setdefault(name.lower(), text)
            position = parameter.end()
        elif scheme := _SCHEME.match(value, position):
            found.append((scheme[1].lower(), {}))
            position = scheme.end()
        else:
            break
        position = _skip_commas(value, position)
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def _skip_commas(value: str, position: int) -> int:
    while position < len(value) and value[position] in ", \t":
        position += 1
    return position
