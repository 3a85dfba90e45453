"""Search of repositories by the first registry API: `GET /v1/search?q=…&n=…`."""

from collections.abc import Sequence
from urllib.parse import urlencode

import msgspec

from pinnace.contracts.registry import Credentials, SearchHit
from pinnace.errors import InvalidParameter, RegistryUnavailable
from pinnace.host.registry.endpoints import Endpoint, Endpoints
from pinnace.host.registry.failures import ConnectionFailed, one_line
from pinnace.host.registry.tokens import basic_authorization
from pinnace.host.registry.transport import Request, Transport
from pinnace.oci.reference import DEFAULT_DOMAIN

_MAX_BODY = 8 << 20
_DEFAULT_NAMES = ("index.docker.io", DEFAULT_DOMAIN)


class _Result(msgspec.Struct, frozen=True):
    name: str = ""
    description: str | None = None
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False
    is_trusted: bool = False


class _Results(msgspec.Struct, frozen=True):
    results: list[_Result] | None = None


async def search(
    term: str,
    limit: int,
    credentials: Credentials,
    *,
    endpoints: Endpoints,
    transport: Transport,
) -> Sequence[SearchHit]:
    """Search the registry that `term` begins with, or the default index.

    Raises:
        InvalidParameter: The term has a scheme.
        RegistryUnavailable: The index cannot be reached, or does not answer 200.
    """
    domain, rest = split_term(term)
    found = await endpoints.index(domain)
    failures: list[ConnectionFailed] = []
    for endpoint in found:
        try:
            return await _ask(endpoint, rest, limit, credentials, transport)
        except ConnectionFailed as exc:
            failures.append(exc)
    raise RegistryUnavailable(_unreachable(domain, failures)) from failures[-1]


def split_term(term: str) -> tuple[str, str]:
    """Return the registry to search and what to search for.

    Raises:
        InvalidParameter: The term has a scheme.
    """
    if "://" in term:
        raise InvalidParameter('Invalid repository name (ex: "registry.domain.tld/myrepos")')
    first, slash, rest = term.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    if not is_host:
        return DEFAULT_DOMAIN, term.removeprefix("library/")
    if first in _DEFAULT_NAMES:
        return DEFAULT_DOMAIN, rest.removeprefix("library/")
    return first, rest


async def _ask(
    endpoint: Endpoint, term: str, limit: int, credentials: Credentials, transport: Transport
) -> Sequence[SearchHit]:
    headers = {}
    if credentials.username and credentials.password:
        headers["Authorization"] = basic_authorization(credentials)
    request = Request(
        "GET",
        f"{endpoint.url}/v1/search?{urlencode({'q': term, 'n': limit})}",
        owner=endpoint.host,
        headers=headers,
        verify=endpoint.verify,
    )
    async with await transport.send(request) as response:
        if response.status != 200:
            raise RegistryUnavailable(f"Unexpected status code {response.status}")
        body = await response.read(_MAX_BODY)
    try:
        results = msgspec.json.decode(body, type=_Results, strict=False).results or []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise RegistryUnavailable(f"invalid answer of the index: {one_line(str(exc))}") from exc
    return [_hit(result) for result in results[:limit]]


def _hit(result: _Result) -> SearchHit:
    return SearchHit(
        name=result.name,
        description=result.description or "",
        star_count=result.star_count,
        is_official=result.is_official,
        is_automated=result.is_automated or result.is_trusted,
    )


def _unreachable(domain: str, failures: Sequence[ConnectionFailed]) -> str:
    if domain == DEFAULT_DOMAIN:
        return failures[-1].message
    if len(failures) > 1:
        return (
            f'invalid registry endpoint "http://{domain}/v1/". HTTPS attempt:'
            f" {failures[0].message}. HTTP attempt: {failures[-1].message}"
        )
    return (
        f"invalid registry endpoint https://{domain}/v1/: {failures[0].message}. If this private"
        " registry supports only HTTP or HTTPS with an unknown CA certificate, please add"
        f" `--insecure-registry {domain}` to the daemon's arguments. In the case of HTTPS, if you"
        " have access to the registry's CA certificate, no need for the flag; simply place the CA"
        f" certificate at /etc/docker/certs.d/{domain}/ca.crt"
    )
