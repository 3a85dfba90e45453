"""Builds: what `POST /build` and its relatives do."""

import asyncio
import logging
import posixpath
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pinnace.contracts.build_files import SourceEntry
from pinnace.engine.builds.containers import StepContainers
from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.dockerfile import parse
from pinnace.engine.builds.graph import Built
from pinnace.engine.builds.ignore import FILE_NAME, IgnoreRules
from pinnace.engine.builds.output import in_red
from pinnace.engine.builds.params import BuildParams
from pinnace.engine.builds.plan import make_plan
from pinnace.engine.builds.remotes import fetch_context
from pinnace.engine.builds.scope import GlobalScope, platform_arguments, unused_arguments
from pinnace.engine.builds.session import BuildParts, Session
from pinnace.engine.builds.solver import StepPolicy
from pinnace.engine.builds.stage import SHORT_ID, run_stage
from pinnace.engine.builds.upkeep import CacheUpkeep, Pruned
from pinnace.engine.filters import Filters
from pinnace.engine.images.bridge import ByteInlet, Message
from pinnace.engine.images.transfer import with_upload
from pinnace.errors import ImageNotFound, InvalidParameter, PinnaceError
from pinnace.model.build import BuildCacheItem
from pinnace.model.image import ImageRecord
from pinnace.oci.platform import parse_platform
from pinnace.oci.reference import Reference, parse_reference

log = logging.getLogger(__name__)

DOCKERFILE = "Dockerfile"
_EPOCH = "SOURCE_DATE_EPOCH"
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Sources:
    """What a build is made of.

    Attributes:
        context: None: there is none.
        dockerfile: Bytes.
        file: Name of the Dockerfile.
    """

    context: ContextTree | None
    dockerfile: bytes
    file: str


class BuildService:
    """Builds images. One instance per daemon."""

    def __init__(self, parts: BuildParts, upkeep: CacheUpkeep) -> None:
        self._parts = parts
        self._upkeep = upkeep
        self._running = 0
        self._ended = asyncio.Condition()

    @property
    def steps(self) -> StepContainers:
        """What makes the containers of steps, so that a crash leaves none of them behind."""
        return self._parts.containers

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
        name = f"build-{secrets.token_hex(12)}"
        session: Session | None = None
        self._running += 1
        try:
            sources = await self._sources(name, params, stream)
            session = self._session(name, params, sources)
            async with aclosing(self._messages(session, tags)) as messages:
                async for message in messages:
                    yield message
        finally:
            if session is not None:
                session.held.close()
            await asyncio.shield(self._end([name, *([] if session is None else session.contexts)]))

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no build is under way any more; tell whether that came in time."""
        try:
            async with asyncio.timeout(timeout_s), self._ended:
                await self._ended.wait_for(lambda: not self._running)
        except TimeoutError:
            return False
        return True

    async def _messages(
        self, session: Session, tags: Sequence[Reference]
    ) -> AsyncGenerator[Message, None]:
        """Tell everything, or with `quiet` only the result, or what led to a failure."""
        telling = self._tell(session, tags)
        if not session.params.quiet:
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
        image = await asyncio.shield(session.tasks[session.plan.stages[-1].index])
        yield {"stream": f"{image.id}\n"}

    async def _tell(
        self, session: Session, tags: Sequence[Reference]
    ) -> AsyncGenerator[Message, None]:
        if session.dockerfile.warnings:
            yield {"stream": in_red("\n".join((*session.dockerfile.warnings, "")))}
        for number, instruction in enumerate(session.dockerfile.arguments, start=1):
            text = f"Step {number}/{session.plan.total} : {instruction.original}"
            yield {"stream": text}
            yield {"stream": "\n"}
        async with aclosing(run_stages(session)) as messages:
            async for message in messages:
                yield message
        built = await session.tasks[session.plan.stages[-1].index]
        if built.record is None:
            raise InvalidParameter("No image was generated. Is your Dockerfile empty?")
        for text in _last_words(session, built):
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

    async def _sources(
        self, name: str, params: BuildParams, stream: AsyncIterator[bytes]
    ) -> _Sources:
        files = self._parts.files
        if params.remote:
            async for _ in stream:  # clients send an empty context beside it
                pass
            fetched = await fetch_context(self._parts, name, params.remote)
            if fetched.dockerfile is not None:
                return _Sources(None, fetched.dockerfile, DOCKERFILE)
            found = fetched.entries or ()
            return await self._parts.offload(lambda: self._read_sources(name, params, found))

        def receive(inlet: ByteInlet) -> Sequence[SourceEntry]:
            return files.receive(name, inlet)

        entries = await with_upload(self._parts.transfer, stream, receive)
        return await self._parts.offload(lambda: self._read_sources(name, params, entries))

    def _read_sources(
        self, name: str, params: BuildParams, entries: Sequence[SourceEntry]
    ) -> _Sources:
        context = ContextTree(entries)
        file = find_dockerfile(context, params.dockerfile)
        content = self._parts.files.read(name, context.entry(file))
        ignore = context.resolve(FILE_NAME)
        if ignore is not None:
            rules = IgnoreRules.parse(self._parts.files.read(name, context.entry(ignore)))
            if rules:
                context = context.without(rules.ignores)
        return _Sources(context, content, file)

    def _session(self, name: str, params: BuildParams, sources: _Sources) -> Session:
        dockerfile = parse(sources.dockerfile, file=sources.file)
        host = self._parts.host
        platform = parse_platform(params.platform, host) if params.platform else host
        automatic = platform_arguments(platform, host, stage=params.target or "default")
        scope = GlobalScope.of_file(dockerfile, params.build_args, automatic)
        plan = make_plan(dockerfile, scope, target=params.target, labels=params.labels)
        return Session(
            name=name,
            parts=self._parts,
            params=params,
            policy=StepPolicy(
                no_cache=params.no_cache,
                remove=params.remove,
                force_remove=params.force_remove,
                cache_from=self._trusted(params.cache_from),
            ),
            dockerfile=dockerfile,
            plan=plan,
            scope=scope,
            platform=platform,
            context=sources.context,
            started_ns=time.time_ns(),
            epoch_ns=epoch(params.build_args.get(_EPOCH)),
            run_stage=run_stage,
        )

    def _trusted(self, refs: Sequence[str]) -> list[ImageRecord]:
        """Return the images of `cachefrom` that are here; dockerd passes over others, too."""
        found = []
        for ref in refs:
            try:
                found.append(self._parts.images.resolve(ref))
            except (ImageNotFound, InvalidParameter):
                log.info("no image to take steps from", extra={"image": ref})
        return found

    async def _end(self, contexts: Sequence[str]) -> None:
        """Drop a build's contexts, and count it as over."""

        def drop() -> None:
            for context in contexts:
                self._parts.files.drop(context)

        try:
            await self._parts.offload(drop)
        finally:
            self._running -= 1
            async with self._ended:
                self._ended.notify_all()


async def run_stages(session: Session) -> AsyncGenerator[Message, None]:
    """Build the plan's stages beside each other; tell of one after the other.

    Raises:
        PinnaceError: A stage failed; the others were stopped.
    """
    for stage in session.plan.stages:
        session.start(stage)
    watching = asyncio.create_task(_stop_at_failure(session), name="build failures")
    try:
        for stage in session.plan.stages:
            async for message in session.outputs[stage.index]:
                yield message
        await watching
    finally:
        watching.cancel()
        tasks = [watching, *session.tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stop_at_failure(session: Session) -> None:
    """Wait for all stages; when one fails, stop the others and raise its failure.

    A stage that waits for a failed one fails with it; the first of the file is what counts.
    """
    done, pending = await asyncio.wait(session.tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
    failed = [task for task in session.tasks.values() if task in done and task.exception()]
    for task in pending if failed else ():
        task.cancel()
    if failed:
        await failed[0]


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


def _last_words(session: Session, built: Built) -> list[str]:
    unused = unused_arguments(session.params.build_args, session.plan.stages)
    unused = [name for name in unused if name not in session.asked]
    declared = {one.name for step in session.dockerfile.arguments for one in step.arguments}
    unused = [name for name in unused if name not in declared and name != _EPOCH]
    warning = (
        [f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"]
        if unused
        else []
    )
    return [*warning, f"Successfully built {built.id.removeprefix('sha256:')[:SHORT_ID]}\n"]
