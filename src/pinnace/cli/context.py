"""What every command gets: the engine, and how to print."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinnace.client.engine import Engine, JsonValue

# Exit statuses of the Docker CLI.
FAILED = 1
DAEMON_FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127


class CommandError(Exception):
    """A command failed; `status` is the exit status of the program."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Context:
    """Settings of one invocation.

    Attributes:
        engine: The engine to talk to.
        json: Print JSON lines instead of tables.
    """

    engine: Engine
    json: bool

    def print_rows(self, rows: Sequence[JsonValue]) -> None:
        """Print each row as one line of JSON."""
        import json

        for row in rows:
            print(json.dumps(row, ensure_ascii=False))

    def print_error(self, text: str) -> None:
        """Print a line on standard error."""
        from pinnace.cli.output import printable

        print(printable(text), file=sys.stderr, flush=True)
