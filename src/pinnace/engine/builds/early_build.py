"""A build of 2013: what it is given, and what it tells."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from pinnace.engine.builds.early_stage import run_lines
from pinnace.engine.builds.graph import Built
from pinnace.engine.builds.output import StageOutput
from pinnace.engine.builds.remotes import fetch_context
from pinnace.engine.builds.session import Session
from pinnace.engine.images.bridge import Message
from pinnace.errors import InvalidParameter, NotFound

_DOCKERFILE = "Dockerfile"


class EarlyBuild:
    """One build; made by `BuildService.early`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def receive(self, stream: AsyncIterator[bytes]) -> None:
        """Take an archive, plain or compressed, for what ADD takes files from.

        Raises:
            InvalidParameter: It is broken, hostile or over a limit.
        """
        await self._session.receive(stream)

    async def fetch(self, remote: str) -> bytes:
        """Fetch a Dockerfile, or a repository that has one; return it.

        Raises:
            InvalidParameter: No address, or no Dockerfile in the repository.
            PinnaceError: It cannot be fetched.
        """
        alone = await fetch_context(self._session, remote)
        if alone is not None:
            return alone
        try:
            return await self.dockerfile()
        except NotFound as exc:
            raise InvalidParameter("No Dockerfile found in the repository") from exc

    async def dockerfile(self) -> bytes:
        """Return the Dockerfile of the context.

        Raises:
            NotFound: There is none.
            InvalidParameter: It is too large.
        """
        context, parts = self._session.context, self._session.parts
        path = context.resolve(_DOCKERFILE) if context is not None else None
        if context is None or path is None:
            raise NotFound(f"{_DOCKERFILE}: no such file or directory")
        entry = context.entry(path)
        return await parts.offload(lambda: parts.files.read(self._session.name, entry))

    async def run(self, dockerfile: bytes) -> AsyncGenerator[Message, None]:
        """Carry out a Dockerfile; yield what is told, at last the image's id (`aux`).

        Raises:
            BuildFailure: A line is wrong, or its command failed.
            PinnaceError: The engine cannot do it.

        Cancelled or closed: a command that runs is killed. What was made stays, as it always did.
        """
        out = StageOutput()
        text = dockerfile.decode(errors="replace")

        async def work() -> Built:
            try:
                return await run_lines(self._session, text, out)
            finally:
                out.close()

        task = asyncio.create_task(work(), name="build of 2013")
        try:
            async for message in out:
                yield message
            built = await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        yield {"aux": {"ID": built.id}}
