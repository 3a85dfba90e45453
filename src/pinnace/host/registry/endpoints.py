"""From a repository's name to the servers that are asked for it; pure but for name look-ups.

Sources: docs.docker.com, "dockerd", `registry-mirrors` and `insecure-registries`;
github.com/moby/moby daemon/pkg/registry for the meaning of both.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from pinnace.host.registry.settings import RegistrySettings
from pinnace.oci.reference import DEFAULT_DOMAIN

DEFAULT_REGISTRY = "https://registry-1.docker.io"
DEFAULT_INDEX = "https://index.docker.io"
_LOOPBACK = ("127.0.0.0/8", "::1/128")

Network = IPv4Network | IPv6Network
LookUp = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server that may have a repository.

    Attributes:
        url: Scheme, host and port, without a slash at the end.
        host: `host[:port]` as certificates' directories and messages name it.
        verify: Whether its certificate is checked.
        mirror: Whether it is a mirror, which gets no credentials for what it mirrors.
        plain_http: Whether whatever belongs to it (token server, uploads) may be plain HTTP.
    """

    url: str
    host: str
    verify: bool = True
    mirror: bool = False
    plain_http: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is asked without TLS."""
        return self.url.startswith("http://")


class Endpoints:
    """Chooses servers.

    Args:
        settings: Mirrors and insecure registries.
        look_up: Returns a host's addresses, none when there is no such host.
    """

    def __init__(self, settings: RegistrySettings, look_up: LookUp | None = None) -> None:
        self._settings = settings
        self._look_up = look_up or _addresses_of
        self._hosts = frozenset(word.lower() for word in settings.insecure if "/" not in word)
        self._networks = [
            ip_network(word, strict=False)
            for word in (*_LOOPBACK, *settings.insecure)
            if "/" in word
        ]

    async def of(self, domain: str, *, push: bool = False) -> Sequence[Endpoint]:
        """Return the servers of a registry, in the order they are asked.

        Args:
            domain: First part of a normalised name.
            push: Whether something is to be changed there; mirrors are for pulls.
        """
        if domain != DEFAULT_DOMAIN:
            return await self.at(domain)
        origin = await self._by_url(self._settings.default_url or DEFAULT_REGISTRY)
        if push:
            return origin
        mirrors = [
            endpoint
            for mirror in self._settings.mirrors
            for endpoint in await self._by_url(mirror, mirror=True)
        ]
        return [*mirrors, *origin]

    async def at(self, host: str) -> Sequence[Endpoint]:
        """Return the ways to talk to `host[:port]`: HTTPS, and HTTP if the host is insecure."""
        if not await self.is_insecure(host):
            return [Endpoint(f"https://{host}", host)]
        return [
            Endpoint(f"https://{host}", host, verify=False, plain_http=True),
            Endpoint(f"http://{host}", host, verify=False, plain_http=True),
        ]

    async def index(self, domain: str) -> Sequence[Endpoint]:
        """Return the servers that a search of `domain` asks."""
        if domain != DEFAULT_DOMAIN:
            return await self.at(domain)
        return await self._by_url(self._settings.default_url or DEFAULT_INDEX)

    async def is_insecure(self, host: str) -> bool:
        """Whether a registry is loopback, or configured as insecure by name or network."""
        if self.is_insecure_by_name(host):
            return True
        bare = split_port(host)[0]
        if _is_address(bare):
            return False
        return any(self._in_networks(address) for address in await self._look_up(bare))

    def is_insecure_by_name(self, host: str) -> bool:
        """As `is_insecure`, without asking what addresses the host's name stands for."""
        bare = split_port(host)[0]
        return (
            host.lower() in self._hosts
            or bare.lower() in self._hosts
            or bare.lower() == "localhost"
            or self._in_networks(bare)
        )

    def _in_networks(self, host: str) -> bool:
        if not _is_address(host):
            return False
        address = ip_address(host)
        return any(address in network for network in self._networks)

    async def _by_url(self, url: str, *, mirror: bool = False) -> Sequence[Endpoint]:
        parts = urlsplit(url)
        insecure = await self.is_insecure(parts.netloc)
        return [
            Endpoint(
                f"{parts.scheme}://{parts.netloc}",
                parts.netloc,
                verify=not insecure,
                mirror=mirror,
                plain_http=insecure or parts.scheme == "http",
            )
        ]


def split_port(host: str) -> tuple[str, str]:
    """Return host and port of `host[:port]`, without the brackets of IPv6 addresses."""
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        return address, rest.removeprefix(":")
    bare, _, port = host.partition(":")
    return bare, port


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


async def _addresses_of(host: str) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(address[0]).partition("%")[0] for *_, address in found]
