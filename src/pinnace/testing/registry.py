"""Registries in memory."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pinnace.contracts.registry import (
    ANONYMOUS,
    Credentials,
    FetchedManifest,
    Login,
    SearchHit,
)
from pinnace.errors import InvalidParameter, NotFound
from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import Digest, sha256_digest
from pinnace.oci.reference import parse_repository

_CHUNK = 1 << 16


@dataclass(slots=True)
class Shelf:
    """What one repository holds."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, FetchedManifest] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)

    def put_manifest(self, content: bytes, media_type: str, reference: str) -> Digest:
        """Store a manifest under its digest and, unless `reference` is one, a tag."""
        digest = sha256_digest(content)
        descriptor = Descriptor(media_type=media_type, digest=digest, size=len(content))
        self.manifests[digest] = FetchedManifest(content, descriptor)
        if ":" not in reference:
            self.tags[reference] = digest
        return digest

    def put_blob(self, content: bytes) -> Digest:
        """Store a blob."""
        digest = sha256_digest(content)
        self.blobs[digest] = content
        return digest


class FakeRegistries:
    """Implements `contracts.registry.Registries`.

    Attributes:
        shelves: Content by full repository name; repositories come into being when named.
        asked: Every call as (method, repository, what), in order.
        credentials: Those that each opening was given.
        hits: Answer of `search`.
        may_mount: Whether blobs may be taken over from other repositories.
        gate: While clear, every transfer of a blob waits.
    """

    def __init__(self) -> None:
        self.shelves: dict[str, Shelf] = defaultdict(Shelf)
        self.asked: list[tuple[str, str, str]] = []
        self.credentials: list[Credentials] = []
        self.hits: list[SearchHit] = []
        self.may_mount = True
        self.gate = asyncio.Event()
        self.gate.set()
        self._failures: dict[str, list[Exception]] = defaultdict(list)

    def fail_next(self, method: str, *errors: Exception) -> None:
        """Let the next calls of `method` raise `errors`, one each."""
        self._failures[method] += errors

    def count(self, method: str) -> int:
        """Return how often a method was called."""
        return sum(called == method for called, _, _ in self.asked)

    @asynccontextmanager
    async def repository(
        self, name: str, credentials: Credentials = ANONYMOUS, *, push: bool = False
    ) -> AsyncGenerator["FakeRepository", None]:
        """See the contract."""
        reference = parse_repository(name)
        self.note("repository", name, "push" if push else "pull")
        self.credentials.append(credentials)
        yield FakeRepository(self, reference.name)

    async def login(self, registry: str, credentials: Credentials) -> Login:
        """See the contract."""
        self.note("login", registry, credentials.username)
        return Login("Login Succeeded")

    async def search(
        self, term: str, *, limit: int, credentials: Credentials = ANONYMOUS
    ) -> Sequence[SearchHit]:
        """See the contract."""
        self.note("search", term, str(limit))
        self.credentials.append(credentials)
        return self.hits[:limit]

    def allows_plain_http(self, registry: str) -> bool:
        """See the contract."""
        return registry.startswith(("localhost", "127."))

    async def close(self) -> None:
        """See the contract."""

    def note(self, method: str, name: str, what: str) -> None:
        """Remember a call and fail if it shall."""
        self.asked.append((method, name, what))
        if self._failures[method]:
            raise self._failures[method].pop(0)


class FakeRepository:
    """Implements `contracts.registry.Repository`."""

    def __init__(self, registries: FakeRegistries, name: str) -> None:
        self.name = name
        self._registries = registries
        self._shelf = registries.shelves[name]

    async def resolve(self, reference: str) -> Descriptor:
        """See the contract."""
        self._registries.note("resolve", self.name, reference)
        return self._found(reference).descriptor

    async def manifest(self, reference: str) -> FetchedManifest:
        """See the contract."""
        self._registries.note("manifest", self.name, reference)
        return self._found(reference)

    async def blob(self, descriptor: Descriptor, *, offset: int = 0) -> AsyncIterator[bytes]:
        """See the contract."""
        self._registries.note("blob", self.name, descriptor.digest)
        content = self._shelf.blobs.get(descriptor.digest)
        if content is None:
            raise NotFound("blob unknown to registry")
        for start in range(offset, len(content), _CHUNK):
            await self._registries.gate.wait()
            yield content[start : start + _CHUNK]

    async def has_blob(self, digest: Digest) -> bool:
        """See the contract."""
        self._registries.note("has_blob", self.name, digest)
        return digest in self._shelf.blobs

    async def mount_blob(self, digest: Digest, source: str) -> bool:
        """See the contract."""
        self._registries.note("mount_blob", self.name, source)
        content = self._registries.shelves[source].blobs.get(digest)
        if content is None or not self._registries.may_mount:
            return False
        self._shelf.blobs[digest] = content
        return True

    async def upload_blob(
        self,
        descriptor: Descriptor,
        content: Callable[[int], AsyncIterator[bytes]],
        *,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """See the contract."""
        self._registries.note("upload_blob", self.name, descriptor.digest)
        received = bytearray()
        async for chunk in content(0):
            await self._registries.gate.wait()
            received += chunk
            if sent is not None:
                sent(len(received))
        if sha256_digest(bytes(received)) != descriptor.digest:
            raise InvalidParameter("provided digest did not match uploaded content")
        self._shelf.blobs[descriptor.digest] = bytes(received)

    async def put_manifest(self, content: bytes, media_type: str, reference: str) -> Digest:
        """See the contract."""
        self._registries.note("put_manifest", self.name, reference)
        return self._shelf.put_manifest(content, media_type, reference)

    async def tags(self) -> Sequence[str]:
        """See the contract."""
        self._registries.note("tags", self.name, "")
        return sorted(self._shelf.tags)

    def _found(self, reference: str) -> FetchedManifest:
        digest = Digest(reference) if ":" in reference else self._shelf.tags.get(reference)
        found = self._shelf.manifests.get(digest) if digest else None
        if found is None:
            raise NotFound(
                f"manifest for {parse_repository(self.name).familiar_name}:{reference} not found:"
                " manifest unknown: manifest unknown"
            )
        return found
