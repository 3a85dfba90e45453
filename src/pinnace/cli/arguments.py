"""The argument parser of every command: Docker's exit status for misuse, no abbreviations."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE_STATUS = 125


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` without `-h` (it is a host or a host name) and without abbreviations."""

    def __init__(self, command: str, summary: str) -> None:
        super().__init__(
            prog=f"pinnace {command}".strip(),
            description=summary,
            add_help=False,
            allow_abbrev=False,
        )
        self.add_argument("--help", action="help", help="show this text")

    # typing.override exists from Python 3.12 on
    def error(self, message: str) -> NoReturn:  # type: ignore[explicit-override]  # see above
        """Print what is wrong and leave with Docker's status for misuse."""
        print(f"{self.prog}: {message}\nSee '{self.prog} --help'.", file=sys.stderr)
        sys.exit(USAGE_STATUS)

    def flag(self, *names: str, note: str) -> None:
        """Add an option without a value."""
        self.add_argument(*names, action="store_true", help=note)

    def text(self, *names: str, note: str, meta: str = "TEXT", default: str | None = None) -> None:
        """Add an option with one text; the last one given counts."""
        self.add_argument(*names, metavar=meta, default=default, help=note)

    def many(self, *names: str, note: str, meta: str = "TEXT") -> None:
        """Add an option which may be given several times."""
        self.add_argument(*names, metavar=meta, action="append", default=[], help=note)

    def value(
        self, *names: str, parse: Callable[[str], object], note: str, meta: str = "VALUE"
    ) -> None:
        """Add an option whose text is parsed; `parse` raises ValueError with the reason."""
        self.add_argument(*names, metavar=meta, type=_explained(parse), help=note)


def _explained(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Let argparse show the text of a ValueError instead of its own."""

    def convert(text: str) -> object:
        try:
            return parse(text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from None

    return convert
