"""What the end of a task leaves to do: its record, its control group, why it ended."""

from __future__ import annotations

import json
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pinnace.supervisor.protocol import Message


def kill_cgroup(directory: str) -> None:
    """Kill what is left in a cgroup; processes that fork meanwhile are found by looking again."""
    for _ in range(16):
        try:
            with open(f"{directory}/cgroup.procs", encoding="ascii") as file:  # noqa: PTH123
                pids = [int(line) for line in file]
        except OSError:
            return
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def oom_killed(path: str | None) -> bool:
    """Whether the kernel counted a kill in memory.oom_control (v1) or memory.events (v2)."""
    if not path:
        return False
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123
            counts = dict(line.split() for line in file)
    except (OSError, ValueError):
        return False
    return int(counts.get("oom_kill", "0")) > 0


def write_record(path: str, record: Message) -> None:
    """Replace a file by a JSON record, complete or not at all."""
    temporary = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(temporary, flags, 0o600)
    try:
        os.write(fd, json.dumps(record).encode())
    finally:
        os.close(fd)
    os.rename(temporary, path)  # noqa: PTH104


def read_record(path: str) -> Message | None:
    """Return a JSON record; None when there is none, or not a whole one."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            record: object = json.load(file)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
