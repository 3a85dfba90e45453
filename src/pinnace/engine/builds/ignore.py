"""`.dockerignore`: which files of a context take no part in a build.

The last rule that matches a path or one of its parents decides; `!` makes an exception.

Reference: "`.dockerignore` files" of Docker's build documentation, and what the command-line
client does where that is silent.
"""

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pinnace.engine.builds.path_glob import compile_pattern
from pinnace.errors import InvalidParameter

FILE_NAME = ".dockerignore"
MAX_FILE_BYTES = 1 << 20
_MAX_RULES = 10_000


@dataclass(frozen=True, slots=True)
class Rule:
    """One line.

    Attributes:
        pattern: Cleaned, relative to the context.
        matches: Whether a whole path is meant.
        is_exception: Written with `!`.
    """

    pattern: str
    matches: Callable[[str], bool]
    is_exception: bool


class IgnoreRules:
    """The rules of one file, in order."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile cleaned patterns; `!` in front makes an exception.

        Raises:
            InvalidParameter: A pattern is malformed, or `!` stands alone.
        """
        self._rules = tuple(_rule(pattern) for pattern in patterns)

    @classmethod
    def parse(cls, data: bytes) -> "IgnoreRules":
        """Return the rules of a `.dockerignore` file.

        Raises:
            InvalidParameter: A pattern is malformed, or the file is unreasonably large.
        """
        return cls(read_patterns(data))

    def keeping(self, *paths: str) -> "IgnoreRules":
        """Return the rules with files that are needed whatever they say, as the client does it.

        Args:
            paths: The Dockerfile and `.dockerignore`, relative to the context.
        """
        kept = [f"!{path}" for path in paths if self.ignores(path)]
        rules = IgnoreRules(kept)
        rules._rules = (*self._rules, *rules._rules)
        return rules

    def __bool__(self) -> bool:
        return bool(self._rules)

    def ignores(self, path: str) -> bool:
        """Return whether `path`, clean and relative to the context, takes no part."""
        if path in ("", "."):
            return False
        lineage = _lineage(path)
        ignored = False
        for rule in self._rules:
            if rule.is_exception == ignored and any(map(rule.matches, lineage)):
                ignored = not rule.is_exception
        return ignored

    def prunes(self, directory: str) -> bool:
        """Return whether nothing below `directory` needs to be looked at.

        As the client does it, an exception counts only if its text begins with the directory.
        """
        if not self.ignores(directory):
            return False
        return not any(
            rule.is_exception and f"{rule.pattern}/".startswith(f"{directory}/")
            for rule in self._rules
        )


def read_patterns(data: bytes) -> list[str]:
    """Return the patterns of a `.dockerignore` file, cleaned: no comments, no leading slash.

    Raises:
        InvalidParameter: The file is unreasonably large.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InvalidParameter(f"{FILE_NAME} greater than max allowed size of {MAX_FILE_BYTES}")
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    patterns = []
    for line in text.split("\n"):
        if line.startswith("#") or not line.strip():
            continue
        pattern = line.strip()
        mark = "!" if pattern.startswith("!") else ""
        pattern = pattern.removeprefix("!").strip()
        if pattern:
            pattern = _clean(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern[0] == "/" else pattern
        patterns.append(f"{mark}{pattern}")
    if len(patterns) > _MAX_RULES:
        raise InvalidParameter(f"{FILE_NAME} has more than {_MAX_RULES} patterns")
    return patterns


def _rule(pattern: str) -> Rule:
    bare = pattern.strip()
    is_exception = bare.startswith("!")
    if bare == "!":
        raise InvalidParameter('illegal exclusion pattern: "!"')
    bare = _clean(bare.removeprefix("!")) if bare else ""
    return Rule(bare, compile_pattern(bare, double_star=True), is_exception)


def _clean(path: str) -> str:
    """Return the shortest spelling, as Go's filepath.Clean: one slash, no dot, no inner `..`."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _lineage(path: str) -> list[str]:
    """Return `path` and its parents, nearest first."""
    lineage = [path]
    while path := path.rpartition("/")[0]:
        lineage.append(path)
    return lineage
