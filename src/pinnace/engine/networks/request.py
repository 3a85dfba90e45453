"""What a container asks of its network when it starts; pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from pinnace.errors import InvalidParameter
from pinnace.model.endpoint import EndpointIPAMConfig, EndpointSettings, PortMap
from pinnace.model.record import ContainerId

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_GROUP_BIT = 1


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """What a container that starts wants of the network.

    Attributes:
        container_id: Who.
        container_name: Without the leading slash.
        hostname: Name inside.
        network: `bridge`, `host` or `none`; "" and `default` mean bridge.
        endpoint: Settings the user gave for the network, if any.
        mac: Hardware address the user gave for the container; "" for one derived from the IP.
        bindings: `HostConfig.PortBindings`.
        exposed: Ports the image and the container expose, as `80/tcp`.
        publish_all: `HostConfig.PublishAllPorts`.
    """

    container_id: ContainerId
    container_name: str
    hostname: str = ""
    network: str = "bridge"
    endpoint: EndpointSettings | None = None
    mac: str = ""
    bindings: PortMap | None = None
    exposed: Collection[str] = ()
    publish_all: bool = False


def check_endpoint(asked: EndpointSettings) -> None:
    """Refuse addresses that cannot be read, when a container is created; Docker's words.

    Raises:
        InvalidParameter: `invalid IPv4 address: …`, and likewise for IPv6 and MAC addresses.
    """
    wanted = asked.ipam_config or EndpointIPAMConfig()
    for text, parse, kind in (
        (wanted.ipv4_address, IPv4Address, "IPv4"),
        (wanted.ipv6_address, IPv6Address, "IPv6"),
    ):
        if text:
            try:
                parse(text)
            except AddressValueError as exc:
                raise InvalidParameter(f"invalid {kind} address: {text}") from exc
    if asked.mac_address:
        _checked_mac(asked.mac_address)


def check_request(request: AttachRequest, network: str, *, addressed: bool) -> None:
    """Refuse what a predefined network cannot give.

    Args:
        request: What is asked for.
        network: The network's name.
        addressed: The network gives addresses, so that one may be asked for.

    Raises:
        InvalidParameter: An address or an alias was asked for; Docker's words.
    """
    asked = request.endpoint or EndpointSettings()
    trouble: list[str] = []
    if not addressed and asked.ipam_config is not None and asked.ipam_config.ipv4_address:
        trouble.append("user specified IP address is supported on user defined networks only")
    if asked.aliases:
        trouble.append(
            "network-scoped alias is supported only for containers in user defined networks"
        )
    if trouble:
        raise InvalidParameter(
            f"invalid config for network {network}: invalid endpoint settings:\n"
            + "\n".join(trouble)
        )


def wanted_address(request: AttachRequest) -> IPv4Address | None:
    """Return the IPv4 address that was asked for; None: any.

    Raises:
        InvalidParameter: It cannot be read, or an IPv6 address was asked for.
    """
    asked = request.endpoint.ipam_config if request.endpoint is not None else None
    if asked is None:
        return None
    if asked.ipv6_address:
        raise InvalidParameter(
            f"no configured subnet contains IP address {asked.ipv6_address}: IPv6 is not enabled"
        )
    check_endpoint(EndpointSettings(ipam_config=asked))
    return IPv4Address(asked.ipv4_address) if asked.ipv4_address else None


def choose_mac(request: AttachRequest, address: IPv4Address) -> str:
    """Choose the hardware address: the one asked for, or the one derived from the IP address.

    Settings of an earlier run may hold the address derived from an earlier IP, for which nobody
    asked.

    Raises:
        InvalidParameter: The one asked for cannot be read, or is a group's.
    """
    asked = request.mac
    if not asked and request.endpoint is not None and request.endpoint.mac_address:
        earlier = request.endpoint.ip_address
        if not earlier or request.endpoint.mac_address != derived_mac(IPv4Address(earlier)):
            asked = request.endpoint.mac_address
    if not asked:
        return derived_mac(address)
    return _checked_mac(asked)


def _checked_mac(asked: str) -> str:
    mac = asked.lower().replace("-", ":")
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & _GROUP_BIT:
        raise InvalidParameter(f"invalid MAC address: {asked}")
    return mac


def derived_mac(address: IPv4Address) -> str:
    """Return the hardware address of who asked for none: 02:42 and the IP's four bytes."""
    return ":".join(f"{part:02x}" for part in b"\x02\x42" + address.packed)
