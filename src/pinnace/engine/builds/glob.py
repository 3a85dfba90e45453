"""Patterns of the shell (`*`, `?`, backslash) on strings, in time linear in pattern and string.

A pattern is run as a set of positions, kept as the bits of one number, so that no pattern, however
hostile, backtracks. Bit i stands for the position before character i.

Reference: POSIX 2.14, without bracket expressions, as BuildKit's variable modifiers have it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pinnace.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly this character."""

    char: str


@dataclass(frozen=True, slots=True)
class AnyChar:
    """`?`: any one character."""


@dataclass(frozen=True, slots=True)
class AnyRun:
    """`*`: any number of characters."""


Token = Literal | AnyChar | AnyRun


class Glob:
    """A compiled pattern."""

    def __init__(self, pattern: str) -> None:
        r"""Compile `pattern`; `\}` and `\/` stand for themselves.

        Raises:
            InvalidParameter: A backslash before any other character than `*`, `?`, `\`, `}`, `/`.
        """
        self._tokens = tuple(_tokens(pattern))

    def prefix_length(self, text: str, *, longest: bool) -> int | None:
        """Return the length of the shortest or longest matching prefix; None: none matches."""
        ends = _Positions(text).ends(self._tokens, 0)
        return _pick(ends, longest=longest)

    def suffix_length(self, text: str, *, longest: bool) -> int | None:
        """Return the length of the shortest or longest matching suffix; None: none matches."""
        ends = _Positions(text[::-1]).ends(self._tokens[::-1], 0)
        return _pick(ends, longest=longest)

    def replace(self, text: str, replacement: str, *, everywhere: bool, limit: int) -> str:
        """Replace the first, leftmost and longest, match, or all that do not overlap.

        Raises:
            InvalidParameter: More than `limit` characters are put in.
        """
        pieces, done = [], 0
        for start, end in self._matches(text):
            limit -= len(replacement)
            if limit < 0:
                raise InvalidParameter("the result is too long")
            pieces += [text[done:start], replacement]
            done = end
            if not everywhere:
                break
        return "".join([*pieces, text[done:]])

    def _matches(self, text: str) -> Iterator[tuple[int, int]]:
        positions = _Positions(text)
        reversed_ends = _Positions(text[::-1]).ends_of_all(self._tokens[::-1])
        starts = [at for at in range(len(text) + 1) if reversed_ends >> (len(text) - at) & 1]
        previous_end = -1
        for start in starts:
            if start < previous_end:
                continue
            end = _pick(positions.ends(self._tokens, start), longest=True) or start
            # An empty match just behind another one does not count, as in Go and sed.
            if end == start == previous_end:
                continue
            yield start, end
            previous_end = end


class _Positions:
    """Sets of positions in one text."""

    def __init__(self, text: str) -> None:
        self._all = (1 << (len(text) + 1)) - 1
        self._before: dict[str, int] = {}
        for char in set(text):
            bits = "".join("1" if other == char else "0" for other in reversed(text))
            self._before[char] = int(bits, 2)

    def ends(self, tokens: tuple[Token, ...], start: int) -> int:
        """Return where matches that begin at `start` can end."""
        return self._run(tokens, 1 << start)

    def ends_of_all(self, tokens: tuple[Token, ...]) -> int:
        """Return where matches that begin anywhere can end."""
        return self._run(tokens, self._all)

    def _run(self, tokens: tuple[Token, ...], at: int) -> int:
        for token in tokens:
            if not at:
                break
            match token:
                case Literal(char):
                    at = (at & self._before.get(char, 0)) << 1
                case AnyChar():
                    at = at << 1 & self._all
                case AnyRun():
                    lowest = at & -at
                    at = self._all & ~(lowest - 1)
        return at


def _pick(positions: int, *, longest: bool) -> int | None:
    if not positions:
        return None
    return positions.bit_length() - 1 if longest else (positions & -positions).bit_length() - 1


def _tokens(pattern: str) -> Iterator[Token]:
    chars = iter(pattern)
    after_star = False
    for char in chars:
        if char == "*":
            if not after_star:
                yield AnyRun()
            after_star = True
            continue
        after_star = False
        yield AnyChar() if char == "?" else Literal(_unescaped(char, chars))


def _unescaped(char: str, rest: Iterator[str]) -> str:
    if char != "\\":
        return char
    escaped = next(rest, "")
    if escaped not in ("*", "?", "\\", "}", "/"):
        raise InvalidParameter(f"invalid escape '\\{escaped}'")
    return escaped
