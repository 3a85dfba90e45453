"""All registries there are: implements `contracts.registry.Registries`."""

from pinnace.host.registry.endpoints import Endpoints
from pinnace.host.registry.settings import RegistrySettings


class HttpRegistries:
    """Talks to registries over HTTP; see `contracts.registry.Registries`."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._endpoints = Endpoints(settings)

    def allows_plain_http(self, registry: str) -> bool:
        """See `contracts.registry.Registries`; names are not looked up."""
        return self._endpoints.is_insecure_by_name(registry)
