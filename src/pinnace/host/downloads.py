"""Files of other servers: implements `contracts.downloads.Downloads` over aiohttp.

The library is imported at the first download, so that a daemon at rest does not pay for it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pinnace.contracts.downloads import Download
from pinnace.errors import InvalidParameter, NotFound, Unavailable
from pinnace.host.registry.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

_CHUNK_BYTES = 1 << 18
_REDIRECTS = 10
_CONNECT_S = 30
_IDLE_S = 60
_NOT_FOUND = (404, 410)


class HttpDownloads:
    """Fetches over HTTP.

    Args:
        proxies: Servers to ask through.
        user_agent: What servers are told of us.
    """

    def __init__(self, proxies: Proxies | None = None, *, user_agent: str = "pinnace") -> None:
        self._proxies = proxies or Proxies()
        self._user_agent = user_agent

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Download]:
        """See the contract."""
        import aiohttp

        _check(url)
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_IDLE_S),
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            ) as session,
            await self._get(session, url) as response,
        ):
            _check_status(response, url)
            yield Download(
                url=str(response.url),
                content=_content(response, url),
                size=response.content_length,
                modified_ns=_modified_ns(response.headers.get("Last-Modified", "")),
                media_type=response.headers.get("Content-Type", "").partition(";")[0].strip(),
            )

    async def _get(self, session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
        import aiohttp

        try:
            return await session.get(
                url, proxy=self._proxies.for_url(url), max_redirects=_REDIRECTS
            )
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            raise _failure(url, exc) from exc


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise InvalidParameter(f'parse "{url}": {exc}') from exc
    if parts.scheme not in ("http", "https"):
        raise InvalidParameter(f'Get "{url}": unsupported protocol scheme "{parts.scheme}"')
    if not host:
        raise InvalidParameter(f'Get "{url}": http: no Host in request URL')


def _check_status(response: aiohttp.ClientResponse, url: str) -> None:
    if response.status < HTTPStatus.BAD_REQUEST:
        return
    reason = f"failed to GET {url} with status {response.status} {response.reason}"
    raise NotFound(reason) if response.status in _NOT_FOUND else Unavailable(reason)


async def _content(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    import aiohttp

    try:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise _failure(url, exc) from exc


def _failure(url: str, error: Exception) -> Unavailable:
    """Return a failure worded as Go words it."""
    import aiohttp

    if isinstance(error, asyncio.TimeoutError):
        reason = "context deadline exceeded (Client.Timeout exceeded while reading)"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        reason = f"dial tcp: lookup {error.host}: no such host"
    elif isinstance(error, aiohttp.ClientConnectorError):
        said = (error.os_error.strerror or str(error.os_error)).lower()
        said = "connection refused" if isinstance(error.os_error, ConnectionRefusedError) else said
        reason = f"dial tcp {error.host}:{error.port}: connect: {said}"
    elif isinstance(error, aiohttp.ClientPayloadError):
        reason = "unexpected EOF"
    elif isinstance(error, aiohttp.TooManyRedirects):
        reason = f"stopped after {_REDIRECTS} redirects"
    else:
        reason = str(error) or type(error).__name__
    return Unavailable(f'Get "{url}": {reason}')


def _modified_ns(text: str) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except (TypeError, ValueError):
        return None
