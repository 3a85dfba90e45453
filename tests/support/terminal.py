"""A person at a terminal: a program on a pseudo-terminal, what it shows, and typing."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEADLINE_S = 40.0


class Terminal:
    """Runs a program with a pseudo-terminal as its controlling terminal.

    Args:
        command: Argument list.
        environment: Its whole environment.
        rows: Height of the window when it starts.
        columns: Width.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        rows: int = 31,
        columns: int = 97,
    ) -> None:
        self.shown = b""
        self._seen = 0
        self._master, slave = os.openpty()
        self._set_size(rows, columns)
        try:
            self.process = subprocess.Popen(
                # Python cannot ask for a controlling terminal without code after fork.
                ["setsid", "--ctty", *command],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env=dict(environment),
            )
        finally:
            os.close(slave)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window; the kernel tells the program with SIGWINCH."""
        self._set_size(rows, columns)

    def expect(self, pattern: str, deadline_s: float = DEADLINE_S) -> re.Match[bytes]:
        """Wait until the output after the last match matches; carriage returns are dropped.

        Raises:
            AssertionError: It does not come in time, or the program ends before.
        """
        wanted = re.compile(pattern.encode(), re.MULTILINE)
        end = time.monotonic() + deadline_s
        while True:
            found = wanted.search(self.shown, self._seen)
            if found:
                self._seen = found.end()
                return found
            left = end - time.monotonic()
            if left <= 0 or not self.read(left):
                ended = "" if self.process.poll() is None else f", {self.process.args} ended"
                raise AssertionError(f"no {pattern!r}{ended}; shown: {self.shown.decode()!r}")

    def read(self, seconds: float) -> bool:
        """Read what comes next; False when nothing came or nothing comes any more."""
        readable, _, _ = select.select([self._master], [], [], seconds)
        if not readable:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError as exc:
            if exc.errno != errno.EIO:  # EIO: nobody has the other end open
                raise
            return False
        self.shown += data.replace(b"\r", b"")
        return bool(data)

    def end(self, deadline_s: float = DEADLINE_S) -> int:
        """Show the rest of the output, wait for the end, and return the exit status."""
        end = time.monotonic() + deadline_s
        while (left := end - time.monotonic()) > 0 and self.read(left):
            pass
        return self.process.wait(max(0.1, end - time.monotonic()))

    def close(self) -> None:
        """End the program if it still runs; idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _set_size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
