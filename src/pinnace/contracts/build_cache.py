"""What builds remember: images that steps led to, directories of caches, running containers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pinnace.model.record import ContainerId, ImageId


@dataclass(frozen=True, slots=True)
class CachedStep:
    """A step that was done.

    Attributes:
        key: Digest of everything that its result depends on.
        image: What it led to; the record goes when the image goes.
        description: Text for people.
        created_ns: Unix nanoseconds; `used_ns` likewise.
        uses: How often it was taken.
    """

    key: str
    image: ImageId
    description: str
    created_ns: int
    used_ns: int
    uses: int = 0


@dataclass(frozen=True, slots=True)
class CacheDirectory:
    """A directory of `RUN --mount=type=cache`; `number` tells those of one id apart."""

    id: str
    number: int
    created_ns: int
    used_ns: int
    uses: int = 0


class BuildCache(Protocol):
    """Keeps them beyond the daemon."""

    async def find(self, key: str, used_ns: int) -> ImageId | None:
        """Return what the step with this key led to, and count the use; None: not known."""
        ...

    async def put(self, step: CachedStep) -> None:
        """Remember a step; one with the same key is replaced.

        The image may be gone already: then nothing is remembered.
        """
        ...

    async def steps(self) -> Sequence[CachedStep]:
        """Return all steps."""
        ...

    async def forget(self, keys: Sequence[str]) -> None:
        """Forget steps."""
        ...

    async def directories(self) -> Sequence[CacheDirectory]:
        """Return all directories."""
        ...

    async def put_directory(self, directory: CacheDirectory) -> None:
        """Remember a directory, new or used again."""
        ...

    async def forget_directory(self, id: str, number: int) -> None:  # noqa: A002 - BuildKit's word
        """Forget a directory."""
        ...

    async def add_container(self, container: ContainerId) -> None:
        """Note a container that a build is going to make, so that a crash does not leave it."""
        ...

    async def forget_container(self, container: ContainerId) -> None:
        """Forget it: it is gone, or is to stay."""
        ...

    async def containers(self) -> Sequence[ContainerId]:
        """Return the containers noted."""
        ...
