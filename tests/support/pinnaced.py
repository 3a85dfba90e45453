"""Starts our daemon for tests, with the interface of `tests.support.dockerd`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support import cgroups
from tests.support.engine import Engine, bridge_of, make_root, remove_link, subnet_of

if TYPE_CHECKING:
    from pathlib import Path

BRIDGE_PREFIX = "pnt"
SUBNET_SECOND = 213


def start(
    root: Path,
    *,
    bridge: str | None = "",
    subnet: str = "",
    arguments: tuple[str, ...] = (),
    python: str = sys.executable,
) -> Engine:
    """Start `pinnace daemon` below `root` and wait until it answers.

    Args:
        root: Directory for everything it writes; short, and on a file system for overlay.
        bridge: Name of the default bridge; "" makes one up for this root, None goes without.
        subnet: Address of the bridge with its prefix length; "" makes one up for this root.
        arguments: More arguments of the daemon.
        python: Interpreter whose environment has pinnace installed.
    """
    root = make_root(root)
    cgroups.prepare()
    if bridge == "":
        bridge = bridge_of(root, BRIDGE_PREFIX)
    subnet = subnet or subnet_of(root, SUBNET_SECOND)
    network = [f"--bridge={bridge}", f"--bip={subnet}"] if bridge else ["--bridge=none"]
    engine = Engine(
        name="pinnace",
        command=[
            python,
            "-m",
            "pinnace.cli.main",
            "daemon",
            f"--host=unix://{root}/pinnace.sock",
            f"--data-root={root}/data",
            f"--exec-root={root}/exec",
            f"--pidfile={root}/pinnace.pid",
            f"--config-file={root}/daemon.json",
            *network,
            *arguments,
        ],
        root=root,
        socket=root / "pinnace.sock",
        log=root / "pinnace.log",
        environment={"PATH": os.environ["PATH"], "HOME": str(root)},
    )
    (root / "daemon.json").write_text("{}\n")
    if bridge is not None:
        engine.cleanup.append(lambda: remove_link(bridge))
        engine.cleanup.append(lambda: remove_table(f"pinnace-{bridge}"))
    engine.launch()
    return engine


def remove_table(name: str) -> None:
    """Delete a table of the packet filter, of any family, if it exists."""
    for family in ("ip", "ip6", "inet"):
        command = ["nft", "delete", "table", family, name]
        subprocess.run(command, check=False, capture_output=True)
