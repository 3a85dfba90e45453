"""Sandboxes (network namespaces), the bridge, and the packet rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Protocol, TypeAlias

# Names inside the table, shared by whoever writes the ruleset and whoever changes its elements.
# (host address, protocol, host port) -> (container address, container port)
MAP_BY_ADDRESS = "published_by_address"
# (protocol, host port) -> (container address, container port), for every local address
MAP_ANY_ADDRESS = "published_any_address"


@dataclass(frozen=True, slots=True)
class BridgeSpec:
    """A bridge on the host.

    Attributes:
        name: Interface name, at most 15 bytes.
        gateway: The bridge's own address and its subnet.
        mtu: Bytes.
        icc: Containers on it may talk to each other.
        masquerade: NAT for traffic leaving the host.
        internal: No way out of the host.
    """

    name: str
    gateway: IPv4Interface
    mtu: int = 1500
    icc: bool = True
    masquerade: bool = True
    internal: bool = False


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A container's interface on a bridge.

    Attributes:
        bridge: Bridge name.
        host_link: veth name on the host, `pn` + first 9 hex digits of the endpoint id.
        name: Name inside, for example eth0.
        address: Address with prefix.
        gateway: Default route; None: no default route.
        mac: `02:42:…`.
        mtu: Bytes.
        isolated: Cannot talk to other isolated endpoints of the bridge (icc is off).
        announced: Neighbours may remember another hardware address for this IP address, so they
            are told. That costs every container of the bridge a packet.
    """

    bridge: str
    host_link: str
    name: str
    address: IPv4Interface
    gateway: IPv4Address | None
    mac: str
    mtu: int = 1500
    isolated: bool = False
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """A host port that leads to a container.

    Attributes:
        proto: `tcp`, `udp` or `sctp`.
        host_ip: Address to listen on; 0.0.0.0 for all.
        host_port: 1..65535.
        container_ip: Where it leads.
        container_port: 1..65535.
    """

    proto: str
    host_ip: IPv4Address
    host_port: int
    container_ip: IPv4Address
    container_port: int


@dataclass(frozen=True, slots=True)
class RulesetSpec:
    """What the packet rules of a daemon depend on; published ports are map elements beside it.

    Attributes:
        table: nftables table, the daemon's own.
        bridges: Every bridge of the daemon.
        api_ports: TCP ports of the daemon's API, closed to containers.
    """

    table: str
    bridges: tuple[BridgeSpec, ...]
    api_ports: tuple[int, ...] = ()


# Writes the ruleset as text for `nft -f`; decided in engine.networks.rules, applied by the host.
RulesetWriter: TypeAlias = Callable[[RulesetSpec], str]


class NetStack(Protocol):
    """Side effects of networking. Idempotent where it says so; all methods are coroutines."""

    async def ensure_bridge(self, bridge: BridgeSpec) -> None:
        """Create or correct the bridge and its rules (NAT, isolation). Idempotent.

        When nothing is to do it also notices that somebody flushed the packet rules, and writes
        them again.

        Raises:
            Unavailable: nft or the kernel lacks what is needed; the message names it.
        """
        ...

    async def remove_bridge(self, name: str) -> None:
        """Remove the bridge and its rules. Idempotent."""
        ...

    def sandbox_path(self, sandbox: str) -> str:
        """Return where the namespace of this name is, or would be."""
        ...

    async def create_sandbox(self, sandbox: str, endpoints: Sequence[EndpointSpec]) -> str:
        """Make a network namespace with lo and the endpoints up; return its path.

        The path can be given to the runtime and to nsenter. Nothing remains after a failure.

        Raises:
            AlreadyExists: `sandbox` is taken.
        """
        ...

    async def add_endpoints(self, sandbox: str, endpoints: Sequence[EndpointSpec]) -> None:
        """Give a sandbox endpoints, up. No link remains after a failure.

        Bridges and rules that were ensured and that somebody removed are made again first.

        Raises:
            NotFound: No such sandbox.
        """
        ...

    async def remove_sandbox(self, sandbox: str) -> None:
        """Drop the namespace (and with it the links). Idempotent."""
        ...

    async def reserve(self, proto: str, host_ip: IPv4Address, port: int) -> int:
        """Claim a host port; 0 picks a free one (ephemeral range 49153..65535). Return the port.

        Held until `release`; a new daemon claims again what its containers hold.

        Raises:
            Conflict: In use; message as dockerd's, "Bind for 0.0.0.0:80 failed: port is already
                allocated" when another container holds it, otherwise "failed to bind host port
                0.0.0.0:80/tcp: address already in use".
        """
        ...

    async def release(self, proto: str, host_ip: IPv4Address, port: int) -> None:
        """Give a claimed port back. Idempotent."""
        ...

    async def publish(self, ports: Sequence[Published]) -> None:
        """Lead host ports to containers, all or none. Idempotent; takes over a port led elsewhere.

        Raises:
            Unavailable: No bridge was ensured, or the kernel refused.
        """
        ...

    async def unpublish(self, ports: Sequence[Published]) -> None:
        """Undo `publish`. Idempotent."""
        ...

    async def bridge_address(self, name: str) -> IPv4Interface | None:
        """Return the first address of the bridge of this name, None if there is none."""
        ...

    async def routes(self) -> Sequence[IPv4Network]:
        """List the networks the host already routes or is part of, to choose a free subnet."""
        ...

    async def repair(self, sandboxes: Sequence[str], ports: Sequence[Published]) -> Sequence[str]:
        """Remove sandboxes and published ports not named (crash leftovers); say what was done.

        Named ports that are missing are published again.
        """
        ...

    async def warnings(self) -> Sequence[str]:
        """Say what on this host stands in the way of containers' traffic, one sentence each."""
        ...

    async def teardown(self) -> None:
        """Remove the nft table and everything of ours; used by tests and uninstall."""
        ...
