"""Tasks for the supervisor: run by a stub of a runtime, or by crun from a bundle of busybox."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path  # noqa: TC003

from pinnace.contracts.monitor import LogFiles, TaskSpec
from pinnace.host.runtime.monitor import SupervisorMonitor
from pinnace.supervisor.logs import LogReader

PATH = "/usr/local/bin:/usr/bin:/bin"
DEADLINE_S = 30.0

# Makes a process as a runtime does: it waits for a byte in a fifo, unless that is `-`. It runs its
# command only when the stub has ended, as the stub's shell might else take its exit status.
STUB = """#!/bin/sh
pidfile=$1 fifo=$2; shift 2
exec 3<&0  # what runs in the background would get /dev/null
alone="while [ -e /proc/$$/exe ]; do :; done"
case $fifo in
fail) echo "stub: $*" >&2; exit 1 ;;
-) setsid sh -c "$alone"'; exec "$@"' - "$@" <&3 3<&- & ;;
*) mkfifo "$fifo"
   setsid sh -c "$alone"'; read -r _ < "$0"; exec "$@"' "$fifo" "$@" <&3 3<&- & ;;
esac
echo $! > "$pidfile"
"""
APPLETS = ("sh", "cat", "true", "sleep", "echo", "head", "dd", "stty", "seq", "tail", "kill")


async def until(condition, what: str = "it", deadline_s: float = DEADLINE_S):
    """Poll until a condition holds and return its value."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not happen"
        await asyncio.sleep(0.005)
    return value


class Lab:
    """An exec root with its supervisor, and tasks below a directory of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.exec_root = directory / "run"
        self.crun_root = directory / "crun"
        self.stub = directory / "stub"
        self.stub.write_text(STUB)
        self.stub.chmod(0o755)
        self._pids: set[int] = set()
        self._bundles: list[str] = []
        self._monitors: list[SupervisorMonitor] = []

    async def monitor(self) -> SupervisorMonitor:
        """Return a connected monitor; closed at the end."""
        made = SupervisorMonitor(self.exec_root)
        self._monitors.append(made)
        await made.connect()
        self._pids.add(made.supervisor_pid)
        return made

    def task(self, name: str, *argv: str, kind: str = "container", **options) -> TaskSpec:
        """Describe a task the stub makes: a container with a log and a fifo, or an exec."""
        place = self._place(name)
        fifo = str(place / "fifo") if kind == "container" else "-"
        if kind == "fail":
            fifo = "fail"
        if kind != "exec":
            options.setdefault("log", LogFiles(str(place / "log"), max_size=0))
        return TaskSpec(
            id=name,
            argv=[str(self.stub), str(place / "pid"), fifo, *argv],
            env={"PATH": PATH},
            pid_file=str(place / "pid"),
            exit_file=str(place / "exit"),
            start_fifo=fifo if kind == "container" else None,
            **options,
        )

    def container(self, name: str, *argv: str, terminal: bool = False, **options) -> TaskSpec:
        """Describe a container that crun makes from a bundle of busybox."""
        place = self._place(name)
        _make_bundle(place, argv, terminal=terminal)
        self._bundles.append(name)
        options.setdefault("log", LogFiles(str(place / "log"), max_size=0))
        return TaskSpec(
            id=name,
            argv=[
                *self._crun(place),
                "create",
                "-b",
                str(place),
                "--pid-file",
                str(place / "pid"),
                name,
            ],
            env={"PATH": PATH},
            pid_file=str(place / "pid"),
            exit_file=str(place / "exit"),
            start_fifo=str(self.crun_root / name / "exec.fifo"),
            runtime_log=str(place / "runtime.log"),
            terminal=terminal,
            **options,
        )

    def exec_of(self, container: str, name: str, *argv: str, **options) -> TaskSpec:
        """Describe an additional process that crun makes in a container."""
        place = self._place(name)
        process = {
            "terminal": options.get("terminal", False),
            "user": {"uid": 0, "gid": 0},
            "args": list(argv),
            "env": ["PATH=/bin"],
            "cwd": "/",
        }
        (place / "process.json").write_text(json.dumps(process))
        return TaskSpec(
            id=name,
            argv=[
                *self._crun(place),
                "exec",
                "--detach",
                "--process",
                str(place / "process.json"),
                "--pid-file",
                str(place / "pid"),
                container,
            ],
            env={"PATH": PATH},
            pid_file=str(place / "pid"),
            exit_file=str(place / "exit"),
            runtime_log=str(place / "runtime.log"),
            **options,
        )

    def log(self, name: str, stream: int | None = None) -> bytes:
        """Return what the log of a task holds."""
        wanted = frozenset({1, 2} if stream is None else {stream})
        reader = LogReader(str(self.directory / name / "log"), streams=wanted)
        try:
            return b"".join(chunk.data for chunk in reader.chunks())
        finally:
            reader.close()

    def record(self, name: str) -> dict:
        """Return the exit record of a task."""
        return json.loads((self.directory / name / "exit").read_text())

    async def close(self) -> None:
        """End supervisors, containers and everything the tasks left."""
        for monitor in self._monitors:
            self._pids.add(monitor.supervisor_pid)
            await monitor.close()
        for pid in self._pids:
            await _end_supervisor(pid)
        for name in self._bundles:
            command = ["crun", "--root", str(self.crun_root), "delete", "--force", name]
            subprocess.run(command, check=False, capture_output=True)
        for place in self.directory.iterdir():
            if (place / "pid").exists() and place.name not in self._bundles:
                with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
                    os.killpg(int((place / "pid").read_text()), signal.SIGKILL)

    def _place(self, name: str) -> Path:
        place = self.directory / name
        (place / "log").mkdir(parents=True, exist_ok=True)
        return place

    def _crun(self, place: Path) -> list[str]:
        log = str(place / "runtime.log")
        return ["crun", "--root", str(self.crun_root), "--log", log, "--log-format", "json"]


async def _end_supervisor(pid: int) -> None:
    """Kill a supervisor of ours; its children go to init."""
    with contextlib.suppress(ProcessLookupError):
        watched = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            await until(lambda: _is_gone(watched), "the supervisor's end")
        finally:
            os.close(watched)


def _is_gone(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])


def _make_bundle(place: Path, argv: tuple[str, ...], *, terminal: bool) -> None:
    binaries = place / "rootfs" / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    for name in ("proc", "dev"):
        (place / "rootfs" / name).mkdir(exist_ok=True)
    if not (binaries / "busybox").exists():
        shutil.copy("/bin/busybox", binaries / "busybox")
        for applet in APPLETS:
            (binaries / applet).symlink_to("busybox")
    config = {
        "ociVersion": "1.0.0",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": list(argv),
            "env": ["PATH=/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts"},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }
    (place / "config.json").write_text(json.dumps(config))


class Terminal:
    """The client's end of an attached connection."""

    def __init__(self) -> None:
        self.sock, self.theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.received = bytearray()

    @property
    def fd(self) -> int:
        """The daemon's end, to be handed to the supervisor."""
        return self.theirs.fileno()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def end_input(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    async def receive_until(self, expected: bytes) -> bytes:
        """Read until what came holds `expected`."""
        async with asyncio.timeout(DEADLINE_S):
            while expected not in self.received:
                data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
                assert data, f"the output ended: {bytes(self.received)!r}"
                self.received += data
        return bytes(self.received)

    async def receive_all(self) -> bytes:
        """Read until the supervisor shuts the connection down."""
        async with asyncio.timeout(DEADLINE_S * 2):
            while data := await asyncio.get_running_loop().sock_recv(self.sock, 1 << 20):
                self.received += data
        return bytes(self.received)

    def close(self) -> None:
        self.sock.close()
        self.theirs.close()


def unframed(data: bytes) -> dict[int, bytes]:
    """Split a multiplexed stream; fails when it ends within a frame."""
    streams: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    at = 0
    while at < len(data):
        stream, length = struct.unpack_from(">BxxxI", data, at)
        assert at + 8 + length <= len(data), "cut within a frame"
        streams[stream] += data[at + 8 : at + 8 + length]
        at += 8 + length
    return {stream: bytes(part) for stream, part in streams.items()}
