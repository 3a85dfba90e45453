"""One server for the time of one transfer: greeted once, asked with whatever it wants to see."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pinnace.contracts.registry import ANONYMOUS, Credentials
from pinnace.errors import InvalidParameter, PinnaceError, RegistryUnauthorized
from pinnace.host.registry.authorizer import Authorizer
from pinnace.host.registry.challenge import Challenge, parse_challenges
from pinnace.host.registry.endpoints import Endpoint
from pinnace.host.registry.failures import (
    ConnectionFailed,
    Refusal,
    Subject,
    failure_of,
    read_refusal,
    shown,
)
from pinnace.host.registry.pace import Pace
from pinnace.host.registry.tokens import TokenStore
from pinnace.host.registry.transport import Request, Response, Transport

_MAX_ERROR = 64 << 10


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as protocol code words it.

    Attributes:
        path: Below the endpoint (`/v2/…`), or a whole URL that the registry gave.
        scopes: What a token must allow.
        follow: Whether redirects are followed.
        patient: Whether the answer may take as long as storing a large blob does.
    """

    method: str
    path: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Callable[[Pace], AsyncIterator[bytes]] = b""
    follow: bool = True
    patient: bool = False


class Server:
    """Sends requests to one endpoint.

    Args:
        endpoint: Where.
        credentials: Shown to the endpoint, never to a mirror.
        transport: Sends.
        tokens: Where tokens come from.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        transport: Transport,
        tokens: TokenStore,
    ) -> None:
        self.endpoint = endpoint
        self._transport = transport
        shown_here = ANONYMOUS if endpoint.mirror else credentials
        self._authorizer = Authorizer(endpoint, shown_here, tokens)
        self._greeting = asyncio.Lock()
        self.greeted = False

    @property
    def authorizer(self) -> Authorizer:
        """What the server is shown."""
        return self._authorizer

    async def greet(self) -> None:
        """Learn whether the server is there and what it wants to see; asks once.

        Raises:
            ConnectionFailed: It is not there.
        """
        async with self._greeting:
            if self.greeted:
                return
            async with await self._send(Ask("GET", "/v2/"), "") as response:
                self._authorizer.learn(_challenges_of(response))
                await _drain(response)
            self.greeted = True

    async def open(self, ask: Ask) -> Response:
        """Send a request and return its answer, whatever its status; the caller closes it.

        A token that the server does not take any more is replaced once.

        Raises:
            RegistryUnauthorized: There is nothing to show that it asks for.
            ConnectionFailed: No answer came.
        """
        renewed = False
        while True:
            try:
                proof = await self._authorizer.prove(ask.scopes)
            except RegistryUnauthorized as exc:
                raise self._unproven(ask, exc) from exc
            response = await self._send(ask, proof.header)
            if response.status != 401 or response.redirected or renewed:
                return response
            renewed = self._authorizer.refused(proof, _challenges_of(response))
            if not renewed:
                return response
            await _drain(response)
            response.close()

    def url_of(self, path: str) -> str:
        """Return the whole URL of a path."""
        return path if "://" in path else f"{self.endpoint.url}{path}"

    async def _send(self, ask: Ask, authorization: str) -> Response:
        headers = dict(ask.headers)
        if authorization:
            headers["Authorization"] = authorization
        return await self._transport.send(
            Request(
                ask.method,
                self.url_of(ask.path),
                owner=self.endpoint.host,
                home=self.endpoint.url,
                headers=headers,
                body=ask.body,
                verify=self.endpoint.verify,
                follow=ask.follow,
                patient=ask.patient,
            )
        )

    def _unproven(self, ask: Ask, failure: RegistryUnauthorized) -> RegistryUnauthorized:
        url = shown(self.url_of(ask.path))
        return RegistryUnauthorized(f'{ask.method.capitalize()} "{url}": {failure.message}')


async def refusal_of(response: Response) -> Refusal:
    """Return what an unsuccessful answer says; of another host's answer only the status."""
    if response.redirected:
        return Refusal(response.status, "", "")
    errors = {one.parameters.get("error") for one in _challenges_of(response)}
    if "insufficient_scope" in errors:  # RFC 6750, section 3.1: known, but not allowed to
        return Refusal(403, "DENIED", "denied: requested access to the resource is denied")
    try:
        body = await response.read(_MAX_ERROR)
    except PinnaceError:
        body = b""
    return read_refusal(response.status, body)


async def failed(response: Response, subject: Subject) -> PinnaceError:
    """Return the failure that an unsuccessful answer means."""
    return failure_of(await refusal_of(response), subject, response.headers)


def _challenges_of(response: Response) -> Sequence[Challenge]:
    return parse_challenges(response.all_of("WWW-Authenticate")) if response.status == 401 else ()


async def _drain(response: Response) -> None:
    """Read a body nobody wants, so that the connection can be used again."""
    with contextlib.suppress(ConnectionFailed, InvalidParameter):
        await response.read(_MAX_ERROR)
