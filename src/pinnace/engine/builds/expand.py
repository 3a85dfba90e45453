"""Puts variables into an instruction's words; see `instructions` for what is never expanded."""

from dataclasses import replace
from typing import TypeVar

from pinnace.engine.builds.instructions import (
    Add,
    Arg,
    Argument,
    Copy,
    Env,
    Expose,
    Heredoc,
    Insert,
    Instruction,
    Label,
    Pair,
    Run,
    Stopsignal,
    Transfer,
    User,
    Volume,
    Workdir,
)
from pinnace.engine.builds.mounts import parse_mount
from pinnace.engine.builds.words import Variables, expand_text, expand_word, expand_words

AnyInstruction = TypeVar("AnyInstruction", bound=Instruction)
AnyTransfer = TypeVar("AnyTransfer", bound=Transfer)


def expand(
    instruction: AnyInstruction, variables: Variables, *, escape: str = "\\"
) -> AnyInstruction:
    """Return `instruction` with its final words.

    Args:
        instruction: As parsed.
        variables: Environment and arguments before it; see `scope`.
        escape: The file's escape character.

    Raises:
        InvalidParameter: Quotes, a substitution or a mount cannot be understood.
    """
    return _Expansion(variables, escape).of(instruction)


class _Expansion:
    def __init__(self, variables: Variables, escape: str) -> None:
        self._variables = variables
        self._escape = escape

    def of(self, instruction: AnyInstruction) -> AnyInstruction:
        """Return the expanded instruction; those without variables come back as they are."""
        match instruction:
            case Copy() | Add():
                return self._transfer(instruction)
            case Env() | Label():
                return replace(instruction, pairs=self._pairs(instruction.pairs))
            case Run(mount_flags=flags):
                mounts = tuple(parse_mount(flag, self._word) for flag in flags)
                return replace(instruction, mounts=mounts)
            case Arg(arguments=arguments):
                expanded = tuple(self._argument(argument) for argument in arguments)
                return replace(instruction, arguments=expanded)
            case Expose(ports=ports):
                return replace(instruction, ports=self._ports(ports))
        return self._plain(instruction)

    def _plain(self, instruction: AnyInstruction) -> AnyInstruction:
        match instruction:
            case Volume(paths=paths):
                return replace(instruction, paths=self._words(paths))
            case User(user=user):
                return replace(instruction, user=self._word(user))
            case Workdir(path=path):
                return replace(instruction, path=self._word(path))
            case Stopsignal(signal=signal):
                return replace(instruction, signal=self._word(signal))
            case Insert(source=source, target=target):
                return replace(instruction, source=self._word(source), target=self._word(target))
        return instruction

    def _transfer(self, instruction: AnyTransfer) -> AnyTransfer:
        expanded = replace(
            instruction,
            sources=self._words(instruction.sources),
            target=self._word(instruction.target),
            heredocs=tuple(self._heredoc(heredoc) for heredoc in instruction.heredocs),
            chown=self._word(instruction.chown),
            chmod=self._word(instruction.chmod),
            excludes=self._words(instruction.excludes),
        )
        if isinstance(expanded, Add):
            return replace(expanded, checksum=self._word(expanded.checksum))
        return expanded

    def _heredoc(self, heredoc: Heredoc) -> Heredoc:
        text = heredoc.text
        if heredoc.expands:
            text = expand_text(text, self._variables)
        return replace(heredoc, content=text, expands=False, strips_tabs=False)

    def _pairs(self, pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        return tuple(
            replace(pair, key=self._word(pair.key), value=self._word(pair.value)) for pair in pairs
        )

    def _argument(self, argument: Argument) -> Argument:
        default = argument.default
        return Argument(
            self._word(argument.name), None if default is None else self._word(default)
        )

    def _ports(self, ports: tuple[str, ...]) -> tuple[str, ...]:
        words = (expand_words(port, self._variables, escape=self._escape) for port in ports)
        return tuple(word for group in words for word in group)

    def _words(self, words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._word(word) for word in words)

    def _word(self, word: str) -> str:
        return expand_word(word, self._variables, escape=self._escape)
