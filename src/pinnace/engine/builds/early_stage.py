"""The front end of 2013: from the lines of a Dockerfile of that time to vertices.

Every line is carried out when it is read: what comes before a bad one has been done. Texts and
rules: contract of API 1.0 to 1.2, section 5.
"""

import posixpath

from msgspec.structs import replace

from pinnace.contracts.build_files import CopyJob, Origin, Selection
from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.early_dockerfile import (
    DEPRECATED,
    KNOWN,
    BuildFailure,
    Line,
    command_words,
    listed,
    read_lines,
    shell_words,
    two_words,
    with_variable,
)
from pinnace.engine.builds.faults import CommandFailed
from pinnace.engine.builds.fetching import MAX_DOWNLOAD_BYTES, fetch_file
from pinnace.engine.builds.graph import Built, Copying, Execution, Operation, Vertex
from pinnace.engine.builds.output import StageOutput
from pinnace.engine.builds.session import Session
from pinnace.engine.builds.sources import SourceRules, content_digest, select
from pinnace.engine.images.origin import image_origin, same_command
from pinnace.model.build import StepLimits
from pinnace.model.container import ContainerConfig
from pinnace.model.early import EarlyConfig, merged, read_config

_DOWNLOAD = "file"
_LEAST_SHARES, _MOST_SHARES = 2, 262144  # the kernel's range


async def run_lines(session: Session, dockerfile: str, out: StageOutput) -> Built:
    """Carry out a Dockerfile and tell what is done; return the image of its last line.

    Raises:
        BuildFailure: A line is wrong, or its command failed.
        PinnaceError: The engine cannot do it.
    """
    return await _Lines(session, out).run(dockerfile)


class _Lines:
    def __init__(self, session: Session, out: StageOutput) -> None:
        self._session = session
        self._out = out
        self._told = _Told(out)
        self._built = Built(None, b"", session.platform)
        self._config = EarlyConfig()
        self._maintainer = ""

    async def run(self, dockerfile: str) -> Built:
        for line in read_lines(dockerfile):
            await self._say(f"{line.instruction} {line.arguments} ({self._shown()})")
            if line.instruction in DEPRECATED:
                raise BuildFailure(
                    f"{line.instruction} has been deprecated. Please use ADD instead"
                )
            if line.instruction not in KNOWN:
                await self._say(f"Skipping unknown instruction {line.instruction}")
                continue
            await self._carry_out(line)
            await self._say(f"===> {self._shown()}")
        if self._built.record is None:
            raise BuildFailure("An error occured during the build\n")
        return self._built

    async def _carry_out(self, line: Line) -> None:
        match line.instruction:
            case "FROM":
                session = self._session
                self._built = await session.image(line.arguments, session.platform, self._out)
                self._config = EarlyConfig()
                self._maintainer = ""
            case "RUN":
                await self._run(line.arguments)
            case "ADD":
                await self._add(*two_words(line))
            case "ENV":
                await self._env(*two_words(line))
            case "CMD":
                words = command_words(line.arguments)
                self._config = replace(self._config, cmd=words)
                await self._note(f"CMD {listed(words)}")
            case "EXPOSE":
                ports = line.arguments.split(" ")
                specs = [*ports, *(self._config.port_specs or [])]
                self._config = replace(self._config, port_specs=specs)
                await self._note(f"EXPOSE {listed(ports)}")
            case _:
                self._maintainer = line.arguments
                await self._note(f"MAINTAINER {line.arguments}")

    async def _env(self, key: str, value: str) -> None:
        env, known = with_variable(self._config.env, key, value)
        self._config = replace(self._config, env=env)
        if not known:  # a variable that is set anew makes no image of its own
            await self._note(f"ENV {key}={value}")

    async def _note(self, text: str) -> None:
        """Make an image that differs in its config only."""
        self._check_base("commit")
        await self._step(None, self._wanted(shell_words(f"#(nop) {text}")))

    async def _add(self, source: str, target: str) -> None:
        context = self._session.context
        if context is None:
            raise BuildFailure("No context given. Impossible to use ADD")
        self._check_base("commit")
        words = shell_words(f"#(nop) ADD {source} in {target}")
        copying = await self._copying(context, source, target)
        await self._step(copying, self._wanted(words), cached=False)

    async def _copying(self, context: ContextTree, source: str, target: str) -> Copying:
        """Resolve a source: a file of the context, the content of a directory, or a download."""
        session = self._session
        if source.startswith(("http://", "https://")):
            origin, mode = Origin(context=session.new_context()), "0644"
            entry = await fetch_file(
                session.parts, origin.context, source, name=_DOWNLOAD, limit=MAX_DOWNLOAD_BYTES
            )
            found = [Selection(_DOWNLOAD, entry.path, is_directory=False, entries=[entry])]
        else:
            origin, mode = Origin(context=session.name), ""
            found = await session.parts.offload(lambda: select(context, source, SourceRules()))
            if not found:
                raise BuildFailure(f"{source}: no such file or directory")
        # A slash at the end says nothing.
        place = posixpath.normpath("/" + target.lstrip("/"))
        job = CopyJob(origin=origin, selections=found, target=place, mode=mode)
        return Copying((job,), await session.parts.offload(lambda: content_digest(found)))

    async def _run(self, command: str) -> None:
        self._check_base("run")
        wanted = self._wanted(shell_words(command))
        # The image's ports are for containers that are to stay.
        written = image_origin(self._built.config).config
        complete = replace(merged(wanted, read_config(written)), port_specs=None)
        execution = Execution(
            words=tuple(wanted.cmd or ()),
            config=ContainerConfig(
                hostname=complete.hostname,
                user=complete.user,
                tty=complete.tty,
                open_stdin=complete.open_stdin,
                stdin_once=complete.stdin_once,
                env=complete.env,
                image=complete.image,
            ),
            limits=_limits(complete),
        )
        # What the image adds is not asked for: such a container is another one, every time.
        cached = same_command(complete.fields(), wanted.fields())
        try:
            await self._step(execution, complete, cached=cached)
        except CommandFailed as exc:
            raise BuildFailure(
                f"The command {listed(execution.words)} returned a non-zero code: {exc.code}"
            ) from exc

    async def _step(
        self, operation: Operation | None, container: EarlyConfig, *, cached: bool = True
    ) -> None:
        """Make an image by the command of a container.

        Args:
            operation: What is done to the files.
            container: What the image says of the container.
            cached: An image that was made so before will do.
        """
        vertex = Vertex(
            parent=self._built,
            operation=operation,
            config=self._config.image_defaults(),
            created_by=" ".join(container.cmd or ()),
            author=self._maintainer,
            cached=cached,
            further=self._config.further_fields(),
            container_config={name: value for name, value in container.fields().items() if value},
        )
        self._built = await self._session.solve(vertex, self._told)

    def _wanted(self, words: list[str]) -> EarlyConfig:
        """Return the config that a command runs with; nothing is published meanwhile."""
        return replace(self._config, cmd=words, port_specs=None, image=self._shown())

    def _check_base(self, verb: str) -> None:
        if self._built.record is None:
            raise BuildFailure(f"Please provide a source image with `from` prior to {verb}")

    def _shown(self) -> str:
        return self._built.id.removeprefix("sha256:")

    async def _say(self, text: str) -> None:
        await self._out.say(f"{text}\n")


class _Told:
    """Implements `output.StepListener`: what a command prints is in its container's log."""

    def __init__(self, out: StageOutput) -> None:
        self._out = out

    async def cached(self) -> None:
        """Say nothing."""

    async def running(self, container: str) -> None:
        """See the protocol."""
        await self._out.say(f"## {container}\n")

    async def printed(self, text: str) -> None:
        """Say nothing."""

    async def removed(self, container: str) -> None:
        """Say nothing."""


def _limits(config: EarlyConfig) -> StepLimits:
    """Return the limits in today's terms; zero or any number of swap is twice the memory."""
    shares = config.cpu_shares
    return StepLimits(
        memory=config.memory,
        memory_swap=-1 if config.memory and config.memory_swap < 0 else 2 * config.memory,
        cpu_shares=min(max(shares, _LEAST_SHARES), _MOST_SHARES) if shares else 0,
        dns=tuple(config.dns or ()),
    )
