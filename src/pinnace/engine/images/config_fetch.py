"""Image configs of registries: fetched once for all pulls that need one at the same time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pinnace.contracts.registry import Repository
from pinnace.engine.images.bridge import Progress
from pinnace.engine.images.shared import Audience, SharedWork
from pinnace.oci.descriptor import Descriptor, verify
from pinnace.oci.digest import Digest


class ConfigFetcher:
    """Holds the configs of images that are being pulled. One per daemon."""

    def __init__(self) -> None:
        self._shared = SharedWork[bytes]()
        self._known: dict[Digest, bytes] = {}
        self._users = Counter[Digest]()

    @contextmanager
    def hold(self, digest: Digest) -> Iterator[None]:
        """Keep the config, once it is here, for the time of a `with` block."""
        self._users[digest] += 1
        try:
            yield
        finally:
            self._users[digest] -= 1
            if not self._users[digest]:
                del self._users[digest]
                self._known.pop(digest, None)

    async def get(
        self, repository: Repository, descriptor: Descriptor, progress: Progress
    ) -> bytes:
        """Return a config, which the caller holds.

        Raises:
            InvalidParameter: It is not what its digest and size say.
            PinnaceError: The registry refuses or fails.
        """

        async def fetch(_: Audience) -> bytes:
            content = bytearray()
            async for chunk in repository.blob(descriptor):
                content += chunk
                if len(content) > descriptor.size:
                    break
            return verify(bytes(content), descriptor)

        known = self._known.get(descriptor.digest)
        if known is None:
            known = await self._shared.join(descriptor, fetch, progress)
            self._known[descriptor.digest] = known
        return known
