"""Builds: ten steps, cold and cached, and contexts of 20,000 files.

Over the API against dockerd's classic builder; the ten steps also through the command line of
Debian's docker.io, which has BuildKit's client in it, against dockerd's BuildKit.

python bench/build.py [runs]
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from functools import partial
from typing import TYPE_CHECKING

from bench._pair import IMAGE, Engine, both, compare, paired, report, runs_from_arguments
from tests.support.engine import UnixConnection

if TYPE_CHECKING:
    from pathlib import Path

TEN_STEPS = f"""FROM {IMAGE}
ENV A=1
RUN echo 1 > /1
RUN echo 2 > /2
COPY a /a
RUN echo 3 > /3
WORKDIR /w
RUN echo 4 > /4
COPY b /b
RUN echo 5 > /5
CMD ["x"]
"""
FILES = 20_000
# Later ones need a plugin for BuildKit, which Debian does not have.
CLI = "/usr/bin/docker"


def context_of(files: dict[str, bytes]) -> bytes:
    """Return the tar of a context."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def build(engine: Engine, context: bytes, query: str = "") -> None:
    """Build over a connection of its own; raise if it fails."""
    connection = UnixConnection(engine.socket, 600.0)
    try:
        connection.request(
            "POST",
            f"/v1.41/build?rm=1&{query}",
            body=context,
            headers={"Content-Type": "application/x-tar"},
        )
        answer = connection.getresponse().read()
    finally:
        connection.close()
    if b"Successfully built" not in answer:
        raise RuntimeError(f"{engine.name} did not build: {answer[-500:]!r}")


def build_by_cli(engine: Engine, directory: Path, *options: str, buildkit: bool = False) -> None:
    """Build with the command line; raise if it fails."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(engine.root),
        "DOCKER_HOST": f"unix://{engine.socket}",
        "DOCKER_BUILDKIT": "1" if buildkit else "0",
    }
    command = [CLI, "build", "--quiet", *options, str(directory)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)


def main() -> None:
    runs = runs_from_arguments(5)
    inputs = {"Dockerfile": TEN_STEPS.encode(), "a": b"a" * 1000, "b": b"b" * 1000}
    steps = context_of(inputs)
    files = {f"d{n // 100}/f{n}": b"content %d\n" % n * 20 for n in range(FILES)}
    many = context_of({"Dockerfile": f"FROM {IMAGE}\nCOPY . /x\n".encode(), **files})
    with both() as engines:

        def sides(context: bytes, query: str = "") -> dict[str, partial[None]]:
            return {
                name: partial(build, engine, context, query) for name, engine in engines.items()
            }

        cold = paired(sides(steps, "nocache=1"), runs)
        cached = paired(sides(steps), 3 * runs)
        taken_in = paired(sides(many), max(1, runs // 2))
        copied = paired(sides(many, "nocache=1"), max(1, runs // 2), warm_up=0)

        directory = engines["pinnace"].root / "context"
        directory.mkdir()
        for name, content in inputs.items():
            (directory / name).write_bytes(content)

        def by_cli(*options: str) -> dict[str, partial[None]]:
            theirs = partial(build_by_cli, engines["dockerd"], directory, *options, buildkit=True)
            return {
                "pinnace": partial(build_by_cli, engines["pinnace"], directory, *options),
                "BuildKit": theirs,
            }

        kit_cold = paired(by_cli("--no-cache"), runs)
        kit_cached = paired(by_cli(), 3 * runs)
    rows = [
        compare("10 steps, cold", "ms", cold, target=0.4, scale=1000),
        compare("10 steps, cached", "ms", cached, target=0.5, scale=1000),
        compare("20,000 files, cached", "ms", taken_in, target=0.5, scale=1000),
        compare("20,000 files, cold", "ms", copied, target=0.5, scale=1000),
        compare("10 steps, cold", "ms", kit_cold, target=0.4, against="BuildKit", scale=1000),
        compare("10 steps, cached", "ms", kit_cached, target=0.5, against="BuildKit", scale=1000),
    ]
    report("build", rows)
    ours = sorted(cached["pinnace"])
    print(f"10 steps, cached, by us: {1000 * ours[len(ours) // 2]:.1f} ms, to be below 60")


if __name__ == "__main__":
    main()
