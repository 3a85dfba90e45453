"""What the history of an image says of its steps: the words of Docker's classic builder; pure.

RUN shows the command line. Every other step shows the command of a container that was never run:
the shell and, behind `#(nop)`, what was done (moby, builder/dockerfile/dispatchers.go).
"""

from collections.abc import Mapping, Sequence

from pinnace.engine.builds.config import DEFAULT_SHELL
from pinnace.engine.builds.instructions import (
    Arg,
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    Stopsignal,
    User,
    Volume,
)
from pinnace.model.container import ContainerConfig, HealthConfig

_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\", '"': '\\"',
}  # fmt: skip
_UNITS = ((3_600_000_000_000, "h"), (60_000_000_000, "m"))


def shown_step(config: ContainerConfig, comment: str) -> str:
    """Return the history's text for a step that ran nothing."""
    return " ".join([*(config.shell or DEFAULT_SHELL), "#(nop) ", comment])


def shown_files(config: ContainerConfig, comment: str) -> str:
    """Return the history's text for COPY, ADD and WORKDIR, which differs by a space."""
    return " ".join([*(config.shell or DEFAULT_SHELL), f"#(nop) {comment}"])


def shown_run(
    words: Sequence[str], arguments: Mapping[str, str], recorded: Mapping[str, str]
) -> str:
    """Return the history's text for RUN.

    Args:
        words: What was run.
        arguments: The build arguments it could see.
        recorded: Those of them that are named; the others show as their bare presence.
    """
    seen = sorted(f"{name}={value}" for name, value in recorded.items())
    prefix = [f"|{len(seen)}", *seen] if arguments else []
    return " ".join([*prefix, *words])


def comment_of(instruction: Instruction, config: ContainerConfig) -> str:
    """Return the comment of an expanded instruction that changes only the config.

    Args:
        instruction: The instruction.
        config: The config after it.
    """
    match instruction:
        case Env(pairs=pairs) | Label(pairs=pairs):
            words = [f"{pair.key}={pair.value}" for pair in pairs]
            return " ".join([instruction.keyword, *words])
        case Arg(arguments=arguments):
            given = [
                one.name if one.default is None else f"{one.name}={one.default}"
                for one in arguments
            ]
            return " ".join(["ARG", *given])
        case Maintainer(author=author):
            return f"MAINTAINER {author}"
        case Expose(ports=ports):
            return f"EXPOSE {' '.join(ports)}"
        case Volume(paths=paths):
            return f"VOLUME {_go_list(paths)}"
        case User(user=user):
            return f"USER {user}"
    return _command_comment(instruction, config)


def _command_comment(instruction: Instruction, config: ContainerConfig) -> str:
    match instruction:
        case Cmd():
            return f"CMD {_quoted_list(config.cmd or ())}"
        case Entrypoint():
            return f"ENTRYPOINT {_quoted_list(config.entrypoint or ())}"
        case Onbuild(trigger=trigger):
            return f"ONBUILD {trigger}"
        case Stopsignal(signal=signal):
            return f"STOPSIGNAL {signal}"
        case Shell(words=words):
            return f"SHELL {_go_list(words)}"
        case Healthcheck(health=health):
            return f"HEALTHCHECK {_health(health)}"
    return instruction.keyword


def _health(health: HealthConfig) -> str:
    """Return what Go prints of the struct with %q: dockerd's history has it."""
    times = " ".join(
        f'"{go_duration(ns)}"' for ns in (health.interval, health.timeout, health.start_period)
    )
    return f"&{{{_quoted_list(health.test or ())} {times} {_quoted_rune(health.retries)}}}"


def _quoted_rune(number: int) -> str:
    if 0x20 <= number < 0x7F:
        return f"'{chr(number)}'" if chr(number) not in "'\\" else f"'\\{chr(number)}'"
    letter = _ESCAPES.get(chr(number)) if number < 0x80 else None
    return f"'{letter}'" if letter else f"'\\x{number:02x}'"


def go_duration(ns: int) -> str:
    """Return nanoseconds as Go prints a duration: `1h0m30s`, `1.5s`, `0s`."""
    if 0 < ns < 1_000_000_000:
        for size, unit in ((1_000_000, "ms"), (1_000, "µs"), (1, "ns")):
            if ns >= size:
                return f"{ns / size:g}{unit}"
    text = ""
    for size, unit in _UNITS:
        if ns >= size or text:
            text += f"{ns // size}{unit}"
            ns %= size
    return f"{text}{ns / 1_000_000_000:.9f}".rstrip("0").rstrip(".") + "s"


def _go_list(words: Sequence[str]) -> str:
    return "[" + " ".join(words) + "]"


def _quoted_list(words: Sequence[str]) -> str:
    return "[" + " ".join(_quoted(word) for word in words) + "]"


def _quoted(text: str) -> str:
    """Quote as Go's %q does."""
    made = [
        _ESCAPES.get(letter) or (letter if letter.isprintable() else _code(letter))
        for letter in text
    ]
    return '"' + "".join(made) + '"'


def _code(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # an undecodable byte, kept by surrogateescape
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
