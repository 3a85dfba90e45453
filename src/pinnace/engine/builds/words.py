"""Words of an instruction: quotes, escapes and variables, as a shell would take them.

`expand_word` gives one word out, `expand_words` splits at blanks that are neither quoted nor
escaped, `split_quoted` splits and leaves quotes and variables for later.

Reference: "Environment replacement" of the Dockerfile reference; quoting as POSIX 2.2, except that
the escape character may be a backtick.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from pinnace.engine.builds.glob import Glob
from pinnace.errors import InvalidParameter

Variables = Mapping[str, str]

_PLAIN = re.compile(r"[^'\"$}/\\`]+")
_SPECIAL_PARAMETERS = "@*#?-$!"
_MAX_DEPTH = 50  # of ${a:-${b:-…}}
_SHOWN_CHARS = 160
_MAX_WORD_CHARS = 1 << 17  # exec takes no longer string: MAX_ARG_STRLEN
_MAX_TEXT_CHARS = 16 << 20  # of a heredoc


def expand_word(text: str, variables: Variables, *, escape: str = "\\") -> str:
    """Return `text` with variables replaced and quotes and escapes taken away.

    Raises:
        InvalidParameter: Unbalanced quotes, a malformed `${…}`, or a variable demanded by `?`.
    """
    return "".join(text for text, _ in _pieces(text, variables, escape))


def expand_words(text: str, variables: Variables, *, escape: str = "\\") -> list[str]:
    """Return the words of `text` after expansion; blanks in a variable's value split, too.

    Raises:
        InvalidParameter: As `expand_word`.
    """
    words: list[str] = []
    word = ""
    for piece, splits in _pieces(text, variables, escape):
        for char in piece:
            if splits and char.isspace():
                words += [word] if word else []
                word = ""
            else:
                word += char
    return [*words, word] if word else words


def expand_text(text: str, variables: Variables) -> str:
    """Return the body of a heredoc with its variables replaced; quotes are plain characters.

    A backslash takes away the meaning of the character behind it, and goes itself.

    Raises:
        InvalidParameter: A malformed `${…}`, or a variable demanded by `?`.
    """
    pieces = _pieces(text, variables, "\\", has_quotes=False, limit=_MAX_TEXT_CHARS)
    return "".join(text for text, _ in pieces)


def quoted_word(text: str, *, escape: str = "\\") -> str:
    """Return a word whose expansion is `text`, whatever is in it."""
    special = ("$", "'", '"', escape)
    return "".join(f"{escape}{char}" if char in special else char for char in text)


def split_quoted(text: str, *, escape: str = "\\") -> list[str]:
    """Return the words of `text` with their quotes and escapes still in them.

    An escape character at the very end is dropped, a quote never closed lasts to the end.
    """
    words: list[str] = []
    word, quote, is_word = "", "", False
    chars = iter(text)
    for char in chars:
        if not quote and char.isspace():
            words += [word] if is_word else []
            word, is_word = "", False
            continue
        if char == escape and quote != "'":
            escaped = next(chars, None)
            if escaped is None:
                break
            char += escaped
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        word += char
        is_word = True
    return [*words, word] if is_word else words


def _pieces(
    text: str,
    variables: Variables,
    escape: str,
    *,
    has_quotes: bool = True,
    limit: int = _MAX_WORD_CHARS,
) -> list[tuple[str, bool]]:
    expander = _Expander(text, variables, escape, has_quotes=has_quotes, limit=limit)
    try:
        return list(expander.run())
    except InvalidParameter as exc:
        raise InvalidParameter(f"failed to process {_quoted(text)}: {exc.message}") from None


def _quoted(text: str) -> str:
    if len(text) > _SHOWN_CHARS:
        text = f"{text[:_SHOWN_CHARS]}…"
    for char, shown in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(char, shown)
    return f'"{text}"'


class _Expander:
    """One pass over one text; a piece is its result and whether blanks in it separate words."""

    def __init__(
        self, text: str, variables: Variables, escape: str, *, has_quotes: bool, limit: int
    ) -> None:
        self._text = text
        self._has_quotes = has_quotes
        self._at = 0
        self._variables = variables
        self._escape = escape
        self._keeps_escapes = False
        self._depth = 0
        self._room = limit

    def run(self) -> Iterator[tuple[str, bool]]:
        while (char := self._peek()) != "":
            yield self._piece(char)

    def _counted(self, value: str) -> str:
        """Return what a variable becomes, as long as all that was put in is not too much."""
        self._room -= len(value)
        if self._room < 0:
            raise InvalidParameter("the result is too long")
        return value

    def _piece(self, char: str) -> tuple[str, bool]:
        if char == "'" and self._has_quotes:
            return self._single_quoted(), False
        if char == '"' and self._has_quotes:
            return self._double_quoted(), False
        if char == "$":
            return self._variable(), True
        if char != self._escape:
            return self._plain(char), True
        self._at += 1
        escaped = self._next()
        return (char + escaped if self._keeps_escapes else escaped), False

    def _plain(self, char: str) -> str:
        """Take a character that has no meaning here, and all behind it that never have one."""
        end = _PLAIN.match(self._text, self._at + 1)
        start, self._at = self._at, end.end() if end else self._at + 1
        return char + self._text[start + 1 : self._at]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += len(char)
        return char

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise InvalidParameter(
                "unexpected end of statement while looking for matching single-quote"
            )
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return inside

    def _double_quoted(self) -> str:
        self._at += 1
        inside: list[str] = []
        while (char := self._peek()) != '"':
            if char == "":
                raise InvalidParameter(
                    "unexpected end of statement while looking for matching double-quote"
                )
            inside.append(self._variable() if char == "$" else self._double_quoted_char())
        self._at += 1
        return "".join(inside)

    def _double_quoted_char(self) -> str:
        """Take one character; an escape only counts before a quote, a dollar or an escape."""
        char = self._peek()
        if char != self._escape:
            return self._plain(char)
        self._at += 1
        follower = self._peek()
        if follower and follower in ('"', "$", self._escape):
            self._at += 1
            return char + follower if self._keeps_escapes else follower
        return char + char if self._keeps_escapes else char

    def _variable(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._counted(self._variables.get(name, "")) if name else "$"
        self._at += 1
        if self._peek() == "":
            raise InvalidParameter("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise InvalidParameter("syntax error: bad substitution")
        return self._counted(self._braced(self._name()))

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first and first in _SPECIAL_PARAMETERS:
            self._at += 1
        elif first.isdecimal():
            self._skip(str.isdecimal)
        else:
            self._skip(lambda char: char.isalpha() or char.isdecimal() or char == "_")
        return self._text[start : self._at]

    def _skip(self, belongs: Callable[[str], bool]) -> None:
        while (char := self._peek()) and belongs(char):
            self._at += 1

    def _braced(self, name: str) -> str:
        modifier = self._next()
        if modifier == "}":
            return self._variables.get(name, "")
        if modifier == "":
            raise InvalidParameter("syntax error: missing '}'")
        if modifier == "/":
            return self._replaced(name)
        if modifier == ":":
            modifier += self._next()
        operator = modifier[-1]
        if operator not in ":-+?#%" or modifier == "::":
            raise InvalidParameter(f"unsupported modifier ({modifier}) in substitution")
        word = self._until("}", keeps_escapes=operator in "#%", missing="'}'")
        if modifier == ":":
            raise InvalidParameter("syntax error: missing '}'")
        if operator in "#%":
            return self._trimmed(name, operator, word)
        return self._alternative(name, operator, word, empty_is_unset=modifier[0] == ":")

    def _alternative(self, name: str, operator: str, word: str, *, empty_is_unset: bool) -> str:
        value = self._variables.get(name)
        is_unset = value is None or (empty_is_unset and not value)
        if operator == "+":
            return "" if is_unset else word
        if not is_unset:
            return value or ""
        if operator == "?":
            usual = "is not allowed to be " + ("unset" if value is None else "empty")
            raise InvalidParameter(f"{name}: {word or usual}")
        return word

    def _trimmed(self, name: str, operator: str, word: str) -> str:
        value = self._variables.get(name, "")
        longest = word.startswith(operator)
        glob = _glob(word[1:] if longest else word)
        if operator == "#":
            return value[glob.prefix_length(value, longest=longest) or 0 :]
        return value[: len(value) - (glob.suffix_length(value, longest=longest) or 0)]

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        self._at += everywhere
        pattern = self._until("/", keeps_escapes=True, missing="'/' in ${}")
        replacement = self._until("}", keeps_escapes=True, missing="'}'")
        value = self._variables.get(name, "")
        glob = _glob(pattern)
        return glob.replace(value, replacement, everywhere=everywhere, limit=self._room)

    def _until(self, stop: str, *, keeps_escapes: bool, missing: str) -> str:
        """Return everything up to `stop`, expanded, and go behind it."""
        if self._depth == _MAX_DEPTH:
            raise InvalidParameter("syntax error: substitutions nested too deeply")
        kept, self._keeps_escapes = self._keeps_escapes, keeps_escapes
        self._depth += 1
        inside: list[str] = []
        while (char := self._peek()) != stop:
            if char == "":
                raise InvalidParameter(f"syntax error: missing {missing}")
            inside.append(self._piece(char)[0])
        self._at += 1
        self._depth -= 1
        self._keeps_escapes = kept
        return "".join(inside)


def _glob(pattern: str) -> Glob:
    try:
        return Glob(pattern)
    except InvalidParameter as exc:
        raise InvalidParameter(
            f"invalid pattern ({pattern}) in substitution: {exc.message}"
        ) from None
