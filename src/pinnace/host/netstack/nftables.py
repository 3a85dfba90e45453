"""Rulesets through the nft program: rare and atomic. Elements go through nfnetlink instead."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pinnace.errors import Unavailable
from pinnace.host import process

_SEARCH_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"


class _Chain(msgspec.Struct, frozen=True):
    family: str
    table: str
    name: str
    hook: str = ""
    policy: str = ""


class _Item(msgspec.Struct, frozen=True):
    chain: _Chain | None = None


class _Listing(msgspec.Struct, frozen=True):
    nftables: list[_Item]


class Nft:
    """The nft program, run in the host's network namespace.

    Args:
        host_namespace: Path of that namespace; None: the daemon's own.
    """

    def __init__(self, host_namespace: Path | None = None) -> None:
        self._host_namespace = host_namespace

    async def apply(self, ruleset: str) -> None:
        """Apply a ruleset in one transaction.

        Raises:
            Unavailable: nft is missing, or the kernel refused; the text says which.
        """
        await self._run(["-f", "-"], ruleset)

    async def dropping_forward_chains(self, own_table: str) -> list[str]:
        """Name other tables' chains that drop forwarded packets which no rule accepts."""
        listing = msgspec.json.decode(await self._run(["-j", "list", "chains"], ""), type=_Listing)
        chains = [item.chain for item in listing.nftables if item.chain is not None]
        return [
            f"{chain.family} {chain.table} {chain.name}"
            for chain in chains
            if (chain.hook, chain.policy) == ("forward", "drop") and chain.table != own_table
        ]

    async def _run(self, arguments: Sequence[str], given: str) -> bytes:
        nft = shutil.which("nft", path=_SEARCH_PATH)
        if nft is None:
            raise Unavailable("nft is not installed: container networks need the nftables package")
        argv = [nft, *arguments]
        if self._host_namespace is not None:
            argv = ["/usr/bin/nsenter", f"--net={self._host_namespace}", *argv]
        environment = {"PATH": _SEARCH_PATH, "LC_ALL": "C"}
        done = await process.run(argv, env=environment, input=given.encode())
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
            raise Unavailable(f"nftables refused the packet rules: {reason}")
        return done.stdout
