"""All registries there are: implements `contracts.registry.Registries`."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from pinnace.contracts.registry import ANONYMOUS, Credentials, Login, SearchHit
from pinnace.host.registry.endpoints import Endpoints, LookUp
from pinnace.host.registry.login import log_in
from pinnace.host.registry.repository import HttpRepository
from pinnace.host.registry.retries import Patience
from pinnace.host.registry.search import search
from pinnace.host.registry.server import Server
from pinnace.host.registry.settings import RegistrySettings
from pinnace.host.registry.tokens import TokenStore
from pinnace.host.registry.transport import Transport
from pinnace.oci.reference import parse_repository


class HttpRegistries:
    """Talks to registries over HTTP; see `contracts.registry.Registries`.

    Args:
        settings: Mirrors, trust, proxies, limits.
        look_up: Returns a host's addresses; None: the system's resolver does.
    """

    def __init__(self, settings: RegistrySettings, look_up: LookUp | None = None) -> None:
        self._settings = settings
        self._endpoints = Endpoints(settings, look_up)
        self._transport = Transport(settings, self._endpoints)
        self._tokens = TokenStore(self._transport, self._endpoints)

    @asynccontextmanager
    async def repository(
        self, name: str, credentials: Credentials = ANONYMOUS, *, push: bool = False
    ) -> AsyncGenerator[HttpRepository, None]:
        """See the contract."""
        reference = parse_repository(name)

        async def servers() -> Sequence[Server]:
            endpoints = await self._endpoints.of(reference.domain, push=push)
            return [
                Server(endpoint, credentials, transport=self._transport, tokens=self._tokens)
                for endpoint in endpoints
            ]

        patience = Patience(self._settings.attempts, self._settings.backoff_s)
        yield HttpRepository(reference, servers, patience=patience, push=push)

    async def login(self, registry: str, credentials: Credentials) -> Login:
        """See the contract."""
        return await log_in(
            registry,
            credentials,
            endpoints=self._endpoints,
            transport=self._transport,
            tokens=self._tokens,
        )

    async def search(
        self, term: str, *, limit: int, credentials: Credentials = ANONYMOUS
    ) -> Sequence[SearchHit]:
        """See the contract."""
        return await search(
            term,
            limit,
            credentials,
            endpoints=self._endpoints,
            transport=self._transport,
        )

    def allows_plain_http(self, registry: str) -> bool:
        """See the contract; names are not looked up."""
        return self._endpoints.is_insecure_by_name(registry)

    async def close(self) -> None:
        """See the contract."""
        await self._transport.close()
