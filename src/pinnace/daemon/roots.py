"""The daemon's directories, its lock, its pid file and its id."""

import fcntl
import os
import secrets
from pathlib import Path

from pinnace.errors import Conflict, Unavailable

_DATA_MODE, _EXEC_MODE, _PRIVATE = 0o710, 0o711, 0o700


def make_roots(data_root: Path, exec_root: Path) -> None:
    """Make both roots with their modes; what exists is tightened.

    Raises:
        Unavailable: They cannot be made.
    """
    try:
        for path, mode in ((data_root, _DATA_MODE), (exec_root, _EXEC_MODE)):
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            path.chmod(mode)
        for name in ("volumes", "tmp"):
            (data_root / name).mkdir(mode=_PRIVATE if name == "tmp" else 0o701, exist_ok=True)
    except OSError as exc:
        raise Unavailable(f"cannot make {exc.filename}: {exc.strerror}") from exc


def lock_root(data_root: Path) -> int:
    """Take the data root for this process; return the descriptor that holds it.

    Raises:
        Conflict: Another daemon uses it.
    """
    fd = os.open(data_root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Conflict(f"another daemon uses the data root {data_root}") from None
    return fd


def write_pid(path: Path) -> None:
    """Write the pid file.

    Raises:
        Conflict: It names another living daemon.
    """
    try:
        other = int(path.read_text())
        name = Path(f"/proc/{other}/cmdline").read_bytes()
        if other != os.getpid() and b"pinnace" in name:
            raise Conflict(
                f"pid file found, ensure pinnace is not running or delete {path} (pid {other})"
            )
    except (OSError, ValueError):
        pass  # none, stale or unreadable
    path.write_text(f"{os.getpid()}\n")


def engine_id(data_root: Path) -> str:
    """Return the engine's id, made at the first start."""
    path = data_root / "engine-id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        made = secrets.token_hex(16)
        text = "-".join((made[:8], made[8:12], made[12:16], made[16:20], made[20:]))
        path.write_text(f"{text}\n")
        return text
