"""What one engine has on the host, as short texts; compared before and after a fault run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.engine import mounts_below, processes_below

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.engine import Engine

_CGROUPS = Path("/sys/fs/cgroup")
# These grow in every run and belong to the daemon, not to a container.
_OWN = re.compile(r"^(work/|pinnace\.|docker-config|data/state\.db|exec/supervisor)")
# The supervisor keeps one shell waiting for the next start.
_WAITING_SHELL = "/bin/sh /proc/self/fd/3 "


def take(engine: Engine, bridge: str, ids: Iterable[str]) -> set[str]:
    """Return files, mounts, processes, links, elements of the packet filter and cgroups."""
    found = {f"mount {point}" for point in mounts_below(engine.root)}
    found |= _files(engine.root) | _links(bridge) | _elements(f"pinnace-{bridge}")
    commands = {_command(pid) for pid in processes_below(engine.root)}
    found |= {f"process {each}" for each in commands if not each.startswith(_WAITING_SHELL)}
    wanted = set(ids)
    for directory, names, _ in os.walk(_CGROUPS):
        found |= {f"cgroup {directory}/{name}" for name in names if name in wanted}
    return found


def wait_for_none(
    engine: Engine, bridge: str, ids: Iterable[str], before: set[str], deadline_s: float = 20.0
) -> list[str]:
    """Return what is there and was not before; what is cleared in the background gets time."""
    end = time.monotonic() + deadline_s
    while True:
        left = sorted(take(engine, bridge, ids) - before)
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.2)


def _files(root: Path) -> set[str]:
    found = set()
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            relative = os.path.relpath(os.path.join(directory, name), root)
            if not _OWN.match(relative) and relative != "work":
                found.add(f"file {relative}")
        names[:] = [n for n in names if not os.path.ismount(os.path.join(directory, n))]
    return found


def _links(bridge: str) -> set[str]:
    command = ["ip", "--json", "link", "show", "master", bridge]
    out = subprocess.run(command, capture_output=True, check=False).stdout
    return {f"link {link['ifname']}" for link in json.loads(out or b"[]") if link}


def _elements(table: str) -> set[str]:
    command = ["nft", "--json", "list", "table", "ip", table]
    out = subprocess.run(command, capture_output=True, check=False).stdout
    found = set()
    for item in json.loads(out or b'{"nftables": []}')["nftables"]:
        for kind in ("map", "set"):
            for element in item.get(kind, {}).get("elem", ()):
                found.add(f"element of {item[kind]['name']}: {json.dumps(element)}")
        if "rule" in item:
            rule = {k: v for k, v in item["rule"].items() if k != "handle"}
            text = re.sub(r"(packets|bytes)\W+[0-9]+", "", json.dumps(rule))
            found.add(f"rule {text}")
    return found


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "gone"
    return b" ".join(words).decode(errors="replace")[:200]
