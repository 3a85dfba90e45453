"""A container's attachment to a network, and its published ports (API 1.56)."""

from typing import TypeAlias

from msgspec import field

from pinnace.model.record import Record


class PortBinding(Record, frozen=True, kw_only=True):
    """A host address and port; both strings on the wire, "" for any."""

    host_ip: str = ""
    host_port: str = ""


# "80/tcp" -> bindings; None: exposed, not published.
PortMap: TypeAlias = dict[str, list[PortBinding] | None]


class EndpointIPAMConfig(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Addresses the user asked for."""

    ipv4_address: str = field(name="IPv4Address", default="")
    ipv6_address: str = field(name="IPv6Address", default="")
    link_local_ips: list[str] | None = field(name="LinkLocalIPs", default=None)


class EndpointSettings(Record, frozen=True, kw_only=True):
    """A container's endpoint: what was asked for, and what it got while running."""

    ipam_config: EndpointIPAMConfig | None = field(name="IPAMConfig", default=None)
    links: list[str] | None = None
    aliases: list[str] | None = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = field(name="NetworkID", default="")
    endpoint_id: str = field(name="EndpointID", default="")
    gateway: str = ""
    ip_address: str = field(name="IPAddress", default="")
    mac_address: str = ""
    ip_prefix_len: int = field(name="IPPrefixLen", default=0)
    ipv6_gateway: str = field(name="IPv6Gateway", default="")
    global_ipv6_address: str = field(name="GlobalIPv6Address", default="")
    global_ipv6_prefix_len: int = field(name="GlobalIPv6PrefixLen", default=0)
    dns_names: list[str] | None = field(name="DNSNames", default=None)
