"""Registries: what the engine asks of servers that speak distribution-v2.

Source of the protocol: OCI distribution-spec 1.1 and the Docker registry HTTP API v2.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks; nothing secret shows in its `repr`.

    Attributes:
        username: "" with a token.
        password: Of `username`.
        identity_token: OAuth2 refresh token, exchanged for access tokens.
        registry_token: Bearer token, sent as it is.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


ANONYMOUS = Credentials()


@dataclass(frozen=True, slots=True)
class Login:
    """A login that succeeded: Docker's status text, and a token to keep instead of a password."""

    status: str
    identity_token: str = ""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One repository that a search found, as the v1 search of the public index answers."""

    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """A manifest or index; `content` has the digest and the size of `descriptor`."""

    content: bytes
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """How many layers all pulls, and all pushes, transfer at a time; 0: any number."""

    downloads: int = 3
    uploads: int = 5


class Repository(Protocol):
    """One repository of one registry, for the time of one transfer.

    Every method retries what may pass (5xx, 429 with Retry-After, broken connections) with
    back-off, renews expired tokens, and raises:

        Unauthorized: The registry refuses the credentials, or wants some.
        NotFound: No such repository, manifest or blob; Docker's words.
        TooManyRequests: 429 until the retries were used up.
        Unavailable: The registry cannot be reached, or keeps failing.
        InvalidParameter: What came is not what its digest, size or type says.
    """

    name: str  # "registry.example/team/app", as messages and push sources name it

    async def resolve(self, reference: str) -> Descriptor:
        """Return what a tag or digest names, without its content if the registry can (HEAD)."""
        ...

    async def manifest(self, reference: str) -> FetchedManifest:
        """Return a manifest or index by tag or digest; its digest and size are checked."""
        ...

    def blob(self, descriptor: Descriptor, *, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield a blob from `offset` on, to exactly its size.

        A broken connection is taken up again where it broke (Range); a server without ranges is
        read again from the start, what was yielded already being skipped. The digest is the
        caller's to check: it hashes anyway.
        """
        ...

    async def has_blob(self, digest: Digest) -> bool:
        """Whether the repository holds the blob (HEAD)."""
        ...

    async def mount_blob(self, digest: Digest, source: str) -> bool:
        """Take a blob over from the repository `source` of the same registry, if it lets us."""
        ...

    async def upload_blob(
        self,
        descriptor: Descriptor,
        content: Callable[[int], AsyncIterator[bytes]],
        *,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Upload a blob in chunks, taken up again after a break.

        Args:
            descriptor: Digest and size of it.
            content: Returns the bytes from an offset on.
            sent: Told how many bytes the registry has.
        """
        ...

    async def put_manifest(self, content: bytes, media_type: str, reference: str) -> Digest:
        """Store a manifest under a tag or its digest; return its digest."""
        ...

    async def tags(self) -> Sequence[str]:
        """Return all tags, page by page behind the scenes."""
        ...


class Registries(Protocol):
    """All registries there are; mirrors, TLS, proxies and limits are its configuration."""

    def repository(
        self, name: str, credentials: Credentials = ANONYMOUS, *, push: bool = False
    ) -> AbstractAsyncContextManager[Repository]:
        """Open a repository by its full name (`docker.io/library/busybox`).

        Pulls ask the configured mirrors first. Opening talks to nobody yet.

        Raises:
            InvalidParameter: No such name can be.
        """
        ...

    async def login(self, registry: str, credentials: Credentials) -> Login:
        """Check credentials at a registry ("" is the default one).

        Raises:
            Unauthorized: They are refused; Docker's words.
            Unavailable: The registry cannot be reached.
        """
        ...

    async def search(
        self, term: str, *, limit: int, credentials: Credentials = ANONYMOUS
    ) -> Sequence[SearchHit]:
        """Search the registry that `term` begins with, or the default index (v1 search)."""
        ...

    def allows_plain_http(self, registry: str) -> bool:
        """Whether the registry is loopback or configured as insecure."""
        ...

    async def close(self) -> None:
        """Close idle connections."""
        ...
