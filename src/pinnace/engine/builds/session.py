"""What the stages of one build share."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from typing import Protocol

from pinnace.contracts.build_cache import BuildCache
from pinnace.contracts.build_files import BuildFiles
from pinnace.contracts.downloads import Downloads
from pinnace.contracts.registry import Credentials
from pinnace.contracts.repositories import Repositories
from pinnace.engine.builds.containers import StepContainers
from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.graph import Built
from pinnace.engine.builds.instructions import Dockerfile, Stage
from pinnace.engine.builds.memo import SelectionMemo
from pinnace.engine.builds.mounting import StepMounts
from pinnace.engine.builds.output import StageOutput
from pinnace.engine.builds.params import BuildParams
from pinnace.engine.builds.plan import Plan
from pinnace.engine.builds.scope import GlobalScope, StageScope
from pinnace.engine.builds.solver import Solver, StepPolicy
from pinnace.engine.images.bridge import Message
from pinnace.engine.images.parts import Offload
from pinnace.errors import ImageNotFound
from pinnace.model.image import ImageRecord
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
        context: The files sent; None: there are none.
        started_ns: Unix nanoseconds.
        epoch_ns: When everything is said to be made (SOURCE_DATE_EPOCH); None: when it is.
        run_stage: Builds a stage.
        held: Keeps the layers of everything built so far, until the build is over.
        declared: Arguments of the stages that are done, for stages FROM them.
        asked: Names of the arguments that were declared so far, by triggers of images, too.
    """

    name: str
    parts: BuildParts
    params: BuildParams
    policy: StepPolicy
    dockerfile: Dockerfile
    plan: Plan
    scope: GlobalScope
    platform: Platform
    context: ContextTree | None
    started_ns: int
    epoch_ns: int | None = None
    run_stage: Callable[["Session", Stage, StageOutput], Awaitable[Built]]
    outputs: dict[int, StageOutput] = field(default_factory=dict)
    tasks: dict[int, "asyncio.Task[Built]"] = field(default_factory=dict)
    contexts: list[str] = field(default_factory=list)
    held: ExitStack = field(default_factory=ExitStack)
    declared: dict[int, StageScope] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def start(self, stage: Stage) -> None:
        """Begin a stage beside the others."""
        out = self.outputs[stage.index] = StageOutput()
        self.tasks[stage.index] = asyncio.create_task(
            self._run(stage, out), name=f"build stage {stage.name}"
        )

    async def result(self, stage: Stage) -> Built:
        """Wait for a stage; one that the plan did not foresee is begun now."""
        if stage.index not in self.tasks:
            self.start(stage)
        return await asyncio.shield(self.tasks[stage.index])

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
        config = await self.parts.images.config_bytes(record.id)
        return Built(record, config, image_platform(record))

    def new_context(self) -> str:
        """Return a name for one more context of this build."""
        name = f"{self.name}-{len(self.contexts)}"
        self.contexts.append(name)
        return name

    def first_number(self, stage: Stage) -> int:
        """Return the number of a stage's FROM among the steps."""
        number = len(self.dockerfile.arguments) + 1
        for other in self.plan.stages:
            if other.index == stage.index:
                return number
            number += 1 + len(other.instructions)
        return number

    def _local(self, ref: str, platform: Platform) -> ImageRecord | None:
        try:
            record = self.parts.images.resolve(ref)
        except ImageNotFound:
            return None
        if self.params.platform and not platform.runs(image_platform(record)):
            return None
        return record

    async def _run(self, stage: Stage, out: StageOutput) -> Built:
        try:
            return await self.run_stage(self, stage, out)
        finally:
            out.close()


def image_platform(record: ImageRecord) -> Platform:
    """Return the platform of an image."""
    return Platform(record.os, record.architecture, record.variant)
