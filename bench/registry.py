"""Pull and push over a registry on loopback: Pinnace, dockerd, podman and skopeo.

Every run gets a fresh ext4 and, for pushes, an empty registry. The image has 5 layers, 18,000
files, 580 MB; others have 200 layers of one small file, or one layer of 2 GB.

python bench/registry.py [runs]
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench._pair import (
    Client,
    Row,
    compare,
    ours,
    paired,
    report,
    runs_from_arguments,
    theirs,
    workspace,
)
from bench._registry_images import (
    Layer,
    chunks,
    docker_archive,
    large_layer,
    mixed_layers,
    small_layers,
)
from tests.support import registry
from tests.support.engine import UnixConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.engine import Engine

FILES, SIZE = 18_000, 580 * 10**6
LARGE = 2 * 10**9
SMALL_IMAGES, SMALL_LAYERS = 2, 100  # an image has 127 at most
MEMORY_MB = 200
ENGINES = {"pinnace": ours, "dockerd": theirs}
AUTH = {"X-Registry-Auth": "e30="}


def put(server: registry.Registry, name: str, layers: list[Layer]) -> None:
    """Upload an image of layers."""
    server.put_image(
        name,
        "1",
        layers=[layer.path.read_bytes() for layer in layers],
        diff_ids=[layer.diff_id for layer in layers],
    )


def stream(engine: Engine, target: str) -> None:
    """Make a request whose answer is progress, and read it to its end."""
    connection = UnixConnection(engine.socket, 1800)
    connection.request("POST", target, headers={**AUTH, "Content-Length": "0"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200 or b"errorDetail" in body:
        raise RuntimeError(f"{target}: {answer.status} {body[-500:]!r}")


def pull(engine: Engine, name: str) -> float:
    """Return the seconds of a pull."""
    started = time.perf_counter()
    stream(engine, f"/images/create?fromImage={name}&tag=1")
    return time.perf_counter() - started


def load(engine: Engine, archive: Path) -> None:
    """Load an archive."""
    connection = UnixConnection(engine.socket, 1800)
    headers = {"Content-Type": "application/x-tar", "Content-Length": str(archive.stat().st_size)}
    connection.request("POST", "/images/load?quiet=1", body=chunks(archive), headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    assert b"errorDetail" not in body, body


def pull_by(side: str, names: list[str]) -> float:
    """Return the seconds in which a fresh engine pulls all images."""
    with workspace() as root, ENGINES[side](root) as engine:
        os.sync()
        return sum(pull(engine, name) for name in names)


def peak_mb(name: str) -> float:
    """Return the most memory that a fresh daemon of ours had when it had pulled an image, MB."""
    with workspace() as root, ours(root) as engine:
        pull(engine, name)
        for line in Path(f"/proc/{engine.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("no VmHWM")


def push_by(side: str, archive: Path, name: str) -> float:
    """Return the seconds in which a fresh engine pushes a loaded image to an empty registry."""
    with workspace() as root, ENGINES[side](root) as engine, empty_registry() as server:
        load(engine, archive)
        target = f"{server.address}/bench/app"
        Client(engine)("POST", f"/images/{name}/tag?repo={target}&tag=1")
        os.sync()
        started = time.perf_counter()
        stream(engine, f"/images/{target}/push?tag=1")
        return time.perf_counter() - started


@contextlib.contextmanager
def empty_registry() -> Iterator[registry.Registry]:
    """Start a registry with nothing in it."""
    root = Path(tempfile.mkdtemp(prefix="pnb-registry-", dir="/var/tmp"))
    try:
        with registry.start(root) as server:
            yield server
    finally:
        shutil.rmtree(root)


def podman(root: Path, *arguments: str) -> float:
    """Run podman with everything below `root`; return its seconds."""
    head = ["podman", "--root", str(root / "store"), "--runroot", str(root / "run")]
    started = time.perf_counter()
    subprocess.run([*head, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def podman_pull(names: list[str]) -> float:
    """Return the seconds in which podman pulls all images."""
    with workspace() as root:
        os.sync()
        return sum(podman(root, "pull", "--tls-verify=false", f"{name}:1") for name in names)


def podman_push(archive: Path, name: str) -> float:
    """Return the seconds in which podman pushes a loaded image to an empty registry."""
    with workspace() as root, empty_registry() as server:
        podman(root, "load", "-i", str(archive))
        os.sync()
        target = f"docker://{server.address}/bench/app:1"
        return podman(root, "push", "--tls-verify=false", name, target)


def skopeo_download(names: list[str]) -> float:
    """Return the seconds in which skopeo downloads all images, unpacking nothing."""
    with workspace() as root:
        os.sync()
        started = time.perf_counter()
        for number, name in enumerate(names):
            place = f"dir:{root}/{number}"
            command = [
                "skopeo",
                "copy",
                "-q",
                "--src-tls-verify=false",
                f"docker://{name}:1",
                place,
            ]
            subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - started


def pulls(names: list[str], runs: int) -> dict[str, list[float]]:
    """Measure pulls of images by everybody."""
    sides: dict[str, Callable[[], float | None]] = {
        side: functools.partial(pull_by, side, names) for side in ENGINES
    }
    if shutil.which("podman"):
        sides["podman"] = functools.partial(podman_pull, names)
    if shutil.which("skopeo"):
        sides["skopeo"] = functools.partial(skopeo_download, names)
    return paired(sides, runs, warm_up=0)


def rows_of(what: str, samples: dict[str, list[float]], targets: dict[str, float]) -> list[Row]:
    """Return a row against everybody that was measured."""
    return [
        compare(what, "s", samples, target=target, against=side)
        for side, target in targets.items()
        if side in samples
    ]


def measure_pulls(server: registry.Registry, root: Path, runs: int) -> list[Row]:
    """Measure the image of many files and those of many layers."""
    mixed = mixed_layers(root, layers=5, files=FILES, size=SIZE)
    put(server, "bench/mixed", mixed)
    packed = sum(layer.path.stat().st_size for layer in mixed) / 1e6
    what = f"pull, 5 layers, {packed:.0f} MB packed, {SIZE // 10**6} MB unpacked"
    targets = {"dockerd": 0.5, "podman": 1.0, "skopeo": 10.0}
    rows = rows_of(what, pulls([f"{server.address}/bench/mixed"], runs), targets)
    names = []
    for number in range(SMALL_IMAGES):
        name = f"bench/small{number}"
        put(server, name, small_layers(root, SMALL_LAYERS, first=number * SMALL_LAYERS))
        names.append(f"{server.address}/{name}")
    what = f"pull, {SMALL_IMAGES * SMALL_LAYERS} small layers"
    return rows + rows_of(what, pulls(names, runs), targets)


def measure_memory(server: registry.Registry, root: Path) -> list[Row]:
    """Measure the daemon's peak with one huge layer."""
    large = large_layer(root, LARGE)
    put(server, "bench/large", [large])
    peak = peak_mb(f"{server.address}/bench/large")
    what = f"peak memory, pull of one layer of {large.tar_size // 10**6} MB"
    values = {"pinnace": peak}
    return [Row(what, "MB", values, peak, "", MEMORY_MB, is_least=False, runs=1)]


def measure_pushes(root: Path, runs: int) -> list[Row]:
    """Measure the push of a loaded image, whose layers have to be compressed."""
    mixed = mixed_layers(root, layers=5, files=FILES, size=SIZE)
    archive = root / "mixed.tar"
    docker_archive(archive, "mixed:1", mixed)
    sides: dict[str, Callable[[], float | None]] = {
        side: functools.partial(push_by, side, archive, "mixed:1") for side in ENGINES
    }
    if shutil.which("podman"):
        sides["podman"] = functools.partial(podman_push, archive, "mixed:1")
    samples = paired(sides, runs, warm_up=0)
    what = f"push, 5 layers, {SIZE // 10**6} MB unpacked"
    return rows_of(what, samples, {"dockerd": 0.5, "podman": 1.0})


def main() -> None:
    runs = runs_from_arguments(5)
    only = os.environ.get("BENCH_ONLY", "pull,memory,push").split(",")
    root = Path(tempfile.mkdtemp(prefix="pnb-layers-", dir="/var/tmp"))
    rows: list[Row] = []
    try:
        with empty_registry() as server:
            if "pull" in only:
                rows += measure_pulls(server, root, runs)
            if "memory" in only:
                rows += measure_memory(server, root)
        if "push" in only:
            rows += measure_pushes(root, runs)
    finally:
        shutil.rmtree(root)
    report("registry", rows)


if __name__ == "__main__":
    main()
