"""Modes of `--chmod`: octal numbers, and chmod's symbolic words."""

import re
import stat

from pinnace.errors import InvalidParameter

_OCTAL = re.compile(r"[0-7]{1,4}")
_CLAUSE = re.compile(r"([ugoa]*)([-+=])([rwxXst]*|[ugo])")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


def changed_mode(mode: int, change: str, *, is_directory: bool) -> int:
    """Return `mode` after `chmod change`.

    Raises:
        InvalidParameter: `invalid chmod parameter`, BuildKit's words.
    """
    if _OCTAL.fullmatch(change):
        return int(change, 8)
    for clause in change.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise InvalidParameter(
                f"invalid chmod parameter: '{change}'. it should be octal string and between 0"
                " and 07777"
            )
        mode = _apply(mode, match[1] or "a", match[2], match[3], is_directory=is_directory)
    return mode


def _apply(mode: int, who: str, operator: str, words: str, *, is_directory: bool) -> int:
    everybody = "ugo" if "a" in who else who
    bits = affected = 0
    for letter in everybody:
        bits |= _permissions(words, mode, is_directory=is_directory) << _SHIFTS[letter]
        affected |= 7 << _SHIFTS[letter]
    if "s" in words:
        bits |= (stat.S_ISUID if "u" in everybody else 0) | (
            stat.S_ISGID if "g" in everybody else 0
        )
    if "t" in words:
        bits |= stat.S_ISVTX
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    return (mode & ~affected) | bits


def _permissions(words: str, mode: int, *, is_directory: bool) -> int:
    if words in _SHIFTS:
        return mode >> _SHIFTS[words] & 7
    bits = 0
    for letter in words:
        bits |= _BITS.get(letter, 0)
    if "X" in words and (is_directory or mode & 0o111):
        bits |= 1
    return bits
