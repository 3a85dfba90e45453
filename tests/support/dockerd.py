"""Starts Debian's dockerd beside everything else on this machine, for comparisons.

    with dockerd.start(tmp_path) as docker:
        docker.load(build_busybox_archive(Path("/bin/busybox")))
        docker.cli("run", "--rm", "busybox", "echo", "hello")

It has its own data root, exec root, containerd, pid file, socket and bridge.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.support import cgroups
from tests.support.engine import Engine, bridge_of, make_root, remove_link, subnet_of

if TYPE_CHECKING:
    from pathlib import Path

BRIDGE_PREFIX = "pntd"
SUBNET_SECOND = 214


def start(
    root: Path,
    *,
    bridge: str | None = "",
    subnet: str = "",
    iptables: bool = False,
    arguments: tuple[str, ...] = (),
) -> Engine:
    """Start dockerd below `root` and wait until it answers.

    Args:
        root: Directory for everything it writes; short, and on a file system for overlay.
        bridge: Name of the default bridge; "" makes one up for this root, None goes without.
        subnet: Address of the bridge with its prefix length; "" makes one up for this root.
        iptables: Let it write firewall rules; they are taken back on close. Without them
            containers reach the host and each other, and ports are published by its proxy.
        arguments: More arguments of dockerd.
    """
    root = make_root(root)
    cgroups.prepare()
    if bridge == "":
        bridge = bridge_of(root, BRIDGE_PREFIX)
    subnet = subnet or subnet_of(root, SUBNET_SECOND)
    engine = Engine(
        name="dockerd",
        command=[
            "dockerd",
            f"--host=unix://{root}/docker.sock",
            f"--data-root={root}/data",
            f"--exec-root={root}/exec",
            f"--pidfile={root}/docker.pid",
            f"--config-file={root}/daemon.json",
            f"--bridge={bridge or 'none'}",
            f"--iptables={str(iptables).lower()}",
            "--ip6tables=false",
            *arguments,
        ],
        root=root,
        socket=root / "docker.sock",
        log=root / "dockerd.log",
        environment={"PATH": os.environ["PATH"], "HOME": str(root)},
    )
    (root / "daemon.json").write_text("{}\n")
    if iptables:
        engine.cleanup.append(keep_firewall())
    if bridge is not None:
        engine.cleanup.append(lambda: remove_link(bridge))
        make_bridge(bridge, subnet)
    engine.launch()
    return engine


def make_bridge(name: str, address: str) -> None:
    """Create a bridge with an address and raise it; replaces one of the same name."""
    remove_link(name)
    for command in (
        ["ip", "link", "add", name, "type", "bridge"],
        ["ip", "address", "add", address, "dev", name],
        ["ip", "link", "set", name, "up"],
    ):
        subprocess.run(command, check=True, capture_output=True)


def keep_firewall():
    """Remember the iptables rules and return the function which puts them back."""
    saved = subprocess.run(["iptables-save"], check=True, capture_output=True).stdout

    def restore() -> None:
        now = subprocess.run(["iptables-save"], check=True, capture_output=True).stdout
        for table in sorted(_tables(now) - _tables(saved)):
            subprocess.run(["nft", "delete", "table", "ip", table], check=False)
        if saved.strip():
            subprocess.run(["iptables-restore"], input=saved, check=True, capture_output=True)

    return restore


def _tables(saved: bytes) -> set[str]:
    return {line[1:].strip() for line in saved.decode().splitlines() if line.startswith("*")}
