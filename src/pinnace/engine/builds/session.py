"""One build of whatever language: what it was given, what it holds, what it works with."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from typing import Protocol

from pinnace.contracts.build_cache import BuildCache
from pinnace.contracts.build_files import BuildFiles, SourceEntry
from pinnace.contracts.downloads import Downloads
from pinnace.contracts.registry import Credentials
from pinnace.contracts.repositories import Repositories
from pinnace.engine.builds.containers import StepContainers
from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.graph import Built, Vertex
from pinnace.engine.builds.memo import SelectionMemo
from pinnace.engine.builds.mounting import StepMounts
from pinnace.engine.builds.output import StageOutput, StepListener
from pinnace.engine.builds.params import BuildParams
from pinnace.engine.builds.solver import Solver, StepPolicy
from pinnace.engine.images.bridge import ByteInlet, Message
from pinnace.engine.images.parts import Offload
from pinnace.engine.images.transfer import with_upload
from pinnace.errors import ImageNotFound
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.platform import Platform


class Images(Protocol):
    """The part of the image service that builds need."""

    def resolve(self, ref: str) -> ImageRecord:
        """Return the image.

        Raises:
            ImageNotFound: There is none.
        """
        ...

    async def config_bytes(self, ref: str) -> bytes:
        """Return the exact config of an image."""
        ...

    async def tag(self, ref: str, repo: str, tag: str) -> None:
        """Give an image one more name."""
        ...


class Lineage(Protocol):
    """What images were made from, as far as builds ask."""

    async def find_made(self, parent: str, config: Mapping[str, object]) -> ImageId | None:
        """Return an image made here of an image by a container of an equal config; None: none."""
        ...


class Pull(Protocol):
    """Pulls images."""

    def __call__(
        self, ref: str, platform: Platform, credentials: Mapping[str, Credentials]
    ) -> AsyncGenerator[Message, None]:
        """Pull an image; yield messages.

        Raises:
            PinnaceError: It cannot be pulled.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildParts:
    """What builds work with."""

    images: Images
    lineage: Lineage
    solver: Solver
    files: BuildFiles
    cache: BuildCache
    containers: StepContainers
    mounts: StepMounts
    memo: SelectionMemo
    offload: Offload
    transfer: Offload
    downloads: Downloads
    repositories: Repositories
    pull: Pull
    host: Platform


@dataclass(slots=True, kw_only=True)
class Session:
    """One build.

    Attributes:
        name: Of its contexts and downloads: `NAME` and `NAME-N`.
        platform: Wanted of base images.
        started_ns: Unix nanoseconds.
        epoch_ns: When everything is said to be made (SOURCE_DATE_EPOCH); None: when it is.
        context: The files sent or fetched; None: there are none.
        contexts: Names of the further ones.
        held: Keeps the layers of everything built so far, until the build is over.
    """

    name: str
    parts: BuildParts
    params: BuildParams
    policy: StepPolicy
    platform: Platform
    started_ns: int
    epoch_ns: int | None = None
    context: ContextTree | None = None
    contexts: list[str] = field(default_factory=list)
    held: ExitStack = field(default_factory=ExitStack)

    async def receive(self, stream: AsyncIterator[bytes]) -> None:
        """Take an archive, plain or compressed, for the context.

        Raises:
            InvalidParameter: It is broken, hostile or over a limit.
        """

        def keep(inlet: ByteInlet) -> Sequence[SourceEntry]:
            return self.parts.files.receive(self.name, inlet)

        entries = await with_upload(self.parts.transfer, stream, keep)
        self.context = await self.parts.offload(lambda: ContextTree(entries))

    async def image(self, ref: str, platform: Platform, out: StageOutput) -> Built:
        """Return an image, pulled if it is not here or if the build says so.

        Raises:
            PinnaceError: It is not here and cannot be pulled.
        """
        record = None if self.params.pull else self._local(ref, platform)
        if record is None:
            pulling = self.parts.pull(ref, platform, self.params.credentials)
            async with aclosing(pulling) as messages:
                async for message in messages:
                    await out.tell(message)
            record = self.parts.images.resolve(ref)
        return await self.known(record)

    async def known(self, record: ImageRecord) -> Built:
        """Return an image that is here, held.

        Raises:
            ImageNotFound: It went since.
        """
        config = await self.parts.images.config_bytes(record.id)
        return self.hold(Built(record, config, image_platform(record)))

    async def solve(self, vertex: Vertex, out: StepListener) -> Built:
        """Return what a vertex leads to.

        Raises:
            PinnaceError: Its operation failed.
        """
        return self.hold(await self.parts.solver.solve(vertex, out, self.policy))

    def hold(self, built: Built) -> Built:
        """Keep an image's layers until the build is over; return the image."""
        self.held.enter_context(self.parts.solver.hold(built))
        return built

    def new_context(self) -> str:
        """Return a name for one more context of this build."""
        name = f"{self.name}-{len(self.contexts)}"
        self.contexts.append(name)
        return name

    async def end(self) -> None:
        """Let go of everything held, and drop the contexts."""
        self.held.close()

        def drop() -> None:
            for context in (self.name, *self.contexts):
                self.parts.files.drop(context)

        await self.parts.offload(drop)

    def _local(self, ref: str, platform: Platform) -> ImageRecord | None:
        try:
            record = self.parts.images.resolve(ref)
        except ImageNotFound:
            return None
        if self.params.platform and not platform.runs(image_platform(record)):
            return None
        return record


def image_platform(record: ImageRecord) -> Platform:
    """Return the platform of an image."""
    return Platform(record.os, record.architecture, record.variant)
