"""What every engine under test has in common: a process, a socket, a log, and a clean end.

Used by `tests.support.dockerd` and `tests.support.pinnaced`; both give an `Engine`, so a
comparison runs the same code against either.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0


class UnixConnection(http.client.HTTPConnection):
    """An `http.client` connection over a unix socket."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(slots=True)
class Answer:
    """One whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Engine:
    """A container engine started by this test session.

    Attributes:
        name: "dockerd" or "pinnace", for messages.
        command: Argument list which starts the daemon in the foreground.
        root: Directory which holds everything the engine writes.
        socket: Unix socket of its API.
        log: File with its standard output and error, appended across restarts.
        environment: Environment of the process.
        cleanup: Called in reverse order after the process ended for good.
    """

    name: str
    command: Sequence[str]
    root: Path
    socket: Path
    log: Path
    environment: dict[str, str]
    cleanup: list[Callable[[], None]] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running daemon."""
        assert self.process is not None, f"{self.name} is not running"
        return self.process.pid

    @property
    def host(self) -> str:
        """Address as `DOCKER_HOST` and `--host` take it."""
        return f"unix://{self.socket}"

    def launch(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Start the daemon and wait until `/_ping` answers 200.

        Raises:
            RuntimeError: It ended or did not answer in time; holds the end of its log.
        """
        assert self.process is None, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd="/",
                start_new_session=True,
            )
        end = time.monotonic() + deadline_s
        while not self.answers():
            status = self.process.poll()
            if status is not None or time.monotonic() > end:
                what = f"ended with {status}" if status is not None else "did not answer in time"
                self.close()
                raise RuntimeError(f"{self.name} {what}; its log ends:\n{self.log_end()}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Tell whether the API answers `/_ping` now."""
        try:
            return self.request("GET", "/_ping", timeout=5).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        """Send one request and read the whole answer; `body` is bytes, or sent as JSON."""
        connection = UnixConnection(self.socket, timeout)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        target = f"{path}?{urlencode(query)}" if query else path
        with contextlib.closing(connection):
            connection.request(method, target, body=body, headers=sent)
            response = connection.getresponse()
            data = response.read()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data)

    def load(self, archive: bytes) -> None:
        """Load a docker-archive made by `tests.support.images` or the busybox builder."""
        answer = self.request(
            "POST", "/images/load", archive, headers={"Content-Type": "application/x-tar"}
        )
        if answer.status != 200 or b'"errorDetail"' in answer.body:
            raise RuntimeError(f"{self.name} did not load: {answer.status} {answer.body!r}")

    def cli(
        self,
        *arguments: str,
        program: str = "docker",
        stdin: bytes = b"",
        timeout: float = 120.0,
        settings: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a Docker CLI against this engine and capture what it prints; never raises.

        `settings` are more variables of its environment, such as DOCKER_BUILDKIT.
        """
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "DOCKER_CONFIG": str(self.root / "docker-config"),
            "DOCKER_HOST": self.host,
            "PINNACE_HOST": self.host,
            **(settings or {}),
        }
        return subprocess.run(
            [program, *arguments],
            input=stdin,
            capture_output=True,
            env=environment,
            timeout=timeout,
            check=False,
        )

    def log_end(self, lines: int = 40) -> str:
        """Return the last lines of the daemon's log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def kill(self) -> None:
        """SIGKILL the daemon, as a crash would end it, and reap it."""
        self._end(signal.SIGKILL)

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> int:
        """SIGTERM the daemon and return its exit status; what it leaves behind stays."""
        return self._end(signal.SIGTERM, deadline_s)

    def restart(self) -> None:
        """Stop the daemon if it runs and start it again on the same state."""
        if self.process is not None:
            self.stop()
        self.launch()

    def close(self) -> None:
        """Remove all containers, stop the daemon, and undo everything it left on the host.

        Idempotent; works on an engine which crashed or never started.
        """
        if self.process is not None and self.process.poll() is None:
            self._remove_containers()
            self.stop()
        self.process = None
        while self.cleanup:
            self.cleanup.pop()()
        end_processes_below(self.root)
        unmount_below(self.root)

    def _remove_containers(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for one in self.request("GET", "/containers/json", query={"all": "1"}).json():
                query = {"force": "1", "v": "1"}
                self.request("DELETE", f"/containers/{one['Id']}", query=query)

    def _end(self, number: signal.Signals, deadline_s: float = STOP_DEADLINE_S) -> int:
        process, self.process = self.process, None
        assert process is not None, f"{self.name} is not running"
        process.send_signal(number)
        try:
            return process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_root(root: Path) -> Path:
    """Create an engine's directory and return its absolute path."""
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    (root / "docker-config").mkdir(exist_ok=True)
    # A unix socket's path must fit into 107 bytes.
    assert len(str(root)) < 70, f"use a shorter directory than {root}"
    return root


def bridge_of(root: Path, prefix: str) -> str:
    """Return a bridge name which only this root has, so that engines can run side by side."""
    return prefix + hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:6]


def subnet_of(root: Path, second: int) -> str:
    """Return the address of the bridge of a root: 10.`second`.N.1/24."""
    return f"10.{second}.{hashlib.sha256(str(root.resolve()).encode()).digest()[0]}.1/24"


def remove_link(name: str) -> None:
    """Delete a network link of this machine if it exists."""
    subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def unmount_below(root: Path) -> None:
    """Lazily unmount everything below a directory, innermost first."""
    for point in reversed(mounts_below(root)):
        subprocess.run(["umount", "--lazy", str(point)], capture_output=True, check=False)


def mounts_below(root: Path) -> list[Path]:
    """Return the mount points below a directory in the order they were mounted."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if point.is_relative_to(root):
            points.append(point)
    return points


def processes_below(root: Path) -> list[int]:
    """Return the ids of processes whose arguments name something below a directory."""
    needle = str(root).encode() + b"/"
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if needle in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def end_processes_below(root: Path) -> None:
    """SIGKILL what an engine left running (supervisors, shims) and wait until it is gone."""
    end = time.monotonic() + 10
    mine = {os.getpid(), os.getppid()}
    while time.monotonic() < end:
        pids = [p for p in processes_below(root) if p not in mine and not is_zombie(p)]
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    raise RuntimeError(f"processes below {root} do not end: {pids}")


def is_zombie(pid: int) -> bool:
    """Tell whether a process has ended and only waits to be reaped, or is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def remove_root(root: Path) -> None:
    """Delete an engine's directory after it was closed; never follows a mount."""
    assert not mounts_below(root), f"still mounted: {mounts_below(root)}"
    shutil.rmtree(root, ignore_errors=True)
