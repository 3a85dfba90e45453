"""Projects of `tests/e2e/projects`: their bases, their builds, and what a build said."""

from __future__ import annotations

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import debian, package_sources

if TYPE_CHECKING:
    from tests.support.engine import Engine

PROJECTS = Path(__file__).resolve().parents[1] / "e2e" / "projects"
BUILD_S = 400
_STEP = re.compile(r"^Step (\d+)/\d+ : (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Build:
    """What came of one build.

    Attributes:
        id: Id of the image.
        text: All that the client printed.
        seconds: How long the client took.
    """

    id: str
    text: str
    seconds: float

    def steps(self) -> dict[str, bool]:
        """Map each step's instruction, in order, to whether it was taken from the cache.

        FROM is left out: nothing is done for it. So are arguments before the first one.
        """
        parts = _STEP.split(self.text)[1:]
        found = {}
        for number, instruction, said in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            if not instruction.startswith("FROM ") and " ---> " in said:
                found[f"{number} {instruction}"] = " ---> Using cache" in said
        return found


def build(engine: Engine, directory: Path, tag: str, *arguments: str) -> Build:
    """Build a project as a user does, with the docker CLI.

    Raises:
        RuntimeError: The build failed; holds the end of what it said.
    """
    started = time.monotonic()
    done = engine.cli(
        "build",
        *package_sources.proxy_arguments(),
        *arguments,
        "--tag",
        tag,
        str(directory),
        timeout=BUILD_S,
        settings={"DOCKER_BUILDKIT": "0"},
    )
    text = done.stdout.decode(errors="replace")
    seconds = time.monotonic() - started
    if done.returncode != 0:
        said = "\n".join([*text.splitlines()[-30:], done.stderr.decode(errors="replace")])
        raise RuntimeError(f"{tag} is not built (are packages within reach?):\n{said}")
    image = engine.cli("image", "inspect", "--format", "{{.Id}}", tag).stdout.decode().strip()
    return Build(image, text, seconds)


def make_bases(engine: Engine, scratch: Path) -> dict[str, Build]:
    """Make the images that the projects start from; what needs nothing of each other at once."""
    imported = engine.cli("import", str(debian.root_archive()), "debootstrap")
    assert imported.returncode == 0, imported.stderr
    context = copied("bases/debian", scratch)
    package_sources.write(context / "host", debian.suite())
    made = {"debian": build(engine, context, "debian:stable-slim")}

    def python_and_after() -> None:
        for name, tag in (
            ("python", "python:3-slim"),
            ("python-onbuild", "python:3-onbuild"),
            ("node", "node:slim"),
        ):
            made[name] = build(engine, PROJECTS / "bases" / name, tag)

    def gcc() -> None:
        made["gcc"] = build(engine, PROJECTS / "bases" / "gcc", "gcc:latest")

    with ThreadPoolExecutor() as pool:
        for branch in [pool.submit(python_and_after), pool.submit(gcc)]:
            branch.result()
    return made


def copied(name: str, scratch: Path) -> Path:
    """Return a fresh copy of a project, as a checkout that may be changed."""
    place = scratch / name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(PROJECTS / name, place, ignore=shutil.ignore_patterns("__pycache__"))
    return place
