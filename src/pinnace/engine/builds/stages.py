"""The stages of one Dockerfile: built beside each other, told one after the other."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

from pinnace.engine.builds.graph import Built
from pinnace.engine.builds.instructions import Dockerfile, Stage
from pinnace.engine.builds.output import StageOutput
from pinnace.engine.builds.plan import Plan
from pinnace.engine.builds.scope import GlobalScope, StageScope
from pinnace.engine.builds.session import Session
from pinnace.engine.images.bridge import Message


@dataclass(slots=True, kw_only=True)
class Stages:
    """What the stages share.

    Attributes:
        run_stage: Builds a stage.
        declared: Arguments of the stages that are done, for stages FROM them.
        asked: Names of the arguments that were declared so far, by triggers of images, too.
    """

    session: Session
    dockerfile: Dockerfile
    plan: Plan
    scope: GlobalScope
    run_stage: Callable[["Stages", Stage, StageOutput], Awaitable[Built]]
    outputs: dict[int, StageOutput] = field(default_factory=dict)
    tasks: dict[int, "asyncio.Task[Built]"] = field(default_factory=dict)
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

    async def target(self) -> Built:
        """Wait for the stage that is wanted."""
        return await self.result(self.plan.stages[-1])

    def first_number(self, stage: Stage) -> int:
        """Return the number of a stage's FROM among the steps."""
        number = len(self.dockerfile.arguments) + 1
        for other in self.plan.stages:
            if other.index == stage.index:
                return number
            number += 1 + len(other.instructions)
        return number

    async def run(self) -> AsyncGenerator[Message, None]:
        """Build the plan's stages; yield what is told.

        Raises:
            PinnaceError: A stage failed; the others were stopped.
        """
        for stage in self.plan.stages:
            self.start(stage)
        watching = asyncio.create_task(self._stop_at_failure(), name="build failures")
        try:
            for stage in self.plan.stages:
                async for message in self.outputs[stage.index]:
                    yield message
            await watching
        finally:
            watching.cancel()
            tasks = [watching, *self.tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, stage: Stage, out: StageOutput) -> Built:
        try:
            return await self.run_stage(self, stage, out)
        finally:
            out.close()

    async def _stop_at_failure(self) -> None:
        """Wait for all stages; when one fails, stop the others and raise its failure.

        A stage that waits for a failed one fails with it; the first of the file is what counts.
        """
        tasks = self.tasks.values()
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = [task for task in tasks if task in done and task.exception()]
        for task in pending if failed else ():
            task.cancel()
        if failed:
            await failed[0]
