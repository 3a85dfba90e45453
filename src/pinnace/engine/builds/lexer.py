"""From the bytes of a Dockerfile to its logical lines: directives, continuations, heredocs.

Reference: "Format", "Parser directives" and "Here-Documents" of the Dockerfile reference.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import msgspec

from pinnace.engine.builds.faults import DockerfileError
from pinnace.engine.builds.flags import split_flags
from pinnace.engine.builds.instructions import Heredoc, Location
from pinnace.engine.builds.words import expand_word, split_quoted
from pinnace.errors import InvalidParameter

MAX_FILE_BYTES = 4 << 20
MAX_LINE_BYTES = 65535  # of one physical line; bufio.MaxScanTokenSize - 1, as in Docker
MAX_INSTRUCTIONS = 10_000

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = ("escape", "syntax", "check")
_BLANKS = re.compile(r"[\t\v\f\r ]+")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<$]+)")
_HEREDOC_START = re.compile(r"\d*<<-?")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction, not yet understood.

    Attributes:
        text: Continuation lines joined, trimmed.
        keyword: First word as written.
        flags: Words beginning with `--` after it, unquoted.
        rest: Everything else, trimmed.
        heredocs: Bodies that followed.
        location: Where it is, bodies included.
        has_gap: An empty line stood where a continuation was expected.
    """

    text: str
    keyword: str
    flags: tuple[str, ...]
    rest: str
    location: Location
    heredocs: tuple[Heredoc, ...] = ()
    has_gap: bool = False


@dataclass(slots=True)
class Lexer:
    """The lines of one file; `directives` are known when the first line is out.

    Attributes:
        file: Its name, for messages.
        directives: Values of `escape`, `syntax` and `check`, as far as given.
    """

    file: str = "Dockerfile"
    directives: dict[str, str] = field(default_factory=dict)
    _lines: list[str] = field(default_factory=list)
    _at: int = 0

    @property
    def escape(self) -> str:
        """Return the escape character."""
        return self.directives.get("escape", "\\")

    def run(self, data: bytes) -> Iterator[Line]:
        """Yield the lines of `data`, UTF-8 with or without a byte order mark.

        Raises:
            DockerfileError: Too large, a bad directive, an unterminated heredoc.
        """
        self._lines = self._physical_lines(data)
        self._at = self._read_directives()
        count = 0
        while self._at < len(self._lines):
            start = self._at
            text, has_gap = self._logical_line()
            if text:
                count += 1
                if count > MAX_INSTRUCTIONS:
                    raise self._error("too many instructions", start)
                yield self._line(text.rstrip(), start, has_gap=has_gap)

    def _physical_lines(self, data: bytes) -> list[str]:
        if len(data) > MAX_FILE_BYTES:
            raise DockerfileError(
                f"file greater than max allowed size of {MAX_FILE_BYTES}", file=self.file
            )
        data = data.removeprefix(b"\xef\xbb\xbf")
        for number, line in enumerate(data.split(b"\n"), 1):
            if len(line) > MAX_LINE_BYTES:
                reason = f"dockerfile line greater than max allowed size of {MAX_LINE_BYTES}"
                raise DockerfileError(reason, line=number, file=self.file)
        if b"\0" in data:
            number = data[: data.index(b"\0")].count(b"\n") + 1
            raise DockerfileError("a NUL byte is not allowed", line=number, file=self.file)
        lines = data.decode("utf-8", "replace").split("\n")
        return lines if lines[-1] else lines[:-1]

    def _read_directives(self) -> int:
        """Read the directives and return the index of the first line after them."""
        for index, line in enumerate(self._lines):
            match = _DIRECTIVE.fullmatch(line.strip())
            name = match[1].lower() if match else ""
            if not match or name not in _DIRECTIVES:
                return index
            if name in self.directives:
                raise self._error(f"only one {name} parser directive can be used", index)
            if name == "escape" and match[2] not in ("\\", "`"):
                reason = f"invalid escape token '{match[2]}' does not match ` or \\"
                raise self._error(reason, index)
            self.directives[name] = match[2]
        return len(self._lines)

    def _logical_line(self) -> tuple[str, bool]:
        """Take one instruction's lines; "" is a comment or an empty line."""
        line = self._take().lstrip()
        if line.startswith("#"):
            return "", False
        text, goes_on = self._without_continuation(line)
        has_gap = False
        while goes_on and self._at < len(self._lines):
            line = self._take()
            if line.lstrip().startswith("#"):
                continue
            if not line.strip():
                has_gap = True
                continue
            more, goes_on = self._without_continuation(line)
            text += more
        return text if text.strip() else "", has_gap

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        """Return `line` without its last escape, and whether there was one.

        Two escapes at the end stand for one character, not for a continuation.
        """
        bare = line.rstrip(" \t")
        if not bare.endswith(self.escape) or bare.endswith(self.escape * 2):
            return line, False
        return bare[:-1], True

    def _take(self) -> str:
        line = self._lines[self._at]
        self._at += 1
        return line.rstrip("\r")

    def _line(self, text: str, start: int, *, has_gap: bool) -> Line:
        keyword, _, rest = _BLANKS.sub(" ", text, count=1).partition(" ")
        flags, rest = split_flags(rest.strip())
        heredocs = tuple(self._body(heredoc, start) for heredoc in self._heredocs(keyword, rest))
        location = Location(start + 1, self._at)
        return Line(text, keyword, flags, rest, location, heredocs, has_gap)

    def _heredocs(self, keyword: str, rest: str) -> list[Heredoc]:
        if keyword.upper() == "ONBUILD":
            keyword, _, rest = _BLANKS.sub(" ", rest, count=1).partition(" ")
        if (
            keyword.upper() not in _WITH_HEREDOCS
            or "<<" not in rest
            or json_words(rest) is not None
        ):
            return []
        words = joined_heredocs(split_quoted(rest, escape=self.escape))
        return [heredoc for word in words if (heredoc := heredoc_of(word))]

    def _body(self, heredoc: Heredoc, start: int) -> Heredoc:
        content: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            end = line.rstrip("\r")
            if (end.lstrip("\t") if heredoc.strips_tabs else end) == heredoc.name:
                return replace(heredoc, content="".join(content))
            content.append(f"{line}\n")
        raise self._error("unterminated heredoc", start)

    def _error(self, reason: str, index: int) -> DockerfileError:
        return DockerfileError(
            reason, line=index + 1, instruction=self._lines[index].strip(), file=self.file
        )


def heredoc_of(word: str) -> Heredoc | None:
    """Return the heredoc that a word such as `<<-"EOF"` opens, without its body."""
    match = _HEREDOC.fullmatch(word)
    if not match:
        return None
    try:
        name = expand_word(match[3], {})
    except InvalidParameter:
        return None
    if not name:
        return None
    return Heredoc(
        name, "", expands=name == match[3], strips_tabs=bool(match[2]), fd=int(match[1] or 0)
    )


def joined_heredocs(words: list[str]) -> list[str]:
    """Return `words` with `<<` and the name behind it in one word."""
    joined: list[str] = []
    for word in words:
        if joined and _HEREDOC_START.fullmatch(joined[-1]):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def json_words(text: str) -> tuple[str, ...] | None:
    """Return the words of the JSON form; None when `text` is not a JSON array.

    Raises:
        InvalidParameter: An array, but not of strings alone.
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        items = msgspec.json.decode(text, type=list[object])
    except (msgspec.DecodeError, RecursionError):
        return None
    words = tuple(item for item in items if isinstance(item, str))
    if len(words) != len(items):
        raise InvalidParameter(
            "when using JSON array syntax, arrays must be comprised of strings only"
        )
    return words
