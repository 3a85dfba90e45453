"""Envelopes of the network calls (API 1.56)."""

from msgspec import field

from pinnace.model.endpoint import EndpointSettings
from pinnace.model.network import IPAM, ConfigReference
from pinnace.model.record import Record


class NetworkCreateRequest(Record, frozen=True, kw_only=True):
    """Body of `POST /networks/create`."""

    name: str = ""
    driver: str = ""
    scope: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference | None = None
    ipam: IPAM | None = field(name="IPAM", default=None)
    enable_ipv4: bool | None = field(name="EnableIPv4", default=None)
    enable_ipv6: bool | None = field(name="EnableIPv6", default=None)
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class NetworkConnectRequest(Record, frozen=True, kw_only=True):
    """Body of `POST /networks/{id}/connect`."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None


class NetworkDisconnectRequest(Record, frozen=True, kw_only=True):
    """Body of `POST /networks/{id}/disconnect`."""

    container: str = ""
    force: bool = False


class NetworkCreated(Record, frozen=True, kw_only=True):
    """Answer of `POST /networks/create`."""

    id: str
    warning: str


class NetworkPruneReport(Record, frozen=True, kw_only=True):
    """Answer of `POST /networks/prune`."""

    networks_deleted: list[str] | None
