"""The network stack of one host: the contract `NetStack`, by netlink and nftables.

Methods say what the contract says; their docstrings add only what is particular here.
"""

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TypeVar

from pinnace.contracts.netstack import (
    BridgeSpec,
    EndpointSpec,
    Published,
    RulesetSpec,
    RulesetWriter,
)
from pinnace.errors import AlreadyExists, Internal, InvalidParameter, NotFound, Unavailable
from pinnace.host.kernel.namespaces import NamespaceThread, pin
from pinnace.host.netstack import bridge, links, nfnetlink, sandbox
from pinnace.host.netstack.netlink import NetlinkSocket
from pinnace.host.netstack.nftables import Nft
from pinnace.host.netstack.ports import PortClaims
from pinnace.host.netstack.sandbox import Namespace, connect
from pinnace.host.netstack.spares import Spares

log = logging.getLogger(__name__)

_LINK_PREFIX = "pn"
_NO_HOST_LINKS: list[str] = []

T = TypeVar("T")


class LinuxNetStack:
    """Networking of one daemon on the kernel it runs on.

    Args:
        namespaces: Directory for the sandboxes' files, `<exec-root>/netns`; made when needed.
        ruleset: Writes the packet rules.
        table: nftables table of this daemon; also marks its bridges.
        api_ports: TCP ports of the daemon's API, which containers must not reach.
        host_namespace: Network namespace that is "the host"; None: the daemon's own.
    """

    def __init__(
        self,
        namespaces: Path,
        ruleset: RulesetWriter,
        *,
        table: str = "pinnace",
        api_ports: Iterable[int] = (),
        host_namespace: Path | None = None,
    ) -> None:
        self._directory = namespaces
        self._ruleset = ruleset
        self._table = table
        self._alias = f"pinnace table {table}"
        self._api_ports = tuple(api_ports)
        self._thread = NamespaceThread(host_namespace)
        self._spares = Spares(self._thread)
        self._nft = Nft(host_namespace)
        self._rules_lock = asyncio.Lock()  # around each change of bridges and their rules
        self._bridges: dict[str, BridgeSpec] = {}
        self._published: dict[tuple[str, bytes], Published] = {}
        self._host_links: dict[str, list[str]] = {}
        self._unconnected: dict[str, Namespace] = {}  # made, and about to get endpoints
        self._claims = PortClaims()
        self._route: NetlinkSocket | None = None
        self._netfilter: NetlinkSocket | None = None
        self._turned_on_forwarding = False
        self._is_closed = False

    async def ensure_bridge(self, bridge: BridgeSpec) -> None:
        """See `NetStack.ensure_bridge`."""
        if await self._is_ensured(bridge):
            return
        async with self._rules_lock:
            if not await self._is_ensured(bridge):
                await self._make_bridges({**self._bridges, bridge.name: bridge})

    async def remove_bridge(self, name: str) -> None:
        """See `NetStack.remove_bridge`. A bridge that the administrator made stays."""
        async with self._rules_lock:
            rest = {key: spec for key, spec in self._bridges.items() if key != name}
            has_table = await self._on_thread(self._has_table)
            if rest or has_table:
                await self._apply_rules(rest.values())
            self._bridges = rest
            await self._on_thread(lambda: bridge.remove(self._rt(), name, alias=self._alias))

    async def set_api_ports(self, ports: Iterable[int]) -> None:
        """Say which TCP ports of the host containers must not reach."""
        async with self._rules_lock:
            self._api_ports = tuple(ports)
            if self._bridges:
                await self._apply_rules(self._bridges.values())

    def sandbox_path(self, sandbox: str) -> str:
        """See `NetStack.sandbox_path`."""
        return str(self._path(sandbox))

    async def create_sandbox(self, sandbox: str, endpoints: Sequence[EndpointSpec]) -> str:
        """See `NetStack.create_sandbox`."""
        path = self._path(sandbox)
        is_made = False

        def make() -> None:
            nonlocal is_made
            self._make_sandbox(path)
            is_made = True

        self._spares.stop()
        try:
            await self._on_thread(make)
            if endpoints:
                await self.add_endpoints(sandbox, endpoints)
        except BaseException:
            if is_made:  # otherwise it may be somebody else's
                await asyncio.shield(self.remove_sandbox(sandbox))
            raise
        finally:
            self._spares.refill_later()
        return str(path)

    async def add_endpoints(self, sandbox: str, endpoints: Sequence[EndpointSpec]) -> None:
        """See `NetStack.add_endpoints`."""
        if not await self._on_thread(lambda: self._connect(sandbox, endpoints)):
            await self._restore()
            if not await self._on_thread(lambda: self._connect(sandbox, endpoints)):
                raise Unavailable("the bridge or its packet rules vanish as soon as they are made")

    async def remove_sandbox(self, sandbox: str) -> None:
        """See `NetStack.remove_sandbox`."""
        path = self._path(sandbox)
        await self._on_thread(lambda: self._drop_sandbox(path))
        self._spares.refill_later(over=True)

    async def reserve(self, proto: str, host_ip: IPv4Address, port: int) -> int:
        """See `NetStack.reserve`."""
        claimed = 0

        def claim() -> int:
            nonlocal claimed
            claimed = self._claims.reserve(proto, host_ip, port)
            return claimed

        try:
            return await self._on_thread(claim)
        except asyncio.CancelledError:
            if claimed:
                await asyncio.shield(self.release(proto, host_ip, claimed))
            raise

    async def release(self, proto: str, host_ip: IPv4Address, port: int) -> None:
        """See `NetStack.release`."""
        await self._on_thread(lambda: self._claims.release(proto, host_ip, port))

    async def publish(self, ports: Sequence[Published]) -> None:
        """See `NetStack.publish`."""
        if ports:
            await self._on_thread(lambda: self._publish(ports))

    async def unpublish(self, ports: Sequence[Published]) -> None:
        """See `NetStack.unpublish`."""
        if ports:
            await self._on_thread(lambda: self._unpublish(ports))

    async def bridge_address(self, name: str) -> IPv4Interface | None:
        """See `NetStack.bridge_address`."""

        def find() -> IPv4Interface | None:
            link = links.list_links(self._rt()).get(name)
            if link is None or link.kind != "bridge":
                return None
            found = links.list_addresses(self._rt())
            return next((address for owner, address in found if owner == link.index), None)

        return await self._on_thread(find)

    async def routes(self) -> Sequence[IPv4Network]:
        """See `NetStack.routes`."""

        def found() -> set[IPv4Network]:
            addresses = {address.network for _, address in links.list_addresses(self._rt())}
            return addresses | set(links.list_routes(self._rt()))

        return sorted(await self._on_thread(found))

    async def repair(self, sandboxes: Sequence[str], ports: Sequence[Published]) -> Sequence[str]:
        """See `NetStack.repair`."""
        return await self._on_thread(lambda: self._repair(set(sandboxes), ports))

    async def warnings(self) -> Sequence[str]:
        """See `NetStack.warnings`."""
        found: list[str] = []
        if self._turned_on_forwarding:
            found.append(
                "IPv4 forwarding was off and has been turned on for containers; this host now "
                "also forwards other packets unless a firewall drops them."
            )
        chains = await self._nft.dropping_forward_chains(self._table)
        return found + [
            f"The nftables chain '{chain}' drops forwarded packets by policy; containers reach "
            "other hosts, and are reached, only as far as its rules accept that."
            for chain in chains
        ]

    async def teardown(self) -> None:
        """See `NetStack.teardown`."""
        async with self._rules_lock:
            if await self._on_thread(self._has_table):
                await self._apply_rules(())
            self._bridges = {}
            await self._on_thread(self._remove_everything)

    async def close(self) -> None:
        """Let go of sockets and the thread; what runs goes on running. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._spares.stop()
        await self._on_thread(self._close_sockets)
        await asyncio.to_thread(self._thread.close)

    async def _restore(self) -> None:
        """Make bridges and rules again that somebody else has removed."""
        async with self._rules_lock:
            if not await self._on_thread(self._is_intact):
                await self._make_bridges(dict(self._bridges))

    async def _make_bridges(self, wanted: dict[str, BridgeSpec]) -> None:
        """Make bridges, their rules and what is published; with the rules' lock held."""
        for spec in wanted.values():
            await self._on_thread(partial(self._make_bridge, spec))
        await self._apply_rules(wanted.values())
        self._bridges = wanted
        ports = list(self._published.values())
        await self._on_thread(lambda: nfnetlink.add_elements(self._nf(), self._table, ports))

    async def _is_ensured(self, spec: BridgeSpec) -> bool:
        return self._bridges.get(spec.name) == spec and await self._on_thread(self._is_intact)

    async def _on_thread(self, job: Callable[[], T]) -> T:
        try:
            return await self._thread.run(job)
        except OSError as exc:
            raise Internal(f"network: {exc.strerror or exc}") from exc

    async def _apply_rules(self, bridges: Iterable[BridgeSpec]) -> None:
        spec = RulesetSpec(self._table, tuple(bridges), self._api_ports)
        await self._nft.apply(self._ruleset(spec))

    # Everything below runs on the namespace thread, at home.

    def _rt(self) -> NetlinkSocket:
        if self._route is None:
            self._route = NetlinkSocket()
        return self._route

    def _nf(self) -> NetlinkSocket:
        if self._netfilter is None:
            self._netfilter = NetlinkSocket(nfnetlink.NETLINK_NETFILTER)
        return self._netfilter

    def _has_table(self) -> bool:
        return nfnetlink.has_table(self._nf(), self._table)

    def _is_intact(self) -> bool:
        return self._has_table() and all(links.exists(name) for name in self._bridges)

    def _make_bridge(self, spec: BridgeSpec) -> None:
        bridge.ensure(self._rt(), spec, alias=self._alias)
        if bridge.enable_forwarding():
            self._turned_on_forwarding = True

    def _path(self, sandbox: str) -> Path:
        if not sandbox or "/" in sandbox or sandbox.startswith("."):
            raise InvalidParameter(f"invalid sandbox name: {sandbox!r}")
        return self._directory / sandbox

    def _make_sandbox(self, path: Path) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        namespace = self._spares.take()
        try:
            pin(path, namespace.fd)
        except BaseException as exc:
            namespace.close()
            if isinstance(exc, FileExistsError):
                raise AlreadyExists(f"sandbox {path.name} exists") from exc
            raise
        self._unconnected[path.name] = namespace
        self._host_links[path.name] = []

    def _connect(self, sandbox: str, endpoints: Sequence[EndpointSpec]) -> bool:
        """Give a new sandbox its links; return False where the bridges are not intact."""
        namespace = self._unconnected.get(sandbox)
        if namespace is None:
            raise NotFound(f"no sandbox without endpoints: {sandbox}")
        if endpoints and self._bridges and not self._is_intact():
            return False
        connect(self._thread, self._rt(), namespace, endpoints)
        self._host_links[sandbox] = [spec.host_link for spec in endpoints]
        self._unconnected.pop(sandbox).close()
        return True

    def _drop_sandbox(self, path: Path) -> None:
        namespace = self._unconnected.pop(path.name, None)
        if namespace is not None:
            namespace.close()
        host_links = self._host_links.pop(path.name, None)
        if host_links is None:
            host_links = _NO_HOST_LINKS
            if path.exists():
                host_links = sandbox.host_links_of(self._thread, self._rt(), path)
        sandbox.remove(self._rt(), path, host_links)

    def _publish(self, ports: Sequence[Published]) -> None:
        try:
            nfnetlink.add_elements(self._nf(), self._table, ports)
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                raise Unavailable(f"the nftables table {self._table} is gone") from exc
            raise
        self._published.update({nfnetlink.key_of(port): port for port in ports})
        self._forget_flows(ports)

    def _unpublish(self, ports: Sequence[Published]) -> None:
        for port in ports:
            self._published.pop(nfnetlink.key_of(port), None)
        nfnetlink.delete_elements(self._nf(), self._table, ports)
        self._forget_flows(ports)

    def _forget_flows(self, ports: Sequence[Published]) -> None:
        try:
            nfnetlink.forget_flows(self._nf(), ports)
        except OSError as exc:  # a kernel without conntrack's netlink side; ports work without
            log.warning("cannot forget UDP flows", extra={"cause": str(exc)})

    def _repair(self, wanted: set[str], ports: Sequence[Published]) -> list[str]:
        self._remove_stray_links()
        done: list[str] = []
        for path in sorted(self._directory.glob("*")):
            if path.name not in wanted:
                self._drop_sandbox(path)
                done.append(f"removed sandbox {path.name}")
        present = set(nfnetlink.list_elements(self._nf(), self._table))
        stale = sorted(present - set(ports), key=str)
        if stale:
            self._unpublish(stale)
            done += [f"unpublished {p.host_ip}:{p.host_port}/{p.proto}" for p in stale]
        missing = [port for port in ports if port not in present]
        if missing:
            self._publish(missing)
            done += [f"published {p.host_ip}:{p.host_port}/{p.proto} again" for p in missing]
        self._published.update({nfnetlink.key_of(port): port for port in ports})
        return done

    def _remove_stray_links(self) -> None:
        """Remove ports of our bridges whose sandbox is gone, but kept alive by some process.

        Links that the kernel is about to remove are among them, so it is not news to report.
        """
        found = links.list_links(self._rt())
        ours = {found[name].index for name in self._bridges if name in found}
        ports = {n for n, k in found.items() if n.startswith(_LINK_PREFIX) and k.master in ours}
        for path in self._directory.glob("*"):
            if path.name not in self._host_links:
                host_links = sandbox.host_links_of(self._thread, self._rt(), path)
                self._host_links[path.name] = host_links
            ports -= set(self._host_links[path.name])
        self._rt().talk([links.delete_link(name) for name in sorted(ports)])
        for name in sorted(ports):
            log.info("removed a link without a sandbox", extra={"link": name})

    def _remove_everything(self) -> None:
        for path in self._directory.glob("*"):
            self._drop_sandbox(path)
        for link in links.list_links(self._rt()).values():
            if link.alias == self._alias:
                bridge.remove(self._rt(), link.name, alias=self._alias)
        self._published.clear()
        self._claims.close()

    def _close_sockets(self) -> None:
        self._spares.close()
        while self._unconnected:
            self._unconnected.popitem()[1].close()
        self._claims.close()
        for netlink in (self._route, self._netfilter):
            if netlink is not None:
                netlink.close()
        self._route = self._netfilter = None
