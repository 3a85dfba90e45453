"""Registries as the API shows them: logins, search, what a repository holds."""

import re
from collections.abc import Sequence
from dataclasses import replace

from pinnace.contracts.logins import LoginStore, StoredLogin
from pinnace.contracts.registry import (
    ANONYMOUS,
    Credentials,
    Login,
    Registries,
    Repository,
    SearchHit,
)
from pinnace.engine.filters import Filters
from pinnace.engine.images.parts import Offload
from pinnace.errors import (
    InvalidParameter,
    RegistryNotFound,
    RegistryUnauthorized,
    Unauthorized,
)
from pinnace.model.distribution import Distribution, DistributionDescriptor
from pinnace.oci.descriptor import CONFIG_TYPES, INDEX_TYPES, DescriptorPlatform, verify
from pinnace.oci.manifest import (
    MAX_DOCUMENT_BYTES,
    parse_image_document,
    parse_index,
    parse_manifest,
)
from pinnace.oci.reference import DEFAULT_DOMAIN, parse_reference

SEARCH_FILTERS = frozenset(("is-automated", "is-official", "stars"))
_DEFAULT_LIMIT, _MAX_LIMIT = 25, 100
_IMAGE_ID = re.compile(r"[a-f0-9]{64}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


class RegistryService:
    """What the API's calls about registries do. One instance per daemon.

    Args:
        registries: All registries.
        logins: Keeps the login of 2013's clients.
        offload: Runs short blocking work.
    """

    def __init__(self, registries: Registries, logins: LoginStore, offload: Offload) -> None:
        self._registries = registries
        self._logins = logins
        self._offload = offload

    async def login(self, registry: str, credentials: Credentials) -> Login:
        """Check credentials at a registry; nothing is kept.

        Args:
            registry: Address of any form; "": the default one.
            credentials: A password or an identity token.

        Raises:
            Unauthorized: They are refused.
            InvalidParameter: The address is none.
            RegistryUnavailable: The registry cannot be reached.
        """
        try:
            return await self._registries.login(registry, credentials)
        except RegistryUnauthorized as exc:
            raise Unauthorized(exc.message) from exc

    async def login_and_keep(self, registry: str, login: StoredLogin) -> Login:
        """Check a login and keep it for later pulls and pushes of clients that cannot.

        A blank password with the name that is kept stands for the password that is kept: such
        clients never get to see it. What is refused leaves the login before as it was.

        Args:
            registry: Address of any form; "": the default one.
            login: Whose `registry` is the domain that it will be used for.

        Raises:
            PinnaceError: See `login`; or it cannot be kept.
        """
        kept = await self._offload(self._logins.load)
        if kept is not None and not login.password and kept.username == login.username:
            login = replace(login, password=kept.password)
        answer = await self.login(registry, Credentials(login.username, login.password))
        await self._offload(lambda: self._logins.save(login))
        return answer

    async def kept_login(self) -> StoredLogin:
        """Return the login that is kept; an empty one when there is none."""
        return await self._offload(self._logins.load) or StoredLogin(DEFAULT_DOMAIN, "", "")

    async def kept_credentials(self, name: str) -> Credentials:
        """Return the credentials of the login that is kept, for the registry of an image only.

        Args:
            name: Reference of the image; what is none gets none.
        """
        try:
            domain = parse_reference(name).domain
        except InvalidParameter:
            return ANONYMOUS
        kept = await self.kept_login()
        if not kept.username or kept.registry != domain:
            return ANONYMOUS
        return Credentials(kept.username, kept.password)

    async def search(
        self,
        term: str,
        filters: Filters,
        *,
        limit: int,
        credentials: Credentials = ANONYMOUS,
        automated: bool = False,
    ) -> Sequence[SearchHit]:
        """Return what a registry's search finds, as far as it passes the filters.

        Args:
            term: May begin with a registry.
            filters: `is-official`, `is-automated`, `stars` (at least so many).
            limit: 1 to 100; 0: 25.
            credentials: For the registry.
            automated: Whether `is-automated` counts; today's clients cannot rely on it.

        Raises:
            InvalidParameter: An unknown or malformed filter, a limit out of range.
            RegistryUnavailable: The registry cannot be reached, or has no search.
        """
        limit = limit or _DEFAULT_LIMIT
        filters.validate(SEARCH_FILTERS)
        if not 1 <= limit <= _MAX_LIMIT:
            raise InvalidParameter(f"Limit {limit} is outside the range of [1, {_MAX_LIMIT}]")
        official = _wanted(filters, "is-official")
        built = _wanted(filters, "is-automated")
        stars = max((_stars(value) for value in filters.get("stars")), default=0)
        hits = await self._registries.search(term, limit=limit, credentials=credentials)
        return [
            hit
            for hit in hits
            if hit.star_count >= stars
            and official in (None, hit.is_official)
            and (not automated or built in (None, hit.is_automated))
        ]

    async def distribution(self, ref: str, credentials: Credentials = ANONYMOUS) -> Distribution:
        """Return what a registry has under a reference, and for which platforms.

        Raises:
            InvalidParameter: No reference; or the registry sends something else.
            NotFound: The registry has no such thing.
            Unauthorized: The registry refuses the credentials, or wants some.
            RegistryUnavailable: The registry cannot be reached.
        """
        if _IMAGE_ID.fullmatch(ref):
            raise InvalidParameter("no manifest found for full image ID")
        reference = parse_reference(ref).tagged()
        wanted = str(reference.digest or reference.tag)
        try:
            async with self._registries.repository(reference.name, credentials) as repository:
                return await _inspect(repository, wanted)
        except RegistryUnauthorized as exc:
            raise Unauthorized(exc.message) from exc
        except RegistryNotFound as exc:
            raise RegistryNotFound(exc.detail or exc.message, detail=exc.detail) from exc

    async def close(self) -> None:
        """Close idle connections."""
        await self._registries.close()


async def _inspect(repository: Repository, wanted: str) -> Distribution:
    if ":" not in wanted:  # asking for a tag's digest counts for no registry's pull limit
        wanted = (await repository.resolve(wanted)).digest
    fetched = await repository.manifest(wanted)
    descriptor, content = fetched.descriptor, fetched.content
    platforms: list[DescriptorPlatform] = []
    if descriptor.media_type in INDEX_TYPES:
        index = parse_index(content, descriptor.media_type)
        platforms = [entry.platform or DescriptorPlatform() for entry in index.manifests]
    else:
        config = parse_manifest(content, descriptor.media_type).config
        if config.media_type in CONFIG_TYPES:
            if config.size > MAX_DOCUMENT_BYTES:
                raise InvalidParameter(f"image config is larger than {MAX_DOCUMENT_BYTES} bytes")
            document = b"".join([chunk async for chunk in repository.blob(config)])
            platforms = [_platform(verify(document, config))]
    return Distribution(
        descriptor=DistributionDescriptor(
            media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
        ),
        platforms=platforms,
    )


def _platform(document: bytes) -> DescriptorPlatform:
    image = parse_image_document(document)
    return DescriptorPlatform(
        architecture=image.architecture,
        os=image.os,
        os_version=image.os_version or "",
        variant=image.variant or "",
    )


def _wanted(filters: Filters, key: str) -> bool | None:
    return filters.get_bool(key, default=False) if key in filters else None


def _stars(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise InvalidParameter(f"invalid filter 'stars={text}'")
    return int(text)
