"""What a task is to be, and what an attached client wants: requests of the daemon, checked."""

from __future__ import annotations

import binascii

from pinnace.supervisor.logs import STDERR, STDOUT
from pinnace.supervisor.protocol import (
    Message,
    ProtocolError,
    flag,
    nested,
    number,
    text,
    texts,
)


class Spec:
    """A task as the daemon describes it; see `pinnace.contracts.monitor.TaskSpec`.

    Attributes:
        raw: The request's own object; handed back when a daemon connects.
    """

    def __init__(self, raw: Message) -> None:
        self.raw = raw
        self.id = text(raw, "id")
        self.argv = texts(raw, "argv")
        self.argv_tail = number(raw, "argv_tail", 1)
        self.env = {key: str(value) for key, value in nested(raw, "env").items()}
        self.pid_file = text(raw, "pid_file")
        self.exit_file = text(raw, "exit_file")
        self.terminal = flag(raw, "terminal")
        self.open_stdin = flag(raw, "open_stdin")
        self.stdin_once = flag(raw, "stdin_once")
        self.console_size = _size(raw.get("console_size"))
        self.log = nested(raw, "log") or None
        self.start_fifo = text(raw, "start_fifo") if raw.get("start_fifo") else None
        self.cgroup_files = texts(raw, "cgroup_files")
        self.oom_file = text(raw, "oom_file") if raw.get("oom_file") else None
        self.kill_cgroup = text(raw, "kill_cgroup") if raw.get("kill_cgroup") else None
        self.runtime_log = text(raw, "runtime_log") if raw.get("runtime_log") else None
        if not self.id or not self.argv:
            raise ProtocolError("a task needs an id and a command")

    @property
    def keeps_log(self) -> bool:
        """Whether output goes to files."""
        return self.log is not None and not flag(self.log, "discard")


class SinkOptions:
    """What an attached client wants; see `pinnace.contracts.monitor.Sink`."""

    def __init__(self, raw: Message) -> None:
        self.stdin = flag(raw, "stdin")
        self.framed = flag(raw, "framed")
        self.replay = flag(raw, "replay")
        self.stream = flag(raw, "stream")
        self.detach_keys = binascii.a2b_base64(text(raw, "detach_keys", ""))
        self.early = binascii.a2b_base64(text(raw, "early", ""))
        wanted = []
        if flag(raw, "stdout"):
            wanted.append(STDOUT)
        if flag(raw, "stderr"):
            wanted.append(STDERR)
        self.streams = frozenset(wanted)
        self.replays_apart = flag(raw, "stream_by_stream") and len(wanted) > 1


def _size(value: object) -> tuple[int, int] | None:
    """Return (height, width) of a terminal from a pair of integers, or None."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    height, width = value
    if not isinstance(height, int) or not isinstance(width, int):
        return None
    return height & 0xFFFF, width & 0xFFFF
