"""Progress of pull and load: bars on a terminal, plain lines elsewhere, JSON lines on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import msgspec

from pinnace.cli.context import CommandError
from pinnace.cli.output import printable, size
from pinnace.client.errors import BadAnswer
from pinnace.client.records import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

BAR_CELLS = 30


class ProgressView:
    """Shows a stream of progress messages; one line per id on a terminal."""

    def __init__(self, out: TextIO, *, terminal: bool) -> None:
        self._out = out
        self._terminal = terminal
        self._rows: dict[str, int] = {}

    def show(self, message: Progress) -> None:
        """Print or update what one message says."""
        if message.stream:
            self._out.write(printable(message.stream))
        elif message.id and self._terminal:
            self._update(message)
        elif message.status and (message.detail is None or message.detail.current == 0):
            prefix = f"{message.id}: " if message.id else ""
            self._out.write(printable(f"{prefix}{message.status}") + "\n")
            self._rows.clear()
        self._out.flush()

    def _update(self, message: Progress) -> None:
        text = printable(f"{message.id}: {message.status} {bar(message)}".rstrip())
        row = self._rows.get(message.id)
        if row is None:
            self._rows[message.id] = len(self._rows)
            self._out.write(text + "\n")
            return
        up = len(self._rows) - row
        # Up to the row, clear it, write, and back down to the line below the last one.
        self._out.write(f"\x1b[{up}A\r\x1b[2K{text}\x1b[{up}B\r")


def bar(message: Progress) -> str:
    """Return "[=====>    ] 12MB/30MB" for a message with a total, its bytes without one."""
    if message.detail is None or message.detail.current <= 0:
        return ""
    current, total = message.detail.current, message.detail.total
    if total <= 0:
        return size(current)
    cells = min(BAR_CELLS, current * BAR_CELLS // total)
    return f"[{'=' * cells}>{' ' * (BAR_CELLS - cells)}] {size(current)}/{size(total)}"


async def show_progress(
    lines: AsyncIterable[bytes], out: TextIO, *, json: bool, quiet: bool = False
) -> None:
    """Show a stream of progress to its end.

    Raises:
        CommandError: The stream holds an error.
        BadAnswer: A line is not JSON.
    """
    view = ProgressView(out, terminal=out.isatty())
    async for line in lines:
        message = _decode(line)
        if message.error or message.errorDetail is not None:
            detail = message.errorDetail.message if message.errorDetail else ""
            raise CommandError(message.error or detail)
        if json:
            out.write(line.decode(errors="replace").strip() + "\n")
        elif not quiet:
            view.show(message)


def _decode(line: bytes) -> Progress:
    try:
        return msgspec.json.decode(line, type=Progress)
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise BadAnswer(f"the engine's progress cannot be understood: {exc}") from exc
