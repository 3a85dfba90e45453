"""Checks credentials at a registry."""

from collections.abc import Sequence

from pinnace.contracts.registry import Credentials, Login
from pinnace.errors import InvalidParameter, RegistryUnauthorized
from pinnace.host.registry.authorizer import NO_BASIC_CREDENTIALS, Authorizer
from pinnace.host.registry.challenge import Challenge
from pinnace.host.registry.endpoints import Endpoint, Endpoints
from pinnace.host.registry.failures import ConnectionFailed, status_text
from pinnace.host.registry.server import Server
from pinnace.host.registry.tokens import TokenStore, basic_authorization
from pinnace.host.registry.transport import Request, Transport, is_success
from pinnace.oci.registry_address import registry_domain

SUCCEEDED = "Login Succeeded"


async def log_in(
    registry: str,
    credentials: Credentials,
    *,
    endpoints: Endpoints,
    transport: Transport,
    tokens: TokenStore,
) -> Login:
    """Check credentials at a registry.

    Args:
        registry: Host with optional port, or a URL of which only that counts; "": the default.
        credentials: Password or identity token.
        endpoints: Knows where the registry is.
        transport: Sends.
        tokens: Asks for tokens; those of a login are not kept.

    Raises:
        InvalidParameter: `registry` is no address.
        RegistryUnauthorized: The credentials are refused.
        ConnectionFailed: The registry cannot be reached.
    """
    host = registry_domain(registry)
    found = await endpoints.of(host, push=True)
    for endpoint in found:
        server = Server(endpoint, credentials, transport=transport, tokens=tokens)
        try:
            await server.greet()
        except ConnectionFailed:
            if endpoint is found[-1]:
                raise
            continue
        return await _prove(server.authorizer.challenges, endpoint, credentials, transport, tokens)
    raise InvalidParameter(f"unable to parse server address: {registry}")


async def _prove(
    challenges: Sequence[Challenge],
    endpoint: Endpoint,
    credentials: Credentials,
    transport: Transport,
    tokens: TokenStore,
) -> Login:
    schemes = {challenge.scheme: challenge for challenge in challenges}
    url = f"{endpoint.url}/v2/"
    kept = ""
    if "bearer" in schemes:
        authorizer = Authorizer(endpoint, credentials, tokens)
        try:
            ask = authorizer.ask_of(schemes["bearer"], ())
            token = await tokens.fetch(ask, endpoint, offline=True)
        except RegistryUnauthorized as exc:
            raise RegistryUnauthorized(f'Get "{url}": {exc.message}') from exc
        header = f"Bearer {token.value}"
        kept = token.refresh_token or credentials.identity_token
    elif "basic" in schemes:
        if not credentials.username:
            raise RegistryUnauthorized(f'Get "{url}": {NO_BASIC_CREDENTIALS}')
        header = basic_authorization(credentials)
    else:
        return Login(SUCCEEDED)
    await _check(url, header, endpoint, transport)
    return Login(SUCCEEDED, kept)


async def _check(url: str, header: str, endpoint: Endpoint, transport: Transport) -> None:
    request = Request(
        "GET",
        url,
        owner=endpoint.host,
        headers={"Authorization": header},
        verify=endpoint.verify,
        follow=False,
    )
    async with await transport.send(request) as response:
        if not is_success(response.status):
            raise RegistryUnauthorized(
                f"login attempt to {url} failed with status: {status_text(response.status)}"
            )
