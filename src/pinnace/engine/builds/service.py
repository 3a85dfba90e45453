"""Builds: what `POST /build` and its relatives do."""

import asyncio
import logging
import posixpath
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.dockerfile import parse
from pinnace.engine.builds.early_build import EarlyBuild
from pinnace.engine.builds.graph import Built, Vertex
from pinnace.engine.builds.ignore import FILE_NAME, IgnoreRules
from pinnace.engine.builds.insertion import Place, insert_file
from pinnace.engine.builds.instructions import Dockerfile
from pinnace.engine.builds.output import SHORT_ID, in_red
from pinnace.engine.builds.params import BuildParams
from pinnace.engine.builds.plan import make_plan
from pinnace.engine.builds.remotes import fetch_context
from pinnace.engine.builds.scope import GlobalScope, platform_arguments, unused_arguments
from pinnace.engine.builds.session import BuildParts, Session
from pinnace.engine.builds.solver import StepPolicy
from pinnace.engine.builds.stage import run_stage
from pinnace.engine.builds.stages import Stages
from pinnace.engine.builds.upkeep import CacheUpkeep, Pruned
from pinnace.engine.filters import Filters
from pinnace.engine.images.bridge import Message
from pinnace.errors import ImageNotFound, InvalidParameter, PinnaceError
from pinnace.model.build import BuildCacheItem
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.platform import parse_platform
from pinnace.oci.reference import Reference, parse_reference

log = logging.getLogger(__name__)

DOCKERFILE = "Dockerfile"
_EPOCH = "SOURCE_DATE_EPOCH"
_SECOND = 1_000_000_000


class BuildService:
    """Builds images. One instance per daemon."""

    def __init__(self, parts: BuildParts, upkeep: CacheUpkeep) -> None:
        self._parts = parts
        self._upkeep = upkeep
        self._running = 0
        self._ended = asyncio.Condition()

    async def cache(self) -> list[BuildCacheItem]:
        """Return what is in the build cache."""
        return await self._upkeep.items()

    async def prune(self, filters: Filters, *, everything: bool, keep_bytes: int) -> Pruned:
        """Remove what is in the build cache; see `CacheUpkeep.prune`."""
        return await self._upkeep.prune(filters, everything=everything, keep_bytes=keep_bytes)

    async def build(
        self, params: BuildParams, stream: AsyncIterator[bytes]
    ) -> AsyncGenerator[Message, None]:
        """Build an image; yield what clients of the classic builder show.

        Args:
            params: What is wanted.
            stream: The context; read to its end before the first message.

        Raises:
            PinnaceError: The build cannot be, or failed; before the first message, if it was
                never begun.

        Cancelled or closed: running steps are killed, and nothing of them remains.
        """
        tags = [parse_tag(tag) for tag in params.tags]
        policy = StepPolicy(
            no_cache=params.no_cache,
            remove=params.remove,
            force_remove=params.force_remove,
            cache_from=self._trusted(params.cache_from),
        )
        async with self._session(params, policy) as session:
            stages = await self._stages(session, stream)
            async with aclosing(self._messages(stages, tags)) as messages:
                async for message in messages:
                    yield message

    @asynccontextmanager
    async def early(self) -> AsyncIterator[EarlyBuild]:
        """Begin a build of 2013, over at the end of the block.

        Containers of its steps stay, and whatever was made here by an equal container will do.
        """

        async def recall(vertex: Vertex) -> ImageId | None:
            config = vertex.container_config or {}
            return await self._parts.lineage.find_made(vertex.parent.id, config)

        policy = StepPolicy(remove=False, keep=True, recall=recall)
        async with self._session(BuildParams(), policy) as session:
            yield EarlyBuild(session)

    async def insert(self, ref: str, place: Place) -> AsyncGenerator[Message, None]:
        """Put a file from elsewhere into an image; see `insertion.insert_file`."""
        async with (
            self._session(BuildParams(), StepPolicy()) as session,
            aclosing(insert_file(session, ref, place)) as messages,
        ):
            async for message in messages:
                yield message

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no build is under way any more; tell whether that came in time."""
        try:
            async with asyncio.timeout(timeout_s), self._ended:
                await self._ended.wait_for(lambda: not self._running)
        except TimeoutError:
            return False
        return True

    async def _messages(
        self, stages: Stages, tags: Sequence[Reference]
    ) -> AsyncGenerator[Message, None]:
        """Tell everything, or with `quiet` only the result, or what led to a failure."""
        telling = self._tell(stages, tags)
        if not stages.session.params.quiet:
            async with aclosing(telling):
                async for message in telling:
                    yield message
            return
        kept: list[Message] = []
        try:
            async with aclosing(telling):
                async for message in telling:
                    kept.append(message)  # noqa: PERF401 - wanted when it fails half-way
        except PinnaceError:
            for message in kept:
                yield message
            raise
        image = await stages.target()
        yield {"stream": f"{image.id}\n"}

    async def _tell(
        self, stages: Stages, tags: Sequence[Reference]
    ) -> AsyncGenerator[Message, None]:
        dockerfile = stages.dockerfile
        if dockerfile.warnings:
            yield {"stream": in_red("\n".join((*dockerfile.warnings, "")))}
        for number, instruction in enumerate(dockerfile.arguments, start=1):
            text = f"Step {number}/{stages.plan.total} : {instruction.original}"
            yield {"stream": text}
            yield {"stream": "\n"}
        async with aclosing(stages.run()) as messages:
            async for message in messages:
                yield message
        built = await stages.target()
        if built.record is None:
            raise InvalidParameter("No image was generated. Is your Dockerfile empty?")
        for text in _last_words(stages, built):
            yield {"stream": text}
        for tag in tags:
            await self._parts.images.tag(built.id, tag.name, tag.tag or "latest")
            yield {"stream": f"Successfully tagged {tag.familiar()}\n"}

    async def repair(self) -> Sequence[str]:
        """Remove what builds of an earlier daemon left; at boot, when containers are known.

        Returns:
            What was done.
        """
        left = await self._parts.containers.remove_left()
        done = [f"removed the container of a build step {container[:12]}" for container in left]
        return [*done, *await self._parts.offload(self._parts.files.repair)]

    # Preparation

    @asynccontextmanager
    async def _session(self, params: BuildParams, policy: StepPolicy) -> AsyncIterator[Session]:
        """Open a build; what it received and holds goes at the end of the block."""
        host = self._parts.host
        session = Session(
            name=f"build-{secrets.token_hex(12)}",
            parts=self._parts,
            params=params,
            policy=policy,
            platform=parse_platform(params.platform, host) if params.platform else host,
            started_ns=time.time_ns(),
            epoch_ns=epoch(params.build_args.get(_EPOCH)),
        )
        self._running += 1
        try:
            yield session
        finally:
            await asyncio.shield(self._end(session))

    async def _stages(self, session: Session, stream: AsyncIterator[bytes]) -> Stages:
        """Read context and Dockerfile; return what is to be built."""
        params = session.params
        dockerfile = await self._dockerfile(session, stream)
        stage = params.target or "default"
        automatic = platform_arguments(session.platform, self._parts.host, stage=stage)
        scope = GlobalScope.of_file(dockerfile, params.build_args, automatic)
        plan = make_plan(dockerfile, scope, target=params.target, labels=params.labels)
        return Stages(
            session=session, dockerfile=dockerfile, plan=plan, scope=scope, run_stage=run_stage
        )

    async def _dockerfile(self, session: Session, stream: AsyncIterator[bytes]) -> Dockerfile:
        remote = session.params.remote
        if remote:
            async for _ in stream:  # clients send an empty context beside it
                pass
            alone = await fetch_context(session, remote)
            if alone is not None:
                return parse(alone, file=DOCKERFILE)
        else:
            await session.receive(stream)
        return await self._parts.offload(lambda: self._read_dockerfile(session))

    def _read_dockerfile(self, session: Session) -> Dockerfile:
        """Read it, and take what `.dockerignore` names from the context."""
        context, files = session.context or ContextTree(()), self._parts.files
        file = find_dockerfile(context, session.params.dockerfile)
        content = files.read(session.name, context.entry(file))
        ignore = context.resolve(FILE_NAME)
        if ignore is not None:
            rules = IgnoreRules.parse(files.read(session.name, context.entry(ignore)))
            if rules:
                session.context = context.without(rules.ignores)
        return parse(content, file=file)

    def _trusted(self, refs: Sequence[str]) -> list[ImageRecord]:
        """Return the images of `cachefrom` that are here; dockerd passes over others, too."""
        found = []
        for ref in refs:
            try:
                found.append(self._parts.images.resolve(ref))
            except (ImageNotFound, InvalidParameter):
                log.info("no image to take steps from", extra={"image": ref})
        return found

    async def _end(self, session: Session) -> None:
        """Let a build go, and count it as over."""
        try:
            await session.end()
        finally:
            self._running -= 1
            async with self._ended:
                self._ended.notify_all()


def find_dockerfile(context: ContextTree, wanted: str) -> str:
    """Return the path of the Dockerfile in the context, links followed.

    Raises:
        InvalidParameter: It is not there, or no file.
    """
    name = wanted or DOCKERFILE
    if posixpath.normpath(f"./{name}").startswith("../"):
        raise InvalidParameter(f"forbidden path outside the build context: {name} ()")
    for candidate in (name, name.lower()) if name == DOCKERFILE else (name,):
        path = context.resolve(candidate)
        if path is not None and context.entry(path).kind == "file":
            return path
    raise InvalidParameter(f"Cannot locate specified Dockerfile: {name}")


def parse_tag(text: str) -> Reference:
    """Return a name for the image.

    Raises:
        InvalidParameter: It is none, or has a digest.
    """
    reference = parse_reference(text)
    if reference.digest:
        raise InvalidParameter("build tag cannot contain a digest")
    return reference.tagged()


def epoch(text: str | None) -> int | None:
    """Return SOURCE_DATE_EPOCH in Unix nanoseconds; None: not asked for.

    Raises:
        InvalidParameter: No number of seconds.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise InvalidParameter(f"invalid SOURCE_DATE_EPOCH: {text}")
    return int(text) * _SECOND


def _last_words(stages: Stages, built: Built) -> list[str]:
    unused = unused_arguments(stages.session.params.build_args, stages.plan.stages)
    unused = [name for name in unused if name not in stages.asked]
    declared = {one.name for step in stages.dockerfile.arguments for one in step.arguments}
    unused = [name for name in unused if name not in declared and name != _EPOCH]
    warning = (
        [f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"]
        if unused
        else []
    )
    return [*warning, f"Successfully built {built.id.removeprefix('sha256:')[:SHORT_ID]}\n"]
