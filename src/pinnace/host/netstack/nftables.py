"""Rulesets through the nft program: rare and atomic. Elements go through nfnetlink instead."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pinnace.errors import Unavailable

_DEADLINE_S = 30.0
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
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": _SEARCH_PATH, "LC_ALL": "C"},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_DEADLINE_S):
                output, errors = await process.communicate(given.encode())
        except TimeoutError as exc:
            raise Unavailable(f"nft did not answer within {_DEADLINE_S:.0f} s") from exc
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await asyncio.shield(process.wait())
        if process.returncode:
            reason = errors.decode(errors="replace").strip() or os.strerror(process.returncode)
            raise Unavailable(f"nftables refused the packet rules: {reason}")
        return output
