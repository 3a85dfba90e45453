"""Networks as the API shows them (1.56)."""

from pathlib import PurePosixPath

from msgspec import UNSET, UnsetType, field

from pinnace.model.endpoint import EndpointSettings, PortMap
from pinnace.model.record import ContainerId, Record


class IPAMPool(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One subnet of a network."""

    subnet: str = ""
    ip_range: str = field(name="IPRange", default="")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] | None = None


class IPAM(Record, frozen=True, kw_only=True):
    """How a network's addresses are managed."""

    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[IPAMPool] | None = None


class ConfigReference(Record, frozen=True, kw_only=True):
    """The network whose configuration is used; "" for none."""

    network: str = ""


class Network(Record, frozen=True, kw_only=True):
    """An item of `GET /networks`.

    Attributes:
        id: 64 hex digits.
        created: RFC 3339 with nanoseconds.
        scope: Always `local`.
        driver: `bridge`, `host` or `null`.
    """

    name: str
    id: str
    created: str
    scope: str = "local"
    driver: str
    enable_ipv4: bool = field(name="EnableIPv4", default=True)
    enable_ipv6: bool = field(name="EnableIPv6", default=False)
    ipam: IPAM = field(name="IPAM", default_factory=IPAM)
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_from: ConfigReference = ConfigReference()
    config_only: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class EndpointResource(Record, frozen=True, kw_only=True):
    """A container on a network, as `NetworkInspect` lists it.

    Addresses carry their prefix; "" for none.
    """

    name: str
    endpoint_id: str = field(name="EndpointID")
    mac_address: str = ""
    ipv4_address: str = field(name="IPv4Address", default="")
    ipv6_address: str = field(name="IPv6Address", default="")


class SubnetStatus(Record, frozen=True, kw_only=True):
    """Use of a subnet, in addresses."""

    ips_in_use: int = field(name="IPsInUse")
    dynamic_ips_available: int = field(name="DynamicIPsAvailable")


class IPAMStatus(Record, frozen=True, kw_only=True):
    """Use of a network's subnets, by subnet."""

    subnets: dict[str, SubnetStatus] = {}


class NetworkStatus(Record, frozen=True, kw_only=True):
    """What a network is like at the moment."""

    ipam: IPAMStatus = field(name="IPAM", default_factory=IPAMStatus)


class NetworkInspect(Network, frozen=True, kw_only=True):
    """`GET /networks/{id}`."""

    containers: dict[ContainerId, EndpointResource] = {}
    status: NetworkStatus | UnsetType = UNSET


class Attachment(Record, frozen=True, kw_only=True):
    """What a running container holds of its network; enough to give it back after a restart.

    Attributes:
        network: Name of the network.
        hostname: The container's.
        sandbox_path: Network namespace to run in; "" for the host's own.
        endpoint: Settings as asked for and as given.
        ports: Published and exposed ports, in Docker's form.
    """

    container_id: ContainerId
    container_name: str
    hostname: str = ""
    network: str
    sandbox_path: str = ""
    endpoint: EndpointSettings
    ports: PortMap = {}

    @property
    def sandbox_id(self) -> str:
        """The sandbox's id, 64 hex digits; "" for the host's network."""
        return PurePosixPath(self.sandbox_path).name
