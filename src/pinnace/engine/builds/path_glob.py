"""Patterns on paths, as Go's filepath.Match takes them, and `**` as .dockerignore adds it.

Matching is linear in pattern and path, whatever the pattern: positions are bits of a number, bit i
standing for the place before character i.

Reference: pkg.go.dev/path/filepath#Match; "`.dockerignore` files" of Docker's build documentation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pinnace.errors import InvalidParameter

_MAX_PATTERN_CHARS = 4096


@dataclass(frozen=True, slots=True)
class One:
    """One character: of a set, or not of it. `?` is "not /"."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def takes(self, char: str) -> bool:
        """Return whether `char` is meant."""
        return any(low <= char <= high for low, high in self.ranges) != self.negated


@dataclass(frozen=True, slots=True)
class Run:
    """`*`: any number of characters, but no slash."""


@dataclass(frozen=True, slots=True)
class Anything:
    """`**` at the end: everything there is."""


@dataclass(frozen=True, slots=True)
class Directories:
    """`**/` or `**` before something: nothing, or any directories."""


Token = One | Run | Anything | Directories
_NOT_SLASH = One((("/", "/"),), negated=True)


def compile_pattern(pattern: str, *, double_star: bool = False) -> Callable[[str], bool]:
    """Return the function that tells whether a whole path matches.

    Args:
        pattern: `*`, `?`, `[a-z]`, `[^a-z]`, and a backslash before a character meant literally.
        double_star: `**` crosses directories; otherwise it is `*` twice.

    Raises:
        InvalidParameter: A class or an escape is not closed.
    """
    if len(pattern) > _MAX_PATTERN_CHARS:
        raise InvalidParameter("syntax error in pattern")
    if not any(char in "*?[\\" for char in pattern):
        return pattern.__eq__
    if double_star and (quick := _double_star_matcher(pattern)):
        return quick
    if quick := _single_star_matcher(pattern):
        return quick
    tokens = tuple(_Tokens(pattern, double_star=double_star))
    return lambda path: _matches(tokens, path)


def has_wildcards(text: str) -> bool:
    """Return whether COPY and ADD take `text` for a pattern rather than a path."""
    escaped = False
    for char in text:
        if not escaped and char in "*?[":
            return True
        escaped = char == "\\" and not escaped
    return False


def _double_star_matcher(pattern: str) -> Callable[[str], bool] | None:
    """Return a quick matcher for `**`, `dir/**` and `**/name` without other wildcards."""
    if pattern.endswith("**") and not _is_special(pattern[:-2]):
        start = pattern[:-2]
        return lambda path: path.startswith(start)
    if pattern.startswith("**") and not _is_special(pattern[2:]):
        end = pattern[2:]
        return lambda path: path.endswith(end) or f"/{path}" == end
    return None


def _single_star_matcher(pattern: str) -> Callable[[str], bool] | None:
    start, star, end = pattern.partition("*")
    if not star or _is_special(start) or _is_special(end):
        return None
    least = len(start) + len(end)

    def matches(path: str) -> bool:
        return (
            len(path) >= least
            and path.startswith(start)
            and path.endswith(end)
            and "/" not in path[len(start) : len(path) - len(end)]
        )

    return matches


def _is_special(text: str) -> bool:
    return any(char in "*?[]\\" for char in text)


class _Tokens:
    """The tokens of one pattern, in order."""

    def __init__(self, pattern: str, *, double_star: bool) -> None:
        self._pattern = pattern
        self._double_star = double_star
        self._at = 0

    def __iter__(self) -> Iterator[Token]:
        while self._at < len(self._pattern):
            char = self._next()
            if char == "*":
                yield self._star()
            elif char == "?":
                yield _NOT_SLASH
            elif char == "[":
                yield self._set()
            else:
                char = self._escaped() if char == "\\" else char
                yield One(((char, char),))

    def _star(self) -> Token:
        if not (self._double_star and self._peek() == "*"):
            return Run()
        self._at += 1
        if self._peek() == "/":
            self._at += 1
        return Directories() if self._peek() else Anything()

    def _set(self) -> One:
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[str, str]] = []
        while self._peek() != "]" or not ranges:
            low = high = self._set_char()
            if self._peek() == "-":
                self._at += 1
                high = self._set_char()
            if low > high:
                raise InvalidParameter("syntax error in pattern")
            ranges.append((low, high))
        self._at += 1
        return One(tuple(ranges), negated)

    def _set_char(self) -> str:
        char = self._next()
        if char in ("", "-", "]"):
            raise InvalidParameter("syntax error in pattern")
        return self._escaped() if char == "\\" else char

    def _escaped(self) -> str:
        char = self._next()
        if not char:
            raise InvalidParameter("syntax error in pattern")
        return char

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += len(char)
        return char


def _matches(tokens: tuple[Token, ...], path: str) -> bool:
    """Run the tokens over sets of positions; true if the last position is among the ends."""
    everywhere = (1 << (len(path) + 1)) - 1
    before: dict[str, int] = {}
    for index, char in enumerate(path):
        before[char] = before.get(char, 0) | 1 << index
    slashes = before.get("/", 0)
    at = 1
    for token in tokens:
        if not at:
            return False
        lowest = at & -at
        match token:
            case One():
                taken = sum(bits for char, bits in before.items() if token.takes(char))
                at = (at & taken) << 1
            case Run():
                at = _flood(at, everywhere & ~slashes & everywhere >> 1)
            case Anything():
                at = everywhere & ~(lowest - 1)
            case Directories():
                at |= (slashes & ~(lowest - 1)) << 1
    return bool(at >> len(path) & 1)


def _flood(at: int, passable: int) -> int:
    """Return `at` and all positions to its right over passable characters, in log steps."""
    open_ = passable << 1
    shift = 1
    while open_:
        at |= open_ & (at << shift)
        open_ &= open_ << shift
        shift *= 2
    return at
