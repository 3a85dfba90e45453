"""The build cache, in memory."""

from collections.abc import Sequence
from dataclasses import replace

from pinnace.contracts.build_cache import CacheDirectory, CachedStep
from pinnace.model.record import ContainerId, ImageId
from pinnace.testing.image_store import FakeImageStore


class FakeBuildCache:
    """Implements `contracts.build_cache.BuildCache`.

    Args:
        images: Whose images steps lead to.
    """

    def __init__(self, images: FakeImageStore) -> None:
        self._images = images
        images.watch(self._lost)
        self._steps: dict[str, CachedStep] = {}
        self._directories: dict[tuple[str, int], CacheDirectory] = {}
        self._containers: dict[ContainerId, None] = {}
        self._failures: dict[str, Exception] = {}

    def fail_next(self, operation: str, error: Exception) -> None:
        """Let the next call of `operation` raise `error` and do nothing."""
        self._failures[operation] = error

    async def find(self, key: str, used_ns: int) -> ImageId | None:
        """See the contract."""
        self._enter("find")
        step = self._steps.get(key)
        if step is None:
            return None
        self._steps[key] = replace(step, used_ns=used_ns, uses=step.uses + 1)
        return step.image

    async def put(self, step: CachedStep) -> None:
        """See the contract."""
        self._enter("put")
        if self._images.has(step.image):
            self._steps[step.key] = step

    async def steps(self) -> Sequence[CachedStep]:
        """See the contract."""
        self._enter("steps")
        return sorted(self._steps.values(), key=lambda step: step.created_ns)

    async def forget(self, keys: Sequence[str]) -> None:
        """See the contract."""
        self._enter("forget")
        for key in keys:
            self._steps.pop(key, None)

    async def directories(self) -> Sequence[CacheDirectory]:
        """See the contract."""
        self._enter("directories")
        return sorted(self._directories.values(), key=lambda directory: directory.created_ns)

    async def put_directory(self, directory: CacheDirectory) -> None:
        """See the contract."""
        self._enter("put_directory")
        self._directories[directory.id, directory.number] = directory

    async def forget_directory(self, id: str, number: int) -> None:  # noqa: A002 - the contract's
        """See the contract."""
        self._enter("forget_directory")
        self._directories.pop((id, number), None)

    async def add_container(self, container: ContainerId) -> None:
        """See the contract."""
        self._enter("add_container")
        self._containers[container] = None

    async def forget_container(self, container: ContainerId) -> None:
        """See the contract."""
        self._enter("forget_container")
        self._containers.pop(container, None)

    async def containers(self) -> Sequence[ContainerId]:
        """See the contract."""
        self._enter("containers")
        return list(self._containers)

    def _lost(self, image: ImageId) -> None:
        self._steps = {key: step for key, step in self._steps.items() if step.image != image}

    def _enter(self, operation: str) -> None:
        error = self._failures.pop(operation, None)
        if error is not None:
            raise error
