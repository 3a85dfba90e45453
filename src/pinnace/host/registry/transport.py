"""Single HTTP exchanges with registries, over aiohttp; knows nothing of what is exchanged.

The library is imported at the first request: importing it takes 25 MB and a quarter of a second,
which a daemon that talks to no registry need not pay.
"""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin, urlsplit

from pinnace.errors import InvalidParameter
from pinnace.host.registry.certificates import Certificates
from pinnace.host.registry.exchange_errors import translated
from pinnace.host.registry.failures import ConnectionFailed
from pinnace.host.registry.pace import Pace

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType

    import aiohttp

    from pinnace.host.registry.endpoints import Endpoints
    from pinnace.host.registry.settings import RegistrySettings

_CONNECT_S = 30.0
_KEEP_IDLE_S = 15.0
# An upload's last answer comes after the registry has moved the blob to its place.
_COMMIT_S = 900.0
_REDIRECTS = 10
_READ_BUFFER = 1 << 19
_MAX_HEADER = 64 << 10
_REDIRECT_STATUSES = frozenset((301, 302, 303, 307, 308))
_SECRET_HEADERS = ("Authorization",)


class Origin(NamedTuple):
    """Scheme, host and port: who gets credentials."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of a URL.

        Raises:
            InvalidParameter: It has no host, another scheme than HTTP's, or credentials in it.
        """
        if not url.isascii() or not url.isprintable() or " " in url:
            raise InvalidParameter("invalid URL from a registry")
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as exc:
            raise InvalidParameter("invalid URL from a registry") from exc
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise InvalidParameter("invalid URL from a registry")
        return cls(parts.scheme, parts.hostname, port)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent.

    Attributes:
        owner: Registry (`host[:port]`) on whose behalf; its authorities are trusted.
        home: URL at that registry; only its origin gets credentials. "": `url`.
        body: Bytes, or what yields them piece by piece; the header tells the length then.
        verify: Whether the owner's certificate is checked.
        follow: Whether redirects are followed; with a body that is yielded they cannot be.
        patient: Whether the answer may take as long as storing a large blob does.
    """

    method: str
    url: str
    owner: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Callable[[Pace], AsyncIterator[bytes]] = b""
    verify: bool = True
    follow: bool = True
    patient: bool = False
    home: str = ""


class Response:
    """An answer whose body is read by the caller; close it, or use it as a context manager.

    Attributes:
        status: Of the last answer, after redirects.
        headers: Of the last answer; names in any case.
        url: Where the answer came from.
        redirected: Whether that is another origin than was asked.
    """

    def __init__(
        self, request: Request, raw: aiohttp.ClientResponse, pace: Pace, *, redirected: bool
    ) -> None:
        self._request = request
        self._raw = raw
        self._pace = pace
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self.url = str(raw.url)
        self.redirected = redirected

    def all_of(self, name: str) -> Sequence[str]:
        """Return every value of a header."""
        return self._raw.headers.getall(name, [])

    async def read(self, limit: int) -> bytes:
        """Return the body.

        Raises:
            InvalidParameter: It is longer than `limit`.
            ConnectionFailed: It broke off.
        """
        pieces: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise InvalidParameter(f"the answer of {self._request.owner} is too large")
            pieces.append(chunk)
        return b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            ConnectionFailed: It broke off, or comes too slowly.
        """
        content = self._raw.content
        with translated(self._request.method, self.url):
            while chunk := await self._pace.of(content.readany()):
                yield chunk

    def close(self) -> None:
        """Give the connection back if the body was read to its end; otherwise end it."""
        if self._raw.content.at_eof():
            self._raw.release()
        else:
            self._raw.close()

    async def __aenter__(self) -> Response:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Transport:
    """Sends requests; one per daemon.

    Args:
        settings: Certificates, proxies, limits.
        endpoints: Knows which hosts may be talked to without TLS.
    """

    def __init__(self, settings: RegistrySettings, endpoints: Endpoints) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._certificates = Certificates(settings.certificates)
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def send(self, request: Request) -> Response:
        """Send a request and return its answer; follows redirects by itself.

        Credentials go to the origin that was asked and to no other.

        Raises:
            ConnectionFailed: No answer came.
            InvalidParameter: A redirect leads where none may.
        """
        home = Origin.of(request.home or request.url)
        current, redirected = request, Origin.of(request.url) != home
        if redirected:  # the registry itself named a place elsewhere, for an upload
            current = await self._elsewhere(current, home.scheme, request.url)
        for _ in range(_REDIRECTS):
            response = await self._exchange(current, redirected=redirected)
            location = response.headers.get("Location", "")
            if response.status not in _REDIRECT_STATUSES or not location or not request.follow:
                return response
            response.close()
            target = joined(current.url, location)
            redirected = redirected or Origin.of(target) != home
            if redirected:
                current = await self._elsewhere(current, Origin.of(current.url).scheme, target)
            else:
                current = replace(current, url=target)
        reason = f"stopped after {_REDIRECTS} redirects"
        raise ConnectionFailed(request.method, request.url, reason, passing=False)

    async def close(self) -> None:
        """Close idle connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _elsewhere(self, request: Request, scheme: str, url: str) -> Request:
        """Return the request as a host may see it that was not asked at first.

        Args:
            request: As the registry saw it.
            scheme: Of the URL that leads there.
            url: At the other host.

        Raises:
            InvalidParameter: It leads away from TLS to a host that is not insecure.
        """
        target = Origin.of(url)
        headers = {
            name: value for name, value in request.headers.items() if name not in _SECRET_HEADERS
        }
        insecure = await self._endpoints.is_insecure(_netloc(target))
        if scheme == "https" and target.scheme == "http" and not insecure:
            raise InvalidParameter("a registry leads from https to http")
        return replace(request, url=url, headers=headers, verify=not insecure)

    async def _exchange(self, request: Request, *, redirected: bool) -> Response:
        session = self._session or await self._open()
        origin = Origin.of(request.url)
        pace = Pace(self._settings.stall_s, self._settings.low_water)
        context: ssl.SSLContext | bool = True
        if origin.scheme == "https":
            context = self._certificates.context(
                _netloc(origin), owner=request.owner, verify=request.verify
            )
        body = request.body if isinstance(request.body, bytes) else request.body(pace)
        answer_s = _COMMIT_S if request.patient else self._settings.stall_s
        from yarl import URL

        with translated(request.method, request.url):
            raw = await pace.answer(
                session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=request.headers,
                    data=body or None,
                    allow_redirects=False,
                    ssl=context,
                    proxy=self._settings.proxies.for_url(request.url),
                ),
                answer_s,
            )
        return Response(request, raw, pace, redirected=redirected)

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, importlib.import_module, "aiohttp")
                self._session = self._new_session()
        return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        import aiohttp

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_IDLE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            headers={
                "User-Agent": self._settings.user_agent,
                "Accept-Encoding": "identity",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
        )


def joined(base: str, location: str) -> str:
    """Return the URL that `location` means at `base`.

    Raises:
        InvalidParameter: It means none.
    """
    try:
        return urljoin(base, location)
    except ValueError as exc:
        raise InvalidParameter("invalid URL from a registry") from exc


def is_success(status: int) -> bool:
    """Whether a status is one of success."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _netloc(origin: Origin) -> str:
    """Return `host[:port]`, the port only when it is not the scheme's own."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    default = 443 if origin.scheme == "https" else 80
    return host if origin.port == default else f"{host}:{origin.port}"
