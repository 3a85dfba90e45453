"""Handlers of the calls about registries: logins, search, what a repository holds."""

from msgspec.structs import replace

from pinnace.api.call import Answer, Call
from pinnace.api.credentials import AUTH_HEADER, AuthConfig, header_credentials
from pinnace.contracts.logins import StoredLogin
from pinnace.contracts.registry import Credentials, Login, SearchHit
from pinnace.engine.filters import parse_filters
from pinnace.oci.registry_address import registry_domain
from pinnace.wire.registries import AuthResponse, SearchResult

_DEPRECATED = (("Deprecation", "true"),)


async def login(call: Call) -> Answer:
    """`POST /auth`: check a login, and keep it for clients that cannot."""
    given = await call.decode(AuthConfig)
    if not call.behaviour.kept_login:
        answer = await call.engine.registries.login(given.serveraddress, given.credentials())
        return Answer(_response(answer))
    kept = StoredLogin(
        registry=registry_domain(given.serveraddress),
        username=given.username,
        password=given.password,
        email=given.email,
    )
    keeping = call.engine.registries.login_and_keep(given.serveraddress, kept)
    return Answer(_response(await call.mutate(keeping, "keep a login")))


async def kept_login(call: Call) -> Answer:
    """`GET /auth`: the login that is kept, without its password."""
    kept = await call.engine.registries.kept_login()
    body = {"username": kept.username, "email": kept.email}
    if call.behaviour.kept_login:
        return Answer({**body, "password": ""})
    return Answer(body, headers=_DEPRECATED)


async def search(call: Call) -> Answer:
    """`GET /images/search`."""
    query = call.query
    hits = await call.engine.registries.search(
        query.text("term"),
        parse_filters(query.optional("filters")),
        limit=query.integer("limit", 0),
        credentials=sent_credentials(call),
        automated=call.behaviour.automated_builds,
    )
    results = [_result(hit) for hit in hits]
    if not call.behaviour.automated_builds:
        results = [replace(result, is_automated=False) for result in results]
    return Answer(results)


async def distribution(call: Call) -> Answer:
    """`GET /distribution/{name}/json`."""
    credentials = sent_credentials(call)
    return Answer(await call.engine.registries.distribution(call.name, credentials))


def sent_credentials(call: Call) -> Credentials:
    """Return the credentials in the request's head."""
    return header_credentials(call.exchange.request.headers.get(AUTH_HEADER))


async def credentials_for(call: Call, name: str) -> Credentials:
    """Return the credentials for the registry of an image: those sent, or the login kept.

    Args:
        call: The request.
        name: Reference of the image; a login that is kept is for one registry only.
    """
    if call.behaviour.kept_login:
        return await call.engine.registries.kept_credentials(name)
    return sent_credentials(call)


def _response(answer: Login) -> AuthResponse:
    return AuthResponse(identity_token=answer.identity_token, status=answer.status)


def _result(hit: SearchHit) -> SearchResult:
    return SearchResult(
        star_count=hit.star_count,
        is_official=hit.is_official,
        name=hit.name,
        is_automated=hit.is_automated,
        description=hit.description,
    )
