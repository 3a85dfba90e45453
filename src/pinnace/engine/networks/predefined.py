"""The three networks every engine has, as records; pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from msgspec import structs

from pinnace.engine.filters import Filters
from pinnace.engine.networks.ipam import AddressPool
from pinnace.model.network import (
    IPAM,
    Attachment,
    EndpointResource,
    IPAMPool,
    IPAMStatus,
    Network,
    NetworkInspect,
    NetworkStatus,
    SubnetStatus,
)

BRIDGE, HOST, NONE = "bridge", "host", "none"

_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_ANY_ADDRESS = IPv4Address("0.0.0.0")  # noqa: S104  Docker's default for published ports
_DRIVER_OPTION = "com.docker.network"


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Settings of the default networks.

    Attributes:
        created: When this engine came to be, RFC 3339 with nanoseconds.
        seed: What makes this engine's network ids its own, for example its data root.
        bridge_name: Interface of the default bridge.
        bip: Its address and subnet; None: chosen so that it overlaps nothing.
        mtu: Bytes.
        icc: Containers on it may talk to each other.
        masquerade: NAT for traffic leaving the host.
        default_binding: Host address for published ports that name none.
    """

    created: str
    seed: str
    bridge_name: str = "pinnace0"
    bip: IPv4Interface | None = None
    mtu: int = 1500
    icc: bool = True
    masquerade: bool = True
    default_binding: IPv4Address = _ANY_ADDRESS


def predefined_networks(config: NetworkConfig, gateway: IPv4Interface) -> dict[str, Network]:
    """Build the records of `bridge`, `host` and `none`, by name."""
    pool = IPAMPool(subnet=str(gateway.network), gateway=str(gateway.ip))
    bridge = Network(
        name=BRIDGE,
        id=_network_id(config, BRIDGE),
        created=config.created,
        driver="bridge",
        ipam=IPAM(config=[pool]),
        options=_bridge_options(config),
    )
    others = [
        Network(name=name, id=_network_id(config, name), created=config.created, driver=driver)
        for name, driver in ((HOST, "host"), (NONE, "null"))
    ]
    return {network.name: network for network in (bridge, *others)}


def inspect_record(
    network: Network, members: Iterable[Attachment], pool: AddressPool | None
) -> NetworkInspect:
    """Build the record that shows a network with the containers on it.

    Args:
        network: Which.
        members: Attachments to it.
        pool: Its addresses; None: it manages none.
    """
    fields = structs.asdict(network)
    containers = {member.container_id: _resource(member) for member in members}
    if pool is None:
        return NetworkInspect(**fields, containers=containers)
    use = SubnetStatus(ips_in_use=pool.used, dynamic_ips_available=pool.free)
    status = NetworkStatus(ipam=IPAMStatus(subnets={str(pool.subnet): use}))
    return NetworkInspect(**fields, containers=containers, status=status)


def selects(filters: Filters, network: Network) -> bool:
    """Tell whether the filters of `GET /networks` let a predefined network through.

    Raises:
        InvalidParameter: An unknown filter or value.
    """
    filters.validate(_FILTERS)
    return (
        not filters.get_bool("dangling", default=False)  # predefined ones never count as unused
        and filters.matches("driver", network.driver.__eq__)
        and filters.matches("id", network.id.startswith)
        and filters.matches("name", network.name.__contains__)
        and filters.matches("scope", network.scope.__eq__)
        and filters.matches("type", "builtin".__eq__)
        and filters.matches_labels(network.labels)
    )


def _resource(member: Attachment) -> EndpointResource:
    endpoint = member.endpoint
    address = f"{endpoint.ip_address}/{endpoint.ip_prefix_len}" if endpoint.ip_address else ""
    return EndpointResource(
        name=member.container_name,
        endpoint_id=endpoint.endpoint_id,
        mac_address=endpoint.mac_address,
        ipv4_address=address,
    )


def _network_id(config: NetworkConfig, name: str) -> str:
    return hashlib.sha256(f"{config.seed} {name}".encode()).hexdigest()


def _bridge_options(config: NetworkConfig) -> dict[str, str]:
    return {
        f"{_DRIVER_OPTION}.bridge.default_bridge": "true",
        f"{_DRIVER_OPTION}.bridge.enable_icc": _flag(on=config.icc),
        f"{_DRIVER_OPTION}.bridge.enable_ip_masquerade": _flag(on=config.masquerade),
        f"{_DRIVER_OPTION}.bridge.host_binding_ipv4": str(config.default_binding),
        f"{_DRIVER_OPTION}.bridge.name": config.bridge_name,
        f"{_DRIVER_OPTION}.driver.mtu": str(config.mtu),
    }


def _flag(*, on: bool) -> str:
    return "true" if on else "false"
