"""What the daemon and the supervisor tell each other of tasks, and what the daemon keeps of it."""

from __future__ import annotations

import binascii
import dataclasses

from pinnace.contracts.monitor import Exit, Sink, TaskSpec
from pinnace.supervisor.protocol import Message, close_all, nested, number, text, texts


class KnownTask:
    """What is needed to hand a task to a new supervisor: its state and duplicate descriptors."""

    def __init__(self, state: Message, fds: list[int]) -> None:
        self.spec = nested(state, "spec")
        self.pid = number(state, "pid")
        self.started = bool(state.get("started"))
        self.stdin_closed = bool(state.get("stdin_closed"))
        self.exit = exit_of(nested(state, "exit")) if state.get("exit") else None
        self.fds = dict(zip(texts(state, "fds"), fds, strict=True))

    @property
    def id(self) -> str:
        """The task's id."""
        return text(self.spec, "id")

    def drop(self, name: str | None = None) -> None:
        """Close one duplicate, or all."""
        names = [name] if name is not None else list(self.fds)
        close_all([self.fds.pop(each) for each in names if each in self.fds])


def spec_message(spec: TaskSpec) -> Message:
    """Return a task as JSON-ready values."""
    message: Message = {
        field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)
    }
    message["argv"] = list(spec.argv)
    message["env"] = dict(spec.env)
    message["cgroup_files"] = list(spec.cgroup_files)
    message["log"] = None if spec.log is None else dataclasses.asdict(spec.log)
    return message


def sink_message(sink: Sink) -> Message:
    """Return a sink as JSON-ready values; bytes as base64."""
    message: Message = {
        field.name: getattr(sink, field.name) for field in dataclasses.fields(sink)
    }
    for name in ("detach_keys", "early"):
        data: bytes = getattr(sink, name)
        message[name] = binascii.b2a_base64(data, newline=False).decode("ascii")
    return message


def exit_of(message: Message) -> Exit:
    """Read how a task ended."""
    return Exit(
        text(message, "id"),
        number(message, "code"),
        number(message, "finished_ns"),
        oom_killed=bool(message.get("oom_killed")),
        lost=bool(message.get("lost")),
    )
