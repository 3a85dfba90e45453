"""Manifests and tags of one repository at one server."""

import re
from collections.abc import Sequence

import msgspec

from pinnace.contracts.registry import FetchedManifest
from pinnace.errors import InvalidParameter, RegistryUnavailable
from pinnace.host.registry.failures import Subject
from pinnace.host.registry.server import Ask, Server, failed
from pinnace.host.registry.transport import Origin, Response, is_success, joined
from pinnace.oci.descriptor import INDEX_TYPES, MANIFEST_TYPES, Descriptor
from pinnace.oci.digest import Digest, digest_of, parse_digest
from pinnace.oci.manifest import MAX_DOCUMENT_BYTES

# Signed manifests of schema 1 are asked for so that they can be refused by their name.
SCHEMA1_TYPES = frozenset(
    (
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
    )
)
ACCEPT = ", ".join((*sorted(MANIFEST_TYPES), *sorted(INDEX_TYPES), *sorted(SCHEMA1_TYPES)))
_KNOWN_TYPES = MANIFEST_TYPES | INDEX_TYPES | SCHEMA1_TYPES
_PAGE = 1000
_MAX_PAGES = 1000
_MAX_TAGS_BODY = 4 << 20
_NEXT = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


class _TagsBody(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class Manifests:
    """Asks one server about one repository.

    Args:
        server: Whom.
        path: Of the repository at the registry.
        scopes: What tokens must allow.
        name: As messages name the repository.
        push: Whether something is to be changed.
    """

    def __init__(
        self, server: Server, path: str, scopes: tuple[str, ...], *, name: str, push: bool
    ) -> None:
        self._server = server
        self._path = path
        self._scopes = scopes
        self._name = name
        self._push = push

    async def head(self, reference: str) -> Descriptor | None:
        """Return what a tag or digest names; None when the server does not tell all of it.

        Raises:
            PinnaceError: It has none, or refuses.
        """
        async with await self._server.open(self._ask("HEAD", reference)) as response:
            if not is_success(response.status):
                # The answer to HEAD has no words: GET asks for them.
                if response.status in (400, 401, 403, 404, 405, 501):
                    return None
                raise await failed(response, self._subject(reference))
            length = response.headers.get("Content-Length", "")
            stated = response.headers.get("Docker-Content-Digest", "")
            if not length.isdigit() or not stated or not response.headers.get("Content-Type"):
                return None
            media_type = _media_type(response)
        digest = parse_digest(stated)
        _check_asked(reference, digest)
        if int(length) > MAX_DOCUMENT_BYTES:
            raise InvalidParameter(f"manifest is larger than {MAX_DOCUMENT_BYTES} bytes")
        return Descriptor(media_type=media_type, digest=digest, size=int(length))

    async def get(self, reference: str) -> FetchedManifest:
        """Return a manifest or index; its digest is checked.

        Raises:
            PinnaceError: There is none, or it is not what its digest says.
        """
        async with await self._server.open(self._ask("GET", reference)) as response:
            if not is_success(response.status):
                raise await failed(response, self._subject(reference))
            content = await response.read(MAX_DOCUMENT_BYTES)
            media_type = _media_type(response)
            stated = response.headers.get("Docker-Content-Digest", "")
        wanted = parse_digest(reference) if ":" in reference else None
        digest = digest_of(content, wanted or (parse_digest(stated) if stated else None))
        for expected in (wanted, stated):
            if expected and digest_of(content, parse_digest(expected)) != expected:
                raise InvalidParameter(f"manifest verification failed for digest {expected}")
        descriptor = Descriptor(media_type=media_type, digest=digest, size=len(content))
        return FetchedManifest(content, descriptor)

    async def put(self, content: bytes, media_type: str, reference: str) -> Digest:
        """Store a manifest under a tag or its digest.

        Raises:
            PinnaceError: The registry refuses it, or says it took another.
        """
        ask = Ask(
            "PUT",
            f"/v2/{self._path}/manifests/{reference}",
            self._scopes,
            headers={"Content-Type": media_type},
            body=content,
            follow=False,
            patient=True,
        )
        digest = digest_of(content, parse_digest(reference) if ":" in reference else None)
        async with await self._server.open(ask) as response:
            if not is_success(response.status):
                raise await failed(response, self._subject(reference))
            stated = response.headers.get("Docker-Content-Digest", "")
        if stated and digest_of(content, parse_digest(stated)) != stated:
            raise InvalidParameter(f"the registry stored {stated} instead of {digest}")
        return digest

    async def tags(self) -> Sequence[str]:
        """Return all tags.

        Raises:
            PinnaceError: No such repository; or the pages lead elsewhere or do not end.
        """
        found: dict[str, None] = {}
        path = f"/v2/{self._path}/tags/list?n={_PAGE}"
        for _ in range(_MAX_PAGES):
            page, following = await self._tags_page(path)
            known = len(found)
            found.update(dict.fromkeys(page))
            if not following:
                return list(found)
            if len(found) == known:
                break
            path = following
        raise RegistryUnavailable(f"the tags of {self._name} do not end")

    async def _tags_page(self, path: str) -> tuple[Sequence[str], str]:
        async with await self._server.open(Ask("GET", path, self._scopes)) as response:
            if not is_success(response.status):
                raise await failed(response, self._subject(""))
            body = await response.read(_MAX_TAGS_BODY)
            link = response.headers.get("Link", "")
        try:
            tags = msgspec.json.decode(body, type=_TagsBody).tags or []
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidParameter(f"invalid list of tags: {exc}") from exc
        return tags, self._next_page(path, link)

    def _next_page(self, path: str, link: str) -> str:
        """Return the URL of the next page, "" for none; it must be at the same server."""
        match = _NEXT.search(link)
        if not match:
            return ""
        here = self._server.url_of(path)
        following = joined(here, str(match[1]))
        if Origin.of(following) != Origin.of(here):
            raise InvalidParameter("the list of tags continues at another server")
        return following

    def _ask(self, method: str, reference: str) -> Ask:
        path = f"/v2/{self._path}/manifests/{reference}"
        return Ask(method, path, self._scopes, headers={"Accept": ACCEPT})

    def _subject(self, reference: str) -> Subject:
        separator = "@" if ":" in reference else ":"
        full = f"{self._name}{separator}{reference}" if reference else ""
        return Subject(self._name, full, push=self._push)


def _media_type(response: Response) -> str:
    stated = response.headers.get("Content-Type", "")
    media_type = stated.partition(";")[0].strip().lower()
    if media_type not in _KNOWN_TYPES:
        raise InvalidParameter(
            f"unsupported manifest media type and no default available: {media_type[:128]}"
        )
    return media_type


def _check_asked(reference: str, digest: Digest) -> None:
    if ":" in reference and reference != digest:
        raise InvalidParameter(f"manifest verification failed for digest {reference}")
