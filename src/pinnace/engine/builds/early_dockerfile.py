"""Dockerfiles as the builders of May and June 2013 read them; pure.

One line, one instruction; there are no continuations, no variables and no JSON but in CMD. Texts
and rules: contract of API 1.0 to 1.2, section 5.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from pinnace.errors import InvalidParameter

KNOWN = ("FROM", "MAINTAINER", "RUN", "CMD", "ENV", "EXPOSE", "ADD")
DEPRECATED = ("INSERT", "COPY")
_SHELL = ("/bin/sh", "-c")


class BuildFailure(InvalidParameter):
    """A build failed; its text ends the output."""


@dataclass(frozen=True, slots=True)
class Line:
    """An instruction in capitals, and what follows it."""

    instruction: str
    arguments: str


def read_lines(text: str) -> Iterator[Line]:
    """Yield the instructions, so that those before a bad line are carried out.

    Raises:
        BuildFailure: A line has no arguments.
    """
    for raw in text.split("\n"):
        line = raw.strip().replace("\t", " ")
        if not line or line.startswith("#"):
            continue
        word, space, rest = line.partition(" ")
        if not space:
            raise BuildFailure("Invalid Dockerfile format")
        yield Line(word.upper(), rest.strip())


def shell_words(command: str) -> list[str]:
    """Return the words that run a command line."""
    return [*_SHELL, command]


def command_words(arguments: str) -> list[str]:
    """Return the words of CMD: a JSON list of strings, or a command line."""
    try:
        return msgspec.json.decode(arguments, type=list[str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return shell_words(arguments)


def two_words(line: Line) -> tuple[str, str]:
    """Return what ENV and ADD are followed by.

    Raises:
        BuildFailure: It is one word.
    """
    first, space, rest = line.arguments.partition(" ")
    if not space:
        raise BuildFailure(f"Invalid {line.instruction} format")
    return first, rest.strip()


def with_variable(env: list[str] | None, key: str, value: str) -> tuple[list[str], bool]:
    """Return an environment with a variable set, and whether it was there before."""
    entries = list(env or [])
    for number, entry in enumerate(entries):
        if entry.startswith(f"{key}="):
            entries[number] = f"{key}={value}"
            return entries, True
    return [*entries, f"{key}={value}"], False


def listed(words: Sequence[str]) -> str:
    """Return words as the builders of the time printed lists: `[a b]`."""
    return f"[{' '.join(words)}]"
