"""How mounts of the host spread, for binds that want to be shared or slave."""

import os
from collections.abc import Iterable
from pathlib import Path


def mount_propagations(sources: Iterable[str], mountinfo: str | None = None) -> dict[str, str]:
    """Return `shared`, `slave` or `private` for the mount that holds each host path.

    Args:
        sources: Absolute host paths; links are followed.
        mountinfo: Content of /proc/self/mountinfo; None reads it.
    """
    table = mountinfo if mountinfo is not None else Path("/proc/self/mountinfo").read_text()
    # Of mounts at one place the last one is on top.
    found = dict(_entry(line) for line in table.splitlines())
    return {source: _of(os.path.realpath(source), found) for source in sources}


def _entry(line: str) -> tuple[str, str]:
    before, _, _ = line.partition(" - ")
    fields = before.split(" ")
    place = fields[4].encode().decode("unicode_escape")  # blanks are \\040, proc(5)
    tags = fields[6:]
    if any(tag.startswith("shared:") for tag in tags):
        return place, "shared"
    return place, "slave" if any(tag.startswith("master:") for tag in tags) else "private"


def _of(path: str, found: dict[str, str]) -> str:
    for place in (path, *map(str, Path(path).parents)):
        if place in found:
            return found[place]
    return "private"
