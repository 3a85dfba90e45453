"""Two engines side by side, and what the measurements of `bench/` have in common."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support import dockerd, pinnaced
from tests.support.engine import (
    Engine,
    UnixConnection,
    processes_below,
    remove_root,
    unmount_below,
)

from pinnace.client.busybox import build_busybox_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RESULTS = Path(__file__).resolve().parent / "results"
OURS, THEIRS = ("pnt5", "10.218.0.1/22"), ("dkt5", "10.219.0.1/22")
IMAGE = "busybox"
DISK_BYTES = 12 << 30  # sparse


class Client:
    """The API over one connection that is kept open; JSON in, JSON out."""

    def __init__(self, engine: Engine, timeout_s: float = 600.0) -> None:
        self._connection = UnixConnection(engine.socket, timeout_s)

    def __call__(self, method: str, path: str, body: object = None, *, also: int = 0) -> object:
        """Make a request; `also` is a status to accept beside those below 300."""
        sent = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        if method == "POST" and data is None:
            sent["Content-Length"] = "0"
        self._connection.request(method, path, body=data, headers=sent)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 300 and response.status != also:
            raise RuntimeError(f"{method} {path}: {response.status} {answer!r}")
        is_json = answer and "json" in response.headers.get("Content-Type", "")
        return json.loads(answer) if is_json else answer

    def create(self, *command: str, **host_config: object) -> str:
        body = {"Image": IMAGE, "Cmd": list(command), "HostConfig": host_config}
        created = self("POST", "/containers/create", body)
        assert isinstance(created, dict)
        return str(created["Id"])

    def start(self, container: str) -> None:
        self("POST", f"/containers/{container}/start")

    def wait(self, container: str) -> None:
        self("POST", f"/containers/{container}/wait")

    def remove(self, container: str) -> None:
        self("DELETE", f"/containers/{container}?force=1", also=409)

    def run(self, *command: str, **host_config: object) -> str:
        container = self.create(*command, **host_config)
        self.start(container)
        return container

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Give a directory for both engines on a fresh ext4, exec roots on tmpfs, and delete it.

    What a host usually has: a journal, and `/run` in memory. An ext4 without a journal creates
    files up to ten times slower for some seconds after others were deleted.
    """
    root = Path(tempfile.mkdtemp(prefix="pnb-", dir="/var/tmp"))
    image = root.with_suffix(".ext4")
    try:
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        _do("mkfs.ext4", "-q", "-F", str(image))
        _do("mount", "-o", "loop", str(image), str(root))
        for name in ("p", "d"):
            exec_root = root / name / "exec"
            exec_root.mkdir(parents=True)
            _do("mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", str(exec_root))
        yield root
    finally:
        unmount_below(root)
        image.unlink(missing_ok=True)
        remove_root(root)


def _do(*command: str) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    subprocess.run(command, check=True, capture_output=True, env={"PATH": path})


@contextlib.contextmanager
def ours(root: Path) -> Iterator[Engine]:
    """Run Pinnace with busybox loaded."""
    bridge, subnet = OURS
    with pinnaced.start(root / "p", bridge=bridge, subnet=subnet) as engine:
        _load(engine)
        yield engine


@contextlib.contextmanager
def theirs(root: Path) -> Iterator[Engine]:
    """Run Debian's dockerd with busybox loaded."""
    bridge, subnet = THEIRS
    with dockerd.start(root / "d", bridge=bridge, subnet=subnet) as engine:
        _load(engine)
        yield engine


@contextlib.contextmanager
def both() -> Iterator[dict[str, Engine]]:
    """Run both engines below one directory, on one filesystem, and clear up after them."""
    with workspace() as root, ours(root) as pinnace, theirs(root) as docker:
        yield {"pinnace": pinnace, "dockerd": docker}


def _load(engine: Engine) -> None:
    engine.load(build_busybox_archive(Path("/bin/busybox")))


def paired(
    sides: dict[str, Callable[[], float | None]], runs: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Run every side in each round, in changing order, and collect seconds (or what it returns).

    Args:
        sides: What to run by name; returns a number to use instead of its wall time, or None.
        runs: Rounds that count.
        warm_up: Rounds before those.
    """
    samples: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(warm_up + runs):
        for name in names if number % 2 else reversed(names):
            started = time.perf_counter()
            value = sides[name]()
            if value is None:
                value = time.perf_counter() - started
            if number >= warm_up:
                samples[name].append(value)
    return samples


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        unit: Of the values.
        values: Median by side; `pinnace` is one of them.
        ratio: Ours against the other side, as the target puts it.
        against: The other side.
        target: Bound of the ratio, or of our value where `against` is empty.
        is_least: The target is a lower bound.
        runs: Paired runs behind it.
    """

    what: str
    unit: str
    values: dict[str, float]
    ratio: float
    against: str
    target: float
    is_least: bool
    runs: int

    @property
    def is_met(self) -> bool:
        """Tell whether the target is reached."""
        return self.ratio >= self.target if self.is_least else self.ratio <= self.target


def compare(
    what: str,
    unit: str,
    samples: dict[str, list[float]],
    *,
    target: float,
    against: str = "dockerd",
    is_least: bool = False,
    scale: float = 1.0,
) -> Row:
    """Make a row from paired samples: the ratio is the median of the ratios of the pairs."""
    pairs = zip(samples["pinnace"], samples[against], strict=True)
    return Row(
        what=what,
        unit=unit,
        values={name: statistics.median(found) * scale for name, found in samples.items()},
        ratio=statistics.median(one / other for one, other in pairs),
        against=against,
        target=target,
        is_least=is_least,
        runs=len(samples["pinnace"]),
    )


def report(name: str, rows: list[Row]) -> None:
    """Print the rows as a table and keep them as `bench/results/<name>.json`."""
    print(table(rows), flush=True)
    RESULTS.mkdir(exist_ok=True)
    fields = Row.__slots__
    kept = [{key: getattr(row, key) for key in fields} | {"is_met": row.is_met} for row in rows]
    host = {"cpus": os.cpu_count(), "kernel": os.uname().release, "time": time.time()}
    kept_text = json.dumps({"host": host, "rows": kept}, indent=1)
    (RESULTS / f"{name}.json").write_text(kept_text + "\n")


def table(rows: list[Row]) -> str:
    """Return the rows as text: our median, the other's, ratio, target, verdict."""
    width = max(len(row.what) for row in rows)
    head = f"{'what':<{width}}  {'pinnace':>10} {'other':>10} {'unit':<5} {'ratio':>7} target"
    lines = [head, "-" * (len(head) + 22)]
    for row in rows:
        bound = f"{'>=' if row.is_least else '<='} {row.target:g}"
        other = f"{row.values[row.against]:10.1f}" if row.against else " " * 10
        verdict = "ok" if row.is_met else "MISSED"
        against = f"vs {row.against}" if row.against else "absolute"
        lines.append(
            f"{row.what:<{width}}  {row.values['pinnace']:10.1f} {other} {row.unit:<5}"
            f" {row.ratio:7.2f} {bound:<8} {verdict:<6} {against}, {row.runs} runs"
        )
    return "\n".join(lines)


def pss_kib(engine: Engine) -> int:
    """Return the proportional memory of everything resident that belongs to an engine, KiB.

    That is the daemon, its supervisor or containerd and shims: all whose command line names the
    engine's directory; containers' own processes do not.
    """
    total = 0
    for pid in {engine.pid, *processes_below(engine.root)}:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def docker(engine: Engine, *arguments: str, stdout: int = subprocess.DEVNULL) -> None:
    """Run the Docker CLI against an engine; its output goes to /dev/null."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(engine.root),
        "DOCKER_CONFIG": str(engine.root / "docker-config"),
        "DOCKER_HOST": engine.host,
    }
    program = shutil.which("docker") or "docker"
    done = subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.decode()}")


def runs_from_arguments(default: int) -> int:
    """Return the number of paired runs: the first argument, or the default."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else default


def until_answer(engine: Engine, path: str) -> float:
    """Start a stopped engine's process and return the seconds until it answers a GET."""
    with engine.log.open("ab") as log:
        started = time.perf_counter()
        engine.process = subprocess.Popen(
            list(engine.command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=engine.environment,
            cwd="/",
            start_new_session=True,
        )
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if engine.request("GET", path).status == 200:
                return time.perf_counter() - started
        if engine.process.poll() is not None:
            raise RuntimeError(f"{engine.name} ended: {engine.log_end()}")
        time.sleep(0.002)
