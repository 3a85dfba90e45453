"""Sees what tests leave on the host: compares snapshots of the kernel's objects."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SETTLE_S = 5.0
# Names of programs that tests start; a new process of any of them is ours.
PROGRAMS = re.compile(rb"pinnace|dockerd|containerd|crun|runc|conmon|docker-proxy|/pnt|pytest-of-")
# What the cgroups of containers are called, whoever made them.
CONTAINER_CGROUP = re.compile(r"[0-9a-f]{64}|^pinnace|^pnt|libpod-")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Objects on the host at one moment, each as a short readable text."""

    objects: frozenset[str]


def take() -> Snapshot:
    """Look at links, mounts, network namespaces, tables, cgroups and processes."""
    found = {f"link {name}" for name in os.listdir("/sys/class/net")}
    found |= {f"mount {point}" for point in _mounts()}
    found |= {f"namespace {path}" for path in Path("/run/netns").glob("*")}
    found |= _tables() | _cgroups() | _processes()
    return Snapshot(frozenset(found))


def wait_for_none(before: Snapshot, settle_s: float = SETTLE_S) -> list[str]:
    """Return what exists now and did not before; the kernel gets a moment to clean up."""
    end = time.monotonic() + settle_s
    while True:
        left = sorted(take().objects - before.objects)
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)


def _mounts() -> set[str]:
    """Mount points but the cgroup hierarchies, which tests mount and leave on purpose."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = {line.split()[4] for line in lines}
    return {point for point in points if not point.startswith("/sys/fs/cgroup")}


def _tables() -> set[str]:
    command = ["nft", "--json", "list", "tables"]
    with contextlib.suppress(OSError, ValueError):
        out = subprocess.run(command, capture_output=True, check=False).stdout
        tables = [item["table"] for item in json.loads(out)["nftables"] if "table" in item]
        return {f"nft table {table['family']} {table['name']}" for table in tables}
    return set()


def _cgroups() -> set[str]:
    found = set()
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"cgroup {directory}/{n}" for n in names if CONTAINER_CGROUP.search(n)}
    return found


def _processes() -> set[str]:
    own = _pid_namespace("self")
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) in (os.getpid(), os.getppid()):
            continue
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            contained = _pid_namespace(pid) != own
            if command and (contained or PROGRAMS.search(command)):
                text = command.replace(b"\0", b" ").decode(errors="replace").strip()
                found.add(f"process {pid} {text[:120]}")
    return found


def _pid_namespace(pid: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")
