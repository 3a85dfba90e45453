"""What follows each instruction's word: one function per instruction, in one table.

Reference: the Dockerfile reference; texts of errors as dockerd's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pinnace.engine.builds.flags import Flags, Kind, parse_flags
from pinnace.engine.builds.healthcheck import HEALTH_FLAGS, parse_health
from pinnace.engine.builds.instructions import (
    Add,
    Arg,
    Argument,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Heredoc,
    Insert,
    Instruction,
    Label,
    Location,
    Maintainer,
    Onbuild,
    Pair,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from pinnace.engine.builds.lexer import Line, heredoc_of, joined_heredocs, json_words
from pinnace.engine.builds.mounts import check_mount
from pinnace.engine.builds.words import split_quoted
from pinnace.errors import InvalidParameter

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_ONBUILD = re.compile(r"ONBUILD\s*", re.IGNORECASE)
_NETWORKS = ("default", "none", "host")
_SECURITIES = ("sandbox", "insecure")

_RUN_FLAGS = {"mount": Kind.STRINGS, "network": Kind.STRING, "security": Kind.STRING}
_TRANSFER_FLAGS = {
    "chown": Kind.STRING,
    "chmod": Kind.STRING,
    "link": Kind.BOOL,
    "exclude": Kind.STRINGS,
}
_COPY_FLAGS = {**_TRANSFER_FLAGS, "from": Kind.STRING, "parents": Kind.BOOL}
_ADD_FLAGS = {
    **_TRANSFER_FLAGS,
    "checksum": Kind.STRING,
    "keep-git-dir": Kind.BOOL,
    "unpack": Kind.BOOL,
}


@dataclass(frozen=True, slots=True)
class Source:
    """One line to be understood, and the file's escape character."""

    line: Line
    escape: str

    @property
    def keyword(self) -> str:
        """Return the instruction's word in upper case."""
        return self.line.keyword.upper()

    @property
    def rest(self) -> str:
        """Return what follows the word and the flags."""
        return self.line.rest

    @property
    def original(self) -> str:
        """Return the line as written."""
        return self.line.text

    @property
    def location(self) -> Location:
        """Return where the line is."""
        return self.line.location

    def flags(self, known: Mapping[str, Kind]) -> Flags:
        """Return the flags; raises InvalidParameter for all but the known ones."""
        return parse_flags(self.line.flags, known)

    def words(self) -> list[str]:
        """Return the words of the rest, separated by blanks, quotes having no meaning."""
        return _BLANKS.split(self.rest) if self.rest else []

    def list_or_words(self) -> list[str]:
        """Return the words of the JSON form, else as `words`."""
        given = json_words(self.rest)
        return self.words() if given is None else list(given)

    def command(self) -> Command:
        """Return the rest as a command line."""
        given = json_words(self.rest)
        if given is not None:
            return Command(given, is_shell=False)
        return Command((self.rest,) if self.rest else (), is_shell=True)

    def only_argument(self) -> str:
        """Return the rest, which may not be empty and takes no flags."""
        if not self.rest:
            raise InvalidParameter(f"{self.keyword} requires exactly one argument")
        self.flags({})
        return self.rest

    def at_least_one(self) -> None:
        """Raise InvalidParameter if nothing follows the word."""
        if not self.rest:
            raise InvalidParameter(f"{self.keyword} requires at least one argument")


def parse_line(line: Line, *, escape: str) -> Instruction:
    """Return the instruction on `line`, `From` included.

    Raises:
        InvalidParameter: Unknown, or its words or flags are wrong; without the place.
    """
    parse = _INSTRUCTIONS.get(line.keyword.upper())
    if parse is None:
        raise InvalidParameter(f"unknown instruction: {line.keyword.upper()}")
    return parse(Source(line, escape))


def _from(source: Source) -> From:
    words = source.words()
    name = ""
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise InvalidParameter(
                f'invalid name for build stage: "{words[2]}", '
                "name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise InvalidParameter("FROM requires either one or three arguments")
    platform = source.flags({"platform": Kind.STRING}).text("platform")
    return From(
        original=source.original,
        location=source.location,
        base=words[0],
        name=name,
        platform=platform,
    )


def _run(source: Source) -> Run:
    flags = source.flags(_RUN_FLAGS)
    network, security = flags.text("network"), flags.text("security")
    if network and network not in _NETWORKS:
        raise InvalidParameter(f'unsupported network mode "{network}"')
    if security and security not in _SECURITIES:
        raise InvalidParameter(f'unsupported security mode "{security}"')
    for value in flags.texts("mount"):
        check_mount(value)
    return Run(
        original=source.original,
        location=source.location,
        command=source.command(),
        heredocs=source.line.heredocs,
        is_script=_is_script(source),
        mount_flags=flags.texts("mount"),
        network=network,
        security=security,
    )


def _is_script(source: Source) -> bool:
    words = joined_heredocs(split_quoted(source.rest, escape=source.escape))
    return len(source.line.heredocs) == len(words) == 1 and heredoc_of(words[0]) is not None


def _transfer_words(source: Source) -> tuple[tuple[str, ...], str, tuple[Heredoc, ...]]:
    """Return sources, target and heredocs of COPY and ADD."""
    words = source.list_or_words()
    if source.line.heredocs:
        words = joined_heredocs(split_quoted(source.rest, escape=source.escape))
    if len(words) < 2:
        raise InvalidParameter(
            f"{source.keyword} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )
    *sources, target = words
    if not source.line.heredocs:
        return tuple(sources), target, ()
    if heredoc_of(target):
        raise InvalidParameter(f"{source.keyword} cannot accept a heredoc as a destination")
    files = tuple(word for word in sources if not heredoc_of(word))
    return files, target, source.line.heredocs


def _copy(source: Source) -> Copy:
    sources, target, heredocs = _transfer_words(source)
    flags = source.flags(_COPY_FLAGS)
    return Copy(
        original=source.original,
        location=source.location,
        sources=sources,
        target=target,
        heredocs=heredocs,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.truth("link")),
        excludes=flags.texts("exclude"),
        from_=flags.text("from"),
        parents=bool(flags.truth("parents")),
    )


def _add(source: Source) -> Add:
    sources, target, heredocs = _transfer_words(source)
    flags = source.flags(_ADD_FLAGS)
    return Add(
        original=source.original,
        location=source.location,
        sources=sources,
        target=target,
        heredocs=heredocs,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.truth("link")),
        excludes=flags.texts("exclude"),
        checksum=flags.text("checksum"),
        keep_git_dir=bool(flags.truth("keep-git-dir")),
        unpack=flags.truth("unpack"),
    )


def _insert(source: Source) -> Insert:
    words = source.words()
    source.flags({})
    if len(words) != 2:
        raise InvalidParameter("INSERT requires two arguments")
    return Insert(
        original=source.original, location=source.location, source=words[0], target=words[1]
    )


def _cmd(source: Source) -> Cmd:
    source.flags({})
    return Cmd(original=source.original, location=source.location, command=source.command())


def _entrypoint(source: Source) -> Entrypoint:
    source.flags({})
    return Entrypoint(original=source.original, location=source.location, command=source.command())


def _env(source: Source) -> Env:
    return Env(original=source.original, location=source.location, pairs=_pairs(source))


def _label(source: Source) -> Label:
    return Label(original=source.original, location=source.location, pairs=_pairs(source))


def _pairs(source: Source) -> tuple[Pair, ...]:
    words = split_quoted(source.rest, escape=source.escape)
    source.flags({})
    if not words:
        raise InvalidParameter(f"{source.keyword} requires at least one argument")
    if "=" not in words[0]:
        parts = _BLANKS.split(source.rest, maxsplit=1)
        if len(parts) < 2:
            raise InvalidParameter(f"{source.keyword} must have two arguments")
        return (Pair(parts[0], parts[1], is_old_form=True),)
    return tuple(_pair(source.keyword, word) for word in words)


def _pair(keyword: str, word: str) -> Pair:
    key, equals, value = word.partition("=")
    if not equals:
        raise InvalidParameter(
            f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value'
        )
    if not key:
        raise InvalidParameter(f"{keyword} names can not be blank")
    return Pair(key, value)


def _maintainer(source: Source) -> Maintainer:
    author = source.only_argument()
    return Maintainer(original=source.original, location=source.location, author=author)


def _expose(source: Source) -> Expose:
    source.at_least_one()
    source.flags({})
    ports = tuple(sorted(source.words()))
    return Expose(original=source.original, location=source.location, ports=ports)


def _volume(source: Source) -> Volume:
    paths = tuple(path.strip() for path in source.list_or_words())
    if not paths:
        raise InvalidParameter("VOLUME requires at least one argument")
    source.flags({})
    if not all(paths):
        raise InvalidParameter("VOLUME specified can not be an empty string")
    return Volume(original=source.original, location=source.location, paths=paths)


def _user(source: Source) -> User:
    user = source.only_argument()
    return User(original=source.original, location=source.location, user=user)


def _workdir(source: Source) -> Workdir:
    path = source.only_argument()
    return Workdir(original=source.original, location=source.location, path=path)


def _arg(source: Source) -> Arg:
    source.at_least_one()
    source.flags({})
    arguments = []
    for word in split_quoted(source.rest, escape=source.escape):
        name, equals, default = word.partition("=")
        if not name:
            raise InvalidParameter("ARG names can not be blank")
        arguments.append(Argument(name, default if equals else None))
    return Arg(original=source.original, location=source.location, arguments=tuple(arguments))


def _onbuild(source: Source) -> Onbuild:
    source.at_least_one()
    source.flags({})
    word = source.words()[0].upper()
    if word == "ONBUILD":
        raise InvalidParameter("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if word in ("FROM", "MAINTAINER"):
        raise InvalidParameter(f"{word} isn't allowed as an ONBUILD trigger")
    trigger = _ONBUILD.sub("", source.original, count=1)
    trigger += "".join(f"\n{doc.content}{doc.name}" for doc in source.line.heredocs)
    return Onbuild(original=source.original, location=source.location, trigger=trigger)


def _stopsignal(source: Source) -> Stopsignal:
    signal = source.only_argument()
    return Stopsignal(original=source.original, location=source.location, signal=signal)


def _healthcheck(source: Source) -> Healthcheck:
    source.at_least_one()
    word, *after = _BLANKS.split(source.rest, maxsplit=1)
    known = {} if word.upper() == "NONE" else HEALTH_FLAGS
    health = parse_health(word.upper(), after[0] if after else "", source.flags(known))
    return Healthcheck(original=source.original, location=source.location, health=health)


def _shell(source: Source) -> Shell:
    source.flags({})
    words = json_words(source.rest)
    if words == () or not source.rest:
        raise InvalidParameter("SHELL requires at least one argument")
    if words is None:
        raise InvalidParameter("SHELL requires the arguments to be in JSON form")
    return Shell(original=source.original, location=source.location, words=words)


_INSTRUCTIONS: dict[str, Callable[[Source], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "INSERT": _insert,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
