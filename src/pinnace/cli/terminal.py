"""The caller's terminal: raw mode, size, and the keys which detach."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes of a key sequence such as "ctrl-p,ctrl-q" or "a,b".

    Raises:
        ValueError: A key is neither one character nor `ctrl-` and one from `@` to `_`.
    """
    keys = bytearray()
    for key in text.split(","):
        name = key.strip()
        if len(name) == 1 and name.isascii():
            keys += name.encode()
        elif name.startswith("ctrl-") and len(name) == 6 and "@" <= name[5].upper() <= "_":
            keys.append(ord(name[5].upper()) - ord("@"))
        else:
            raise ValueError(f"invalid detach keys: {text}")
    return bytes(keys)


class DetachDetector:
    """Finds the detach sequence in typed bytes, and holds back what may become it."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return the bytes to pass on, and whether the sequence is complete."""
        passed = bytearray()
        for byte in data:
            if byte != self._keys[self._matched]:
                passed += self._keys[: self._matched]
                self._matched = 0
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
            else:
                passed.append(byte)
        return bytes(passed), False


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Pass every key through as it is typed, and restore the terminal at the end."""
    before = termios.tcgetattr(fd)
    wanted = termios.tcgetattr(fd)
    # As cfmakeraw(3) does, but output keeps its processing of nothing but what the peer sends.
    wanted[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    wanted[1] &= ~termios.OPOST
    wanted[2] = (wanted[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    wanted[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    wanted[6][termios.VMIN], wanted[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSADRAIN, wanted)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def window_size() -> tuple[int, int] | None:
    """Return (rows, columns) of the terminal, or None without one."""
    for fd in (sys.stdout.fileno(), sys.stdin.fileno()):
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(fd)
            return (rows, columns) if rows and columns else None
    return None
