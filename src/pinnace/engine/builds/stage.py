"""The Dockerfile front end's side of the solver: from a stage's instructions to vertices."""

import dataclasses
import posixpath
from collections.abc import Sequence

from msgspec.structs import replace

from pinnace.contracts.build_files import CopyJob, DirectoryJob, Origin
from pinnace.engine.builds import transfers
from pinnace.engine.builds.comments import comment_of, shown_files, shown_run, shown_step
from pinnace.engine.builds.config import ConfigState, apply, command_words
from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.dockerfile import parse_triggers
from pinnace.engine.builds.expand import expand
from pinnace.engine.builds.graph import Built, Execution, Making, Operation, StepMount, Vertex
from pinnace.engine.builds.instructions import (
    Add,
    Arg,
    Copy,
    Healthcheck,
    Insert,
    Instruction,
    Maintainer,
    Mount,
    Run,
    Stage,
    Transfer,
    Workdir,
)
from pinnace.engine.builds.output import SHORT_ID, StageOutput
from pinnace.engine.builds.plan import find_base, find_stage, stage_number
from pinnace.engine.builds.sources import SourceRules, content_digest, select
from pinnace.engine.builds.stages import Stages
from pinnace.errors import InvalidParameter, NotSupported, PinnaceError
from pinnace.model.container import ContainerConfig
from pinnace.oci.platform import parse_platform

SCRATCH = "scratch"
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def run_stage(stages: Stages, stage: Stage, out: StageOutput) -> Built:
    """Build a stage and tell what is done.

    Raises:
        PinnaceError: A step failed.
    """
    return await _StageRun(stages, stage, out).run()


class _StageRun:
    def __init__(self, stages: Stages, stage: Stage, out: StageOutput) -> None:
        self._stages = stages
        self._session = session = stages.session
        self._stage = stage
        self._out = out
        self._built = Built(None, b"", session.platform)
        self._state = ConfigState(ContainerConfig())
        self._scope = stages.scope.stage()
        self._author = ""

    async def run(self) -> Built:
        number = self._stages.first_number(self._stage)
        await self._announce(number, self._stage.origin.original)
        await self._begin()
        await self._arrow()
        for instruction in self._stage.instructions:
            number += 1
            await self._announce(number, instruction.original)
            await self._do(instruction)
            await self._arrow()
        self._stages.declared[self._stage.index] = self._scope
        if self._built.record is not None:
            await self._out.tell({"aux": {"ID": self._built.id}})
        return self._built

    async def _announce(self, number: int, text: str) -> None:
        await self._out.say(f"Step {number}/{self._stages.plan.total} : {text}")
        await self._out.say("\n")

    async def _arrow(self) -> None:
        await self._out.say(f" ---> {self._built.id.removeprefix('sha256:')[:SHORT_ID]}\n")

    # FROM

    async def _begin(self) -> None:
        session, stages = self._session, self._stages
        origin = stages.scope.expand_from(self._stage.origin)
        platform = session.platform
        if origin.platform:
            platform = parse_platform(origin.platform, session.parts.host)
        earlier = stages.dockerfile.stages[: self._stage.index]
        other = find_base(earlier, origin.base)
        if other is not None:
            self._built = await stages.result(other)
            self._scope = dataclasses.replace(
                self._scope, declared=stages.declared[other.index].declared
            )
        elif origin.base == SCRATCH:
            self._built = Built(None, b"", platform)
        else:
            self._built = await session.image(origin.base, platform, self._out)
        record = self._built.record
        config = record.config if record else ContainerConfig()
        triggers = config.on_build or []
        if not any(entry.startswith("PATH=") for entry in config.env or []):
            config = replace(config, env=[*(config.env or []), _DEFAULT_PATH])
        self._state = ConfigState(
            replace(config, on_build=None, open_stdin=False, stdin_once=False, image="")
        )
        if triggers:
            await self._trigger(triggers)

    async def _trigger(self, triggers: Sequence[str]) -> None:
        plural = "s" if len(triggers) > 1 else ""
        await self._out.say(f"# Executing {len(triggers)} build trigger{plural}\n")
        for instruction in parse_triggers(triggers):
            await self._do(instruction)

    # Instructions

    async def _do(self, instruction: Instruction) -> None:
        environment = self._state.config.env or []
        variables = self._scope.variables(environment)
        expanded = expand(instruction, variables, escape=self._stages.dockerfile.escape)
        match expanded:
            case Run():
                await self._run(expanded)
            case Transfer():
                await self._transfer(expanded)
            case Insert(source=source, target=target):
                if not source.startswith(("http://", "https://")):
                    raise InvalidParameter(f"INSERT needs a URL, not {source}")
                await self._transfer(
                    Add(
                        original=expanded.original,
                        location=expanded.location,
                        sources=(source,),
                        target=target,
                    )
                )
            case Workdir():
                await self._workdir(expanded)
            case Arg():
                self._scope = self._scope.declare(expanded)
                self._stages.asked.update(one.name for one in expanded.arguments)
                await self._configure(expanded)
            case Maintainer(author=author):
                self._author = author
                await self._configure(expanded)
            case Healthcheck():
                await self._note_health_check()
                self._state = apply(self._state, expanded)
                await self._configure(expanded)
            case _:
                self._state = apply(self._state, expanded)
                await self._configure(expanded)

    async def _note_health_check(self) -> None:
        before = self._state.config.healthcheck
        if before and before.test and before.test != ["NONE"]:
            await self._out.say(
                f"Note: overriding previous HEALTHCHECK: [{' '.join(before.test)}]\n"
            )

    async def _configure(self, instruction: Instruction) -> None:
        config = self._state.config
        await self._step(None, shown_step(config, comment_of(instruction, config)))

    async def _workdir(self, instruction: Workdir) -> None:
        self._state = apply(self._state, instruction)
        config = self._state.config
        job = DirectoryJob(config.working_dir)
        await self._step(Making(job), shown_files(config, f"WORKDIR {config.working_dir}"))

    async def _transfer(self, instruction: Transfer) -> None:
        from_ = isinstance(instruction, Copy) and instruction.from_
        chain = (await self._source(from_)).top if from_ else None
        config = self._state.config
        prepared = await transfers.prepare(self._session, instruction, config.working_dir, chain)
        await self._step(prepared.operation, shown_files(config, prepared.comment))

    async def _run(self, instruction: Run) -> None:
        if instruction.security == "insecure":
            raise NotSupported("RUN --security=insecure is not supported by this engine")
        config = self._state.config
        environment = config.env or []
        words, mounts = await self._command(instruction, config)
        arguments = self._scope.run_arguments(environment)
        recorded = self._scope.recorded_arguments(environment)
        execution = Execution(
            words=tuple(words),
            config=config,
            arguments=arguments,
            recorded=recorded,
            mounts=(*mounts, *[await self._mount(mount) for mount in instruction.mounts]),
            network=instruction.network,
            limits=self._session.params.limits,
        )
        await self._step(execution, shown_run(words, arguments, recorded))

    async def _command(
        self, instruction: Run, config: ContainerConfig
    ) -> tuple[list[str], list[StepMount]]:
        """Return the words to run; a script with `#!` is a file, put where nothing is stored."""
        if not (instruction.command.is_shell and instruction.command.words):
            return command_words(instruction.command, config.shell), []
        line = instruction.shell_line
        if not (instruction.is_script and line.startswith("#!")):
            command = dataclasses.replace(instruction.command, words=(line,))
            return command_words(command, config.shell), []
        name = instruction.heredocs[0].name
        session = self._session
        context = session.new_context()
        content = {name: line.encode("utf-8", "surrogateescape")}
        entries = await session.parts.offload(
            lambda: session.parts.files.take_files(context, content, session.started_ns)
        )
        selection = select(ContextTree(entries), name, SourceRules())[0]
        job = CopyJob(
            origin=Origin(context=context), selections=[selection], target="/", mode="0755"
        )
        target = f"/dev/pipes/{posixpath.basename(name)}"
        digest = content_digest([selection])
        mount = StepMount(
            type="bind", target=target, read_only=True, source=name, job=job, digest=digest
        )
        return [target], [mount]

    async def _mount(self, mount: Mount) -> StepMount:
        if mount.type in ("secret", "ssh"):
            raise NotSupported(
                f"RUN --mount=type={mount.type} needs a session of BuildKit, which this engine"
                " does not have"
            )
        target = posixpath.normpath(
            posixpath.join("/", self._state.config.working_dir, mount.target)
        )
        made = StepMount(
            type=mount.type,
            target=target,
            read_only=mount.read_only,
            id=mount.id,
            sharing=mount.sharing,
            mode=0o755 if mount.mode is None else mount.mode,
            uid=mount.uid,
            gid=mount.gid,
            size_bytes=mount.size_bytes,
        )
        if mount.type == "bind":
            return await self._bound(mount, made)
        if mount.from_:
            raise NotSupported("RUN --mount=type=cache,from=… is not supported by this engine")
        return made

    async def _bound(self, mount: Mount, made: StepMount) -> StepMount:
        """Resolve the source of a bind mount."""
        session = self._session
        if mount.from_:
            built = await self._source(mount.from_)
            path = posixpath.normpath("/" + mount.source).lstrip("/")
            return dataclasses.replace(
                made, chain=built.top, source=path, digest=built.id or SCRATCH
            )
        context = session.context
        if context is None:
            raise InvalidParameter("missing build context")
        selection = select(context, mount.source or ".", SourceRules())[0]
        digest = await session.parts.offload(lambda: content_digest([selection]))
        name = "" if selection.is_directory else selection.name
        job = CopyJob(
            origin=Origin(context=session.name),
            selections=[selection],
            target="/",
        )
        return dataclasses.replace(made, job=job, source=name, digest=digest)

    async def _source(self, ref: str) -> Built:
        """Return the stage or image that `from` names."""
        session = self._session
        other = find_stage(self._stages.dockerfile.stages[: self._stage.index], ref)
        if other is not None:
            return await self._stages.result(other)
        number = stage_number(ref)
        if number is not None:
            is_own = number == self._stage.index
            fault = "refers to current build stage" if is_own else "index out of bounds"
            raise InvalidParameter(f"invalid from flag value {ref}: {fault}")
        if ref == SCRATCH:
            return Built(None, b"", session.platform)
        try:
            return await session.image(ref, session.platform, self._out)
        except PinnaceError as exc:
            raise InvalidParameter(f"invalid from flag value {ref}: {exc.message}") from exc

    async def _step(self, operation: Operation | None, created_by: str) -> None:
        vertex = Vertex(
            parent=self._built,
            operation=operation,
            config=self._state.config,
            created_by=created_by,
            author=self._author,
            created_ns=self._session.epoch_ns,
        )
        self._built = await self._session.solve(vertex, self._out)
