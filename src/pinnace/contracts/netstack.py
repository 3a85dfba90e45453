"""Sandboxes (network namespaces), the bridge, and the packet rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol


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
    """

    bridge: str
    host_link: str
    name: str
    address: IPv4Interface
    gateway: IPv4Address | None
    mac: str
    mtu: int = 1500


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


class NetStack(Protocol):
    """Side effects of networking. Idempotent where it says so; all methods are coroutines."""

    async def ensure_bridge(self, bridge: BridgeSpec) -> None:
        """Create or correct the bridge and its rules (NAT, isolation). Idempotent.

        Raises:
            Unavailable: nft or the kernel lacks what is needed; the message names it.
        """
        ...

    async def remove_bridge(self, name: str) -> None:
        """Remove the bridge and its rules. Idempotent."""
        ...

    async def create_sandbox(self, sandbox: str, endpoints: Sequence[EndpointSpec]) -> str:
        """Make a network namespace with lo and the endpoints up; return its path.

        The path can be given to the runtime and to nsenter. Nothing remains after a failure.

        Raises:
            AlreadyExists: `sandbox` is taken.
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
                for 0.0.0.0:80:…: address already in use".
        """
        ...

    async def release(self, proto: str, host_ip: IPv4Address, port: int) -> None:
        """Give a claimed port back. Idempotent."""
        ...

    async def publish(self, ports: Sequence[Published]) -> None:
        """Lead host ports to containers, all or none. Idempotent."""
        ...

    async def unpublish(self, ports: Sequence[Published]) -> None:
        """Undo `publish`. Idempotent."""
        ...

    async def repair(self, sandboxes: Sequence[str], ports: Sequence[Published]) -> Sequence[str]:
        """Remove sandboxes and published ports not named (crash leftovers); say what was done."""
        ...

    async def teardown(self) -> None:
        """Remove the nft table and everything of ours; used by tests and uninstall."""
        ...
