"""Dockerfiles: from bytes to stages of instructions; pure. `instructions` tells the whole way."""

import re
from collections.abc import Iterable

from pinnace.engine.builds.faults import DockerfileError, plain_text
from pinnace.engine.builds.grammar import parse_line
from pinnace.engine.builds.instructions import Arg, Dockerfile, From, Instruction, Stage
from pinnace.engine.builds.lexer import Lexer, Line
from pinnace.errors import InvalidParameter

_OWN_SYNTAX = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?::[\w.-]+)?")

CHANGES = frozenset(
    (
        *("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL"),
        *("ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    )
)
"""Instructions that `commit` and `import` accept."""


def parse(data: bytes, *, file: str = "Dockerfile") -> Dockerfile:
    """Return what a Dockerfile says.

    Args:
        data: Its bytes: UTF-8, lines ending in LF or CRLF.
        file: Its name inside the context, for messages.

    Raises:
        DockerfileError: With file, line and instruction.
        InvalidParameter: The file is empty.
    """
    if not data:
        raise InvalidParameter(f"the Dockerfile ({file}) cannot be empty")
    lexer = Lexer(file)
    arguments: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    gaps: list[str] = []
    instruction: Instruction | None = None
    for line in _lines(lexer, data):
        gaps += [line.text] if line.has_gap else []
        instruction = _instruction(lexer, line)
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            arguments.append(instruction)
        else:
            raise _error(lexer, line, "no build stage in current context")
    if instruction is None:
        raise DockerfileError("file with no instructions", file=file)
    if not stages:
        raise DockerfileError("dockerfile contains no stages to build", file=file)
    return Dockerfile(
        arguments=tuple(arguments),
        stages=tuple(
            Stage(index, origin, tuple(instructions))
            for index, (origin, instructions) in enumerate(stages)
        ),
        escape=lexer.escape,
        syntax=lexer.directives.get("syntax", ""),
        check=lexer.directives.get("check", ""),
        warnings=(*_front_end_warnings(lexer.directives.get("syntax", "")), *_warnings(gaps)),
    )


def parse_triggers(triggers: Iterable[str]) -> tuple[Instruction, ...]:
    """Return the instructions that an image's ONBUILD triggers stand for.

    Raises:
        InvalidParameter: Malformed, more than one in a trigger, or one that may not be nested.
    """
    return tuple(_trigger(text) for text in triggers)


def parse_changes(changes: Iterable[str]) -> tuple[Instruction, ...]:
    """Return the instructions given to `commit` and `import`.

    Raises:
        InvalidParameter: Malformed, or not one that only changes the config.
    """
    lexer = Lexer()
    instructions = []
    for line in lexer.run("\n".join(changes).encode()):
        if line.keyword.upper() not in CHANGES:
            raise InvalidParameter(f"{line.keyword.lower()} is not a valid change command")
        instructions.append(parse_line(line, escape=lexer.escape))
    return tuple(instructions)


def _lines(lexer: Lexer, data: bytes) -> Iterable[Line]:
    try:
        yield from lexer.run(data)
    except DockerfileError:
        raise
    except InvalidParameter as exc:
        raise DockerfileError(exc.message, file=lexer.file) from None


def _instruction(lexer: Lexer, line: Line) -> Instruction:
    try:
        return parse_line(line, escape=lexer.escape)
    except InvalidParameter as exc:
        raise _error(lexer, line, exc.message) from None


def _error(lexer: Lexer, line: Line, reason: str) -> DockerfileError:
    return DockerfileError(
        reason, line=line.location.start, instruction=line.text, file=lexer.file
    )


def _trigger(text: str) -> Instruction:
    lexer = Lexer()
    lines = list(lexer.run(text.encode()))
    if len(lines) != 1:
        raise InvalidParameter("onbuild trigger should be a single expression")
    keyword = lines[0].keyword.upper()
    if keyword == "ONBUILD":
        raise InvalidParameter("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("MAINTAINER", "FROM"):
        raise InvalidParameter(f"{keyword} isn't allowed as an ONBUILD trigger")
    return parse_line(lines[0], escape=lexer.escape)


def _front_end_warnings(syntax: str) -> tuple[str, ...]:
    """Warn of a front end that is another language, perhaps; Docker's own is this one."""
    if not syntax or _OWN_SYNTAX.fullmatch(syntax):
        return ()
    return (f"[WARNING]: The syntax directive is not obeyed: {plain_text(syntax)}",)


def _warnings(gaps: list[str]) -> tuple[str, ...]:
    if not gaps:
        return ()
    found = [f"[WARNING]: Empty continuation line found in:\n    {text}" for text in gaps]
    last = "[WARNING]: Empty continuation lines will become errors in a future release."
    return (*found, last)
