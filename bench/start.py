"""`docker run --rm busybox true` with the same CLI, beside bare crun and podman.

python bench/start.py [runs]
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench._pair import Client, Engine, both, compare, docker, paired, report, runs_from_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def instant(engine: Engine) -> Iterator[Engine]:
    """Run the server that answers at once; what is given differs from `engine` by its socket."""
    path = engine.root / "instant.sock"
    program = Path(__file__).with_name("_instant.py")
    with subprocess.Popen([sys.executable, str(program), str(path)]) as process:
        try:
            while not path.exists():
                time.sleep(0.01)
            yield replace(engine, socket=path)
        finally:
            process.kill()


def bare_bundle(engine: Engine) -> Path:
    """Copy the bundle of a container of ours, with a root filesystem of its own."""
    client = Client(engine)
    container = client.run("true")
    client.wait(container)
    source = next(engine.root.glob(f"**/{container}/config.json"))
    spec = json.loads(source.read_text())
    bundle = engine.root / "bare"
    binaries = bundle / "rootfs" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy("/bin/busybox", binaries / "busybox")
    (binaries / "true").symlink_to("busybox")
    for name in ("proc", "sys", "dev", "etc", "tmp"):
        (bundle / "rootfs" / name).mkdir()
    for name in ("hosts", "hostname", "resolv.conf"):
        (bundle / name).write_text("127.0.0.1 localhost\n")
    spec["root"]["path"] = "rootfs"
    for mount in spec["mounts"]:
        if mount["destination"].startswith("/etc/"):
            mount["source"] = str(bundle / Path(mount["destination"]).name)
    for namespace in spec["linux"]["namespaces"]:
        if namespace["type"] == "network":
            namespace.pop("path", None)
    (bundle / "config.json").write_text(json.dumps(spec))
    client.remove(container)
    return bundle


def podman_command(root: Path) -> list[str]:
    """Return podman's `run` with everything below `root` and busybox imported."""
    head = ["podman", "--root", str(root / "store"), "--runroot", str(root / "run")]
    head += ["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--tmpdir"]
    head += [str(root / "tmp")]
    files = root / "files" / "bin"
    files.mkdir(parents=True)
    shutil.copy("/bin/busybox", files / "busybox")
    (files / "true").symlink_to("busybox")
    archive = root / "busybox.tar"
    subprocess.run(["tar", "-C", root / "files", "-cf", archive, "."], check=True)
    subprocess.run([*head, "import", "-q", archive, "busybox"], check=True, capture_output=True)
    # The host may not let anybody raise limits.
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    return [*head, "run", "--rm", "--network", "none", *limits, "busybox", "/bin/true"]


def run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.decode()}")


def main() -> None:
    runs = runs_from_arguments(20)
    with both() as engines, instant(engines["pinnace"]) as nothing:
        bundle = bare_bundle(engines["pinnace"])
        podman = engines["pinnace"].root / "podman"
        # With the cgroups it makes by itself, as a container of either engine has; then without.
        crun = ["crun", "--root", f"{bundle}/state", "run", "bare"]
        light = [*crun[:3], "--cgroup-manager=disabled", *crun[3:]]
        arguments = ("run", "--rm", "busybox", "true")
        sides = {
            "pinnace": lambda: docker(engines["pinnace"], *arguments),
            "dockerd": lambda: docker(engines["dockerd"], *arguments),
            "crun": lambda: run(crun, bundle),
            "crun, no cgroups": lambda: run(light, bundle),
            "instant": lambda: docker(nothing, *arguments),
            "cli": lambda: docker(engines["pinnace"], "--version"),
        }
        if shutil.which("podman"):
            command = podman_command(podman)
            sides["podman"] = lambda: run(command, bundle)
        samples = paired(sides, runs, warm_up=2)
    what = "docker run --rm busybox true"
    rows = [
        compare(what, "ms", samples, target=0.2, scale=1e3),
        compare(what, "ms", samples, target=3.0, against="crun", scale=1e3),
        compare(what, "ms", samples, target=5.0, against="crun, no cgroups", scale=1e3),
    ]
    if "podman" in samples:  # which gets no network here
        rows.append(compare(what, "ms", samples, target=1.0, against="podman", scale=1e3))
    floor = compare(what, "ms", samples, target=99, against="cli", scale=1e3)
    report("start", rows)
    print(
        f"of each, `docker --version` takes {floor.values['cli']:.1f} ms, and the same command"
        f" against a server that answers at once {floor.values['instant']:.1f}"
    )


if __name__ == "__main__":
    main()
