"""Containers under fault, one per slot, and the operations on them."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.fault.program import KILLED, SCRIPT, START_FAILED, LogReport, noted, read_log

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.engine import Answer, Engine

IMAGE = "busybox:latest"
GONE_DEADLINE_S = 30.0
LOG_DEADLINE_S = 15.0
WAIT_DEADLINE_S = 60.0
NO_TRACE_S = 0.1  # a run that ends of itself says so just before


class Disturbed(Exception):
    """The daemon or the supervisor was killed under the operation: its outcome is not known."""


@dataclass(slots=True)
class World:
    """What all slots share.

    Attributes:
        engine: The daemon under test.
        epoch: Odd while the victim is down; another number afterwards.
        problems: What went wrong, in sentences.
        counts: Operations that were carried out undisturbed, by name.
        automatic: Containers that remove themselves, with when that was asked for.
    """

    engine: Engine
    epoch: int = 0
    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    automatic: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def problem(self, text: str) -> None:
        with self.lock:
            told = f"[epoch {self.epoch}] {text}"
            self.problems.append(told)
            sys.stderr.write(f"{told}\n")

    def call(
        self, method: str, path: str, body: object = None, *, fine: tuple[int, ...], **query: str
    ) -> Answer:
        """Make a request; raise Disturbed when a kill came between.

        A status that is not `fine` is a problem if nothing was killed meanwhile.
        """
        epoch = self.epoch
        if epoch % 2:
            raise Disturbed
        try:
            answer = self.engine.request(method, path, body, query=query)
        except (OSError, http.client.HTTPException) as exc:
            if self.epoch == epoch:
                time.sleep(0.5)  # the kill may be a moment ahead of its epoch
            if self.epoch == epoch:
                self.problem(f"{method} {path}: {exc!r}")
            raise Disturbed from exc
        if answer.status in fine:
            return answer
        if self.epoch == epoch:
            self.problem(f"{method} {path} {query}: {answer.status} {answer.body[:300]!r}")
        raise Disturbed


class Slot:
    """One container which is used, removed and made again."""

    def __init__(self, world: World, number: int, work: Path) -> None:
        self.world = world
        self.name = f"fault{number}"
        self.lock = threading.Lock()
        self.id = ""
        self.removing = False
        self._number = number
        self._work = work
        self._generation = 0
        self._directory = work

    @property
    def restarts(self) -> bool:
        """Whether its policy restarts it."""
        return self._number % 5 == 4

    @property
    def terminal(self) -> bool:
        """Whether it has a terminal."""
        return self._number % 7 == 6

    def act(self, chance: random.Random) -> None:
        """Do one thing that its state allows."""
        if not self.id:
            self._find_or_create()
            return
        state = self._state()
        if state is None:
            return
        if state["Status"] == "paused":
            self._post("unpause", 204, 409, 500)
            return
        idle = [self._start, self._check, self._start, self._again]
        busy: list[Callable[[], None]] = [
            self._stop, self._leave, self._kill, self._exec, self._exec, self._read, self._read,
            self._pause, self._restart, self._again, self._run_once, self._wait_for_end, self._top,
        ]  # fmt: skip
        work = chance.choice(busy if state["Status"] in {"running", "restarting"} else idle)
        work()
        with self.world.lock:
            name = work.__name__.strip("_")
            self.world.counts[name] = self.world.counts.get(name, 0) + 1

    def inspect(self) -> dict[str, Any] | None:
        """Return the container's description; None: it does not exist, which was asked for."""
        answer = self.world.call("GET", f"/containers/{self.name}/json", fine=(200, 404))
        if answer.status == 200:
            found: dict[str, Any] = answer.json()
            if self.id and found["Id"] != self.id:
                self.world.problem(f"{self.name} became another container")
            return found
        if self.id and not self.removing:
            self.world.problem(f"{self.name} ({self.id[:12]}) is lost")
        self.id = ""
        self.removing = False
        return None

    def check(self, *, final: bool = False) -> None:
        """Compare state, exit code, notes and log."""
        found = self.inspect()
        if found is None:
            return
        self.id = found["Id"]
        state = found["State"]
        report = self._whole_log()
        for problem in report.problems:
            self.world.problem(f"log of {self.name} ({self.id[:12]}): {problem}")
        if state["Status"] == "exited":
            self._check_code(state, report)
        elif final and state["Status"] not in {"created", "running", "paused", "restarting"}:
            self.world.problem(f"{self.name} is {state['Status']}")

    def _check_code(self, state: dict[str, Any], report: LogReport) -> None:
        """The exit code is what the last run said, or that of a kill."""
        last = report.last
        code, said = state["ExitCode"], report.ended.get(last, KILLED)
        if code == START_FAILED and "supervisor ended" in state["Error"]:
            return  # the start was told to have failed
        if code == said or (code == KILLED and self._ended_after_log(state)):
            return
        time.sleep(0.5 if self.restarts else 0)
        found = self.inspect()
        if found is None or found["State"] != state:
            return  # its policy was just starting it
        self.world.problem(
            f"{self.name} ({self.id[:12]}): exit code {code}, run {last} said {said};"
            f" {state['Error']!r}"
        )

    def _whole_log(self) -> LogReport:
        """Read the log; what the container has noted must come to be in it."""
        run, lines = self._notes()
        end = time.monotonic() + LOG_DEADLINE_S
        while True:
            report = read_log(self._log())
            if report.runs.get(run, 0) >= lines:
                return report
            if time.monotonic() > end:
                report.problems.append(
                    f"run {run} wrote {lines} lines, the log has {report.runs.get(run, 0)}"
                )
                return report
            time.sleep(0.2)

    def _ended_after_log(self, state: dict[str, Any]) -> bool:
        """Whether the last run was killed before it wrote anything."""
        query = {"stdout": "1", "timestamps": "1", "tail": "1"}
        found = self.world.call("GET", f"/containers/{self.id}/logs", fine=(200,), **query)
        line = found.body.decode() if self.terminal else demultiplex(found.body)
        return seconds(state["FinishedAt"]) - seconds(line.split()[0]) > NO_TRACE_S

    def remove(self) -> None:
        """Remove the container, whatever its state."""
        self.removing = True
        self.world.call("DELETE", f"/containers/{self.name}", fine=(204, 404), force="1", v="1")
        self.id = ""
        self.removing = False

    def _find_or_create(self) -> None:
        self.removing = True  # not known whether it exists
        found = self.inspect()
        self.removing = False
        if found is not None:
            self.remove()
            return
        self._generation += 1
        self._directory = self._work / f"{self._number}-{self._generation}"
        self._directory.mkdir(parents=True)
        ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
        host: dict[str, object] = {
            "Binds": [f"{self._directory}:/w"],
            "PortBindings": ports if self._number % 2 else {},
        }
        if self.restarts:
            host["RestartPolicy"] = {"Name": "always"}
        config = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", SCRIPT],
            "Tty": self.terminal,
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": host,
        }
        answer = self.world.call("POST", "/containers/create", config, fine=(201,), name=self.name)
        self.id = answer.json()["Id"]
        self.world.ids.add(self.id)
        self._start()

    def _state(self) -> dict[str, Any] | None:
        found = self.inspect()
        return None if found is None else found["State"]

    def _post(self, verb: str, *fine: int, **query: str) -> Answer:
        return self.world.call("POST", f"/containers/{self.id}/{verb}", fine=fine, **query)

    def _start(self) -> None:
        self._post("start", 204, 304)

    def _stop(self) -> None:
        self._post("stop", 204, 304, t="4")

    def _restart(self) -> None:
        self._post("restart", 204, t="4")

    def _kill(self) -> None:
        self._post("kill", 204, 409)

    def _leave(self) -> None:
        self._post("kill", 204, 409, signal="USR1")

    def _pause(self) -> None:
        if self._post("pause", 204, 409).status == 204:
            time.sleep(0.05)
            self._post("unpause", 204, 409, 500)

    def _top(self) -> None:
        self._post_free("GET", "top", 200, 409)

    def _post_free(self, method: str, verb: str, *fine: int) -> Answer:
        return self.world.call(method, f"/containers/{self.id}/{verb}", fine=fine)

    def _again(self) -> None:
        self.check()
        if self.id:
            self.remove()
            self._find_or_create()

    def _check(self) -> None:
        self.check()

    def _read(self) -> None:
        report = read_log(self._log())
        for problem in report.problems:
            self.world.problem(f"log of {self.name} ({self.id[:12]}), read: {problem}")

    def _wait_for_end(self) -> None:
        """Wait beside a stop: both must see the end."""
        codes: list[int] = []

        def wait() -> None:
            with contextlib.suppress(Disturbed):
                codes.append(self._post("wait", 200, 404).json().get("StatusCode", -1))

        if self.restarts:
            return
        waiter = threading.Thread(target=wait)
        waiter.start()
        end = time.monotonic() + WAIT_DEADLINE_S
        while waiter.is_alive() and time.monotonic() < end:
            with contextlib.suppress(Disturbed):
                self._leave()  # again: it comes to nothing before the trap is set
            waiter.join(1)
        if waiter.is_alive():
            self.world.problem(f"wait for {self.name} does not end")
        state = self._state()
        if codes and state is not None and state["ExitCode"] != codes[0]:
            self.world.problem(f"wait for {self.name} said {codes[0]}, then {state['ExitCode']}")

    def _exec(self) -> None:
        world = self.world
        found = self._state()
        before = found and found["StartedAt"]
        config = {"Cmd": ["sh", "-c", "echo out-$((6 * 7)); exit 5"], "AttachStdout": True}
        made = world.call("POST", f"/containers/{self.id}/exec", config, fine=(201, 409))
        if made.status == 409:
            return
        exec_id = made.json()["Id"]
        epoch = world.epoch
        # 404: the container has ended meanwhile, and with it what was to run in it
        fine = (200, 404, 409)
        answer = world.call("POST", f"/exec/{exec_id}/start", {"Detach": False}, fine=fine)
        if world.epoch != epoch or answer.status != 200:
            return
        after = world.call("GET", f"/exec/{exec_id}/json", fine=(200, 404))
        if after.status == 404 or world.epoch != epoch:
            return
        code, running = after.json()["ExitCode"], after.json()["Running"]
        expected = demultiplex(answer.body) == "out-42\n" and code == 5
        time.sleep(0 if expected else 1)
        state = self._state()  # the container may have ended meanwhile, and taken it along
        same = state is not None and state["Running"] and state["StartedAt"] == before
        if world.epoch == epoch and not expected and same:
            world.problem(f"exec in {self.name}: {answer.body!r}, exit {code}, running {running}")

    def _run_once(self) -> None:
        """Run a container that removes itself."""
        config = {"Image": IMAGE, "Cmd": ["sh", "-c", "echo hi; exit 4"]}
        made = self.world.call(
            "POST",
            "/containers/create",
            {**config, "HostConfig": {"AutoRemove": True}},
            fine=(201,),
            name=f"once-{secrets.token_hex(4)}",
        ).json()["Id"]
        self.world.ids.add(made)
        self.world.automatic.add(made)
        self.world.call("POST", f"/containers/{made}/start", fine=(204, 404))

    def _log(self) -> str:
        query = {"stdout": "1", "stderr": "1"}
        found = self.world.call("GET", f"/containers/{self.id}/logs", fine=(200,), **query)
        return found.body.decode() if self.terminal else demultiplex(found.body)

    def _notes(self) -> tuple[int, int]:
        with contextlib.suppress(OSError):
            return noted((self._directory / "count").read_text())
        return 0, 0


def seconds(stamp: str) -> float:
    """Return an RFC 3339 time as seconds."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return moment + float(f"0.{fraction or 0}")


def demultiplex(data: bytes) -> str:
    """Return the payload of stdcopy frames; an incomplete last frame as far as it goes."""
    out = bytearray()
    while len(data) >= 8:
        size = int.from_bytes(data[4:8], "big")
        out += data[8 : 8 + size]
        data = data[8 + size :]
    return out.decode()
