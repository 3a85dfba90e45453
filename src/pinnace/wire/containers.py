"""Envelopes of the container calls (API 1.56)."""

from msgspec import UNSET, UnsetType

from pinnace.model.container import ContainerConfig, HostConfig
from pinnace.model.endpoint import EndpointSettings
from pinnace.model.record import Record


class NetworkingConfig(Record, frozen=True, kw_only=True):
    """Endpoints to make, by network name or id."""

    endpoints_config: dict[str, EndpointSettings] = {}


class ContainerCreateRequest(ContainerConfig, frozen=True, kw_only=True):
    """Body of `POST /containers/create`: the config, with two objects beside its fields.

    Attributes:
        mac_address: Refused; what older versions meant by it has been moved to an endpoint.
    """

    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()
    mac_address: str = ""

    def config(self) -> ContainerConfig:
        """Return the fields that are the container's config."""
        names = ContainerConfig.__struct_fields__
        return ContainerConfig(**{name: getattr(self, name) for name in names})


class ContainerCreated(Record, frozen=True, kw_only=True):
    """Answer of `POST /containers/create`."""

    id: str
    warnings: list[str]


class WaitError(Record, frozen=True, kw_only=True):
    """Why the container could not be removed."""

    message: str


class Waited(Record, frozen=True, kw_only=True):
    """Answer of `POST /containers/{id}/wait`."""

    status_code: int
    error: WaitError | UnsetType = UNSET


class Updated(Record, frozen=True, kw_only=True):
    """Answer of `POST /containers/{id}/update`."""

    warnings: list[str] | None


class ProcessList(Record, frozen=True, kw_only=True):
    """Answer of `GET /containers/{id}/top`."""

    titles: list[str]
    processes: list[list[str]]


class ChangedPath(Record, frozen=True, kw_only=True):
    """One entry of `GET /containers/{id}/changes`; kind 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int


class CopyRequest(Record, frozen=True, kw_only=True):
    """Body of `POST /containers/{id}/copy`, API 1.4 to 1.23."""

    resource: str = ""


class CreatedId(Record, frozen=True, kw_only=True):
    """An answer that holds an id."""

    id: str
