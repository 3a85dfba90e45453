"""One repository of one registry: implements `contracts.registry.Repository`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from pinnace.contracts.registry import FetchedManifest
from pinnace.errors import InvalidParameter, PinnaceError, RegistryUnavailable
from pinnace.host.registry.download import BlobReader
from pinnace.host.registry.failures import Subject
from pinnace.host.registry.manifests import Manifests
from pinnace.host.registry.retries import Patience, retrying
from pinnace.host.registry.server import Ask, Server, failed
from pinnace.host.registry.transport import is_success
from pinnace.host.registry.upload import BlobUpload, Content, Sent
from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import Digest, parse_digest
from pinnace.oci.reference import Reference, check_tag, parse_repository

T = TypeVar("T")

FindServers = Callable[[], Awaitable[Sequence[Server]]]


class HttpRepository:
    """See `contracts.registry.Repository`.

    Servers are asked in order: mirrors once each, and the way that answered first from then on.

    Args:
        reference: Its name.
        find_servers: Returns the servers that may have it, best first.
        patience: How many tries in a row may fail.
        push: Whether something is to be changed.
    """

    def __init__(
        self, reference: Reference, find_servers: FindServers, *, patience: Patience, push: bool
    ) -> None:
        self.name = reference.name
        self._path = reference.path
        self._find_servers = find_servers
        self._patience = patience
        self._subject = Subject(reference.familiar_name, push=push)
        self._scopes = (f"repository:{reference.path}:{'pull,push' if push else 'pull'}",)
        self._servers: Sequence[Server] = ()

    async def resolve(self, reference: str) -> Descriptor:
        """See the contract."""
        _check_reference(reference)

        async def ask(server: Server) -> Descriptor:
            manifests = self._manifests(server)
            found = await manifests.head(reference)
            return found or (await manifests.get(reference)).descriptor

        return await self._first(ask)

    async def manifest(self, reference: str) -> FetchedManifest:
        """See the contract."""
        _check_reference(reference)
        return await self._first(lambda server: self._manifests(server).get(reference))

    async def blob(self, descriptor: Descriptor, *, offset: int = 0) -> AsyncIterator[bytes]:
        """See the contract."""
        descriptor.check()
        reader = BlobReader(
            descriptor, self._path, self._scopes, subject=self._subject, offset=offset
        )
        servers = await self._known_servers()
        for server in servers:
            last = server is servers[-1] or not server.endpoint.mirror
            try:
                await self._greet(server)
                async with aclosing(
                    reader.read(server, self._patience if last else self._patience.once())
                ) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except PinnaceError:
                if (server.greeted and last) or server is servers[-1]:
                    raise
                continue
            return

    async def has_blob(self, digest: Digest) -> bool:
        """See the contract."""
        path = f"/v2/{self._path}/blobs/{parse_digest(digest)}"

        async def ask(server: Server) -> bool:
            async with await server.open(Ask("HEAD", path, self._scopes)) as response:
                if response.status == 404:
                    return False
                if not is_success(response.status):
                    raise await failed(response, self._subject)
            return True

        return await self._first(ask)

    async def mount_blob(self, digest: Digest, source: str) -> bool:
        """See the contract; `source` may begin with the registry."""
        origin = source.removeprefix(self.name.removesuffix(self._path))
        scopes = (*self._scopes, f"repository:{origin}:pull")

        async def ask(server: Server) -> bool:
            upload = BlobUpload(server, self._path, scopes, subject=self._subject)
            return await upload.mount(parse_digest(digest), origin)

        return await self._first(ask)

    async def upload_blob(
        self, descriptor: Descriptor, content: Content, *, sent: Sent | None = None
    ) -> None:
        """See the contract."""
        descriptor.check()
        server = await self._target()
        upload = BlobUpload(server, self._path, self._scopes, subject=self._subject)
        await upload.run(descriptor, content, self._patience, sent)

    async def put_manifest(self, content: bytes, media_type: str, reference: str) -> Digest:
        """See the contract."""
        _check_reference(reference)
        server = await self._target()
        return await retrying(
            self._patience,
            lambda: self._manifests(server).put(content, media_type, reference),
        )

    async def tags(self) -> Sequence[str]:
        """See the contract."""
        return await self._first(lambda server: self._manifests(server).tags())

    def _manifests(self, server: Server) -> Manifests:
        return Manifests(
            server, self._path, self._scopes, name=self._subject.name, push=self._subject.push
        )

    async def _first(self, operation: Callable[[Server], Awaitable[T]]) -> T:
        """Return the result of the first server that has one."""
        servers = await self._known_servers()
        for server in servers:
            final = server is servers[-1]
            try:
                await self._greet(server)
                patience = self._patience.once() if server.endpoint.mirror else self._patience
                return await retrying(patience, lambda: operation(server))  # noqa: B023  awaited here
            except PinnaceError:
                if final or (server.greeted and not server.endpoint.mirror):
                    raise
        raise RegistryUnavailable(f"no server to ask for {self.name}")

    async def _target(self) -> Server:
        """Return the server that takes what is pushed."""

        async def itself(server: Server) -> Server:
            return server

        return await self._first(itself)

    async def _known_servers(self) -> Sequence[Server]:
        if not self._servers:
            self._servers = await self._find_servers()
        return self._servers

    async def _greet(self, server: Server) -> None:
        """Greet a server; when it answers, other ways to the same host are forgotten."""
        if server.greeted:
            return
        await server.greet()
        host = server.endpoint.host
        self._servers = [
            other for other in self._servers if other is server or other.endpoint.host != host
        ]


def _check_reference(reference: str) -> None:
    """Check that a tag or digest is one: it becomes part of a URL.

    Raises:
        InvalidParameter: It is neither.
    """
    if ":" in reference:
        parse_digest(reference)
    else:
        check_tag(reference)


def repository_reference(name: str) -> Reference:
    """Return the name of a repository, parsed.

    Raises:
        InvalidParameter: No such name can be.
    """
    reference = parse_repository(name)
    if not reference.path:
        raise InvalidParameter("invalid reference format")
    return reference
