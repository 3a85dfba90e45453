"""Bearer tokens: from the token server a registry names, kept until they expire.

Source: distribution.github.io/distribution/spec/auth, "token" and "oauth".
"""

import asyncio
import base64
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import msgspec

from pinnace.contracts.registry import Credentials
from pinnace.errors import RegistryUnauthorized
from pinnace.host.registry.endpoints import Endpoint, Endpoints
from pinnace.host.registry.failures import Subject, failure_of, read_refusal
from pinnace.host.registry.transport import Request, Transport, is_success

CLIENT_ID = "docker"  # token servers know it
_DEFAULT_LIFE_S = 60  # what the specification says of tokens that do not tell
_MARGIN = 0.1  # of its life before its end, a token is not used any more
_MAX_BODY = 1 << 20
_MAX_KEPT = 256


@dataclass(frozen=True, slots=True)
class TokenAsk:
    """What a token is for.

    Attributes:
        realm: URL of the token server.
        service: Its name for the registry.
        scopes: `repository:team/app:pull`, sorted.
        credentials: On whose behalf.
    """

    realm: str
    service: str
    scopes: tuple[str, ...]
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the time (monotonic) from which on it is not used any more."""

    value: str = field(repr=False)
    stale_at: float
    refresh_token: str = field(default="", repr=False)


class _TokenBody(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: int | None = None
    refresh_token: str = ""


class TokenStore:
    """Gets tokens, one request for many who want the same."""

    def __init__(self, transport: Transport, endpoints: Endpoints) -> None:
        self._transport = transport
        self._endpoints = endpoints
        self._kept: OrderedDict[TokenAsk, Token] = OrderedDict()
        self._locks: dict[TokenAsk, tuple[asyncio.Lock, int]] = {}

    async def get(self, ask: TokenAsk, endpoint: Endpoint) -> Token:
        """Return a token that is still good.

        Raises:
            RegistryUnauthorized: The token server refuses, or is none that may be asked.
            PinnaceError: It fails.
        """
        lock, users = self._locks.get(ask, (asyncio.Lock(), 0))
        self._locks[ask] = lock, users + 1
        try:
            async with lock:
                token = self._kept.get(ask)
                if token is None or token.stale_at <= time.monotonic():
                    token = await self.fetch(ask, endpoint)
                    self._keep(ask, token)
                return token
        finally:
            lock, users = self._locks.pop(ask)
            if users > 1:
                self._locks[ask] = lock, users - 1

    def forget(self, ask: TokenAsk, value: str) -> None:
        """Drop a token the registry refused, unless another has taken its place."""
        token = self._kept.get(ask)
        if token is not None and token.value == value:
            del self._kept[ask]

    async def fetch(self, ask: TokenAsk, endpoint: Endpoint, *, offline: bool = False) -> Token:
        """Ask the token server.

        Args:
            ask: What for.
            endpoint: The registry that named the token server.
            offline: Whether a refresh token is wanted as well.

        Raises:
            RegistryUnauthorized: The token server refuses, or is none that may be asked.
            PinnaceError: It fails.
        """
        await self._check_realm(ask.realm)
        request = _oauth_request(ask) if ask.credentials.identity_token else None
        if request is None:
            request = _basic_request(ask, offline=offline)
        insecure = await self._endpoints.is_insecure(urlsplit(ask.realm).netloc)
        sent = Request(
            request.method,
            request.url,
            owner=endpoint.host,
            headers=request.headers,
            body=request.body,
            verify=not insecure,
            follow=request.method == "GET",
        )
        async with await self._transport.send(sent) as response:
            body = await response.read(_MAX_BODY)
        if not is_success(response.status):
            refusal = read_refusal(response.status, body)
            raise failure_of(refusal, Subject(""), response.headers)
        return _read_token(body)

    def _keep(self, ask: TokenAsk, token: Token) -> None:
        self._kept[ask] = token
        self._kept.move_to_end(ask)
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)

    async def _check_realm(self, realm: str) -> None:
        """Check that passwords may be sent to `realm`."""
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise RegistryUnauthorized("unauthorized: the registry names no valid token server")
        if parts.scheme == "http" and not await self._endpoints.is_insecure(parts.netloc):
            raise RegistryUnauthorized(
                f"unauthorized: the registry names a token server without TLS, {parts.hostname},"
                " which is not among the insecure registries"
            )


def _basic_request(ask: TokenAsk, *, offline: bool) -> Request:
    parameters = [("service", ask.service)] if ask.service else []
    parameters += [("scope", scope) for scope in ask.scopes]
    headers = {}
    credentials = ask.credentials
    if credentials.username:
        parameters.append(("account", credentials.username))
        headers["Authorization"] = basic_authorization(credentials)
    if offline:
        parameters += [("offline_token", "true"), ("client_id", CLIENT_ID)]
    separator = "&" if urlsplit(ask.realm).query else "?"
    url = f"{ask.realm}{separator}{urlencode(parameters)}"
    return Request("GET", url, owner="", headers=headers)


def _oauth_request(ask: TokenAsk) -> Request:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": ask.credentials.identity_token,
        "service": ask.service,
        "client_id": CLIENT_ID,
    }
    if ask.scopes:
        form["scope"] = " ".join(ask.scopes)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", ask.realm, owner="", headers=headers, body=urlencode(form).encode())


def _read_token(body: bytes) -> Token:
    try:
        decoded = msgspec.json.decode(body, type=_TokenBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise RegistryUnauthorized(f"unable to decode token response: {exc}") from exc
    value = decoded.token or decoded.access_token
    if not value or not value.isascii() or not value.isprintable():
        raise RegistryUnauthorized("authorization server did not include a token in the response")
    life_s = _DEFAULT_LIFE_S if decoded.expires_in is None else max(decoded.expires_in, 1)
    stale_at = time.monotonic() + life_s * (1 - _MARGIN)
    return Token(value, stale_at, decoded.refresh_token)


def basic_authorization(credentials: Credentials) -> str:
    """Return the header that sends a name and a password (RFC 7617)."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
