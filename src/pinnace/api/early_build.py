"""Building as the engines of May and June 2013 did: line by line, every line an image.

Carried out by the engine's other verbs, as clients of 0.3.3 did it over the API: look for an image
that the same command made of the same parent, else create, start, wait and commit.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from pinnace.api import jsonfold
from pinnace.api.changes import plan_for
from pinnace.api.changes.change import JsonObject, RequestMessage
from pinnace.api.early_config import image_config
from pinnace.api.early_dockerfile import (
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
from pinnace.api.early_streams import EarlyProgress
from pinnace.api.handlers.sending import plain_message
from pinnace.api.versions import LAST_OF_2013
from pinnace.engine.images.derivation import FILE_NAME, Derived, Files
from pinnace.errors import Conflict, ImageNotFound, NotModified
from pinnace.model.commit import CommitParams
from pinnace.model.create import CreateParams
from pinnace.model.early import EarlyConfig, merged
from pinnace.model.image import ImageRecord
from pinnace.model.record import ContainerId
from pinnace.oci.reference import parse_reference
from pinnace.wire.containers import ContainerCreateRequest

if TYPE_CHECKING:
    from pinnace.engine.facade import Engine

_KILL = "SIGKILL"


class EarlyBuild:
    """One build.

    Args:
        engine: Carries it out.
        context: What ADD takes files from; None: there is none.
        tell: Takes the output, piece by piece.
    """

    def __init__(
        self,
        engine: "Engine",
        context: Files | None,
        tell: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._engine = engine
        self._context = context
        self._tell = tell
        self._image: ImageRecord | None = None
        self._config = EarlyConfig()
        self._maintainer = ""

    async def run(self, dockerfile: str) -> ImageRecord:
        """Carry out a Dockerfile; return the image of its last line.

        Raises:
            BuildFailure: A line is wrong, or its command failed.
            PinnaceError: The engine cannot do it.

        Cancelled: a command that runs is killed. What was made stays, as it always did.
        """
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
        if self._image is None:
            raise BuildFailure("An error occured during the build\n")
        return self._image

    async def _carry_out(self, line: Line) -> None:
        match line.instruction:
            case "FROM":
                await self._from(line.arguments)
            case "RUN":
                await self._run(line.arguments)
            case "ADD":
                await self._add(*two_words(line))
            case "ENV":
                await self._env(*two_words(line))
            case "CMD":
                await self._cmd(line.arguments)
            case "EXPOSE":
                await self._expose(line.arguments.split(" "))
            case _:
                self._maintainer = line.arguments
                await self._note(f"MAINTAINER {line.arguments}")

    async def _from(self, name: str) -> None:
        try:
            self._image = self._engine.images.resolve(name)
        except ImageNotFound:
            form = EarlyProgress(as_text=True)
            wanted = parse_reference(name).tagged().familiar()
            async for message in self._engine.images.pull(wanted):
                await self._tell(form.encode(plain_message(message)))
            self._image = self._engine.images.resolve(name)
        self._config = EarlyConfig()
        self._maintainer = ""

    async def _env(self, key: str, value: str) -> None:
        env, known = with_variable(self._config.env, key, value)
        self._config = replace(self._config, env=env)
        if not known:  # a variable that is set anew makes no image of its own
            await self._note(f"ENV {key}={value}")

    async def _cmd(self, arguments: str) -> None:
        words = command_words(arguments)
        self._config = replace(self._config, cmd=words)
        await self._note(f"CMD {listed(words)}")

    async def _expose(self, ports: list[str]) -> None:
        specs = [*ports, *(self._config.port_specs or [])]
        self._config = replace(self._config, port_specs=specs)
        await self._note(f"EXPOSE {listed(ports)}")

    async def _add(self, source: str, target: str) -> None:
        context, derivation = self._context, self._engine.derivation
        if context is None:
            raise BuildFailure("No context given. Impossible to use ADD")
        base = self._base("commit")
        new = self._new(shell_words(f"#(nop) ADD {source} in {target}"))
        if source.startswith(("http://", "https://")):
            async with derivation.download(source) as file:
                job = file.copy(FILE_NAME, target)
                self._image = await derivation.derive(base, new, [job])
            return
        self._image = await derivation.derive(base, new, [context.copy(source, target)])

    async def _note(self, text: str) -> None:
        """Make an image that differs in its config only."""
        base = self._base("commit")
        new = self._new(shell_words(f"#(nop) {text}"))
        self._image = await self._cached(base, list(new.words)) or (
            await self._engine.derivation.derive(base, new)
        )

    async def _run(self, command: str) -> None:
        base = self._base("run")
        words = shell_words(command)
        found = await self._cached(base, words)
        if found is not None:
            self._image = found
            return
        container = await self._created(base, words)
        await self._say(f"## {container}")
        code = await self._finished(container)
        if code != 0:
            raise BuildFailure(f"The command {listed(words)} returned a non-zero code: {code}")
        image = await self._engine.containers.commit(
            CommitParams(
                container=container,
                author=self._maintainer,
                pause=False,
                config=self._config.image_defaults(),
                inherit=False,
                further=self._config.further_fields(),
            )
        )
        self._image = self._engine.images.resolve(image)

    async def _created(self, base: ImageRecord, words: list[str]) -> ContainerId:
        """Create a container; what the image says goes where this build says nothing."""
        image = await self._engine.images.lineage.inspect(base.id)
        wanted = replace(self._step(words), image=base.id.removeprefix("sha256:"))
        # The image's ports are for containers that are to stay.
        complete = replace(merged(wanted, image_config(image)), port_specs=None)
        body: JsonObject = msgspec.to_builtins(complete)
        message = RequestMessage(body)
        plan_for("ContainerCreate", LAST_OF_2013).upgrade(message)
        request = jsonfold.convert(message.body, ContainerCreateRequest)
        params = CreateParams(
            config=request.config(),
            host_config=request.host_config,
            image=base.id,
            lenient_hostname=True,
        )
        return await self._engine.builds.steps.create(params)

    async def _finished(self, container: ContainerId) -> int:
        """Start a container and return its exit code; from then on it is the user's."""
        containers = self._engine.containers
        try:
            await containers.start(container)
            ticket = await containers.wait(container, "not-running")
            return (await ticket.result()).status_code
        except BaseException:
            with suppress(Conflict, NotModified):  # it does not run
                await containers.kill(container, _KILL)
            raise
        finally:
            await asyncio.shield(self._engine.builds.steps.keep(container))

    async def _cached(self, base: ImageRecord, words: list[str]) -> ImageRecord | None:
        """Return what the same command made of `base` before."""
        parent = base.id.removeprefix("sha256:")
        lineage = self._engine.images.lineage
        found = await lineage.find_child(parent, self._step(words).fields())
        return None if found is None else self._engine.images.resolve(found)

    def _step(self, words: list[str]) -> EarlyConfig:
        """Return the config that a command runs with; nothing is published meanwhile."""
        return replace(self._config, cmd=words, port_specs=None)

    def _new(self, words: list[str]) -> Derived:
        fields = self._step(words).fields()
        return Derived(
            words=words,
            config=self._config.image_defaults(),
            further=self._config.further_fields(),
            container_config={name: value for name, value in fields.items() if value},
            author=self._maintainer,
        )

    def _base(self, verb: str) -> ImageRecord:
        if self._image is None:
            raise BuildFailure(f"Please provide a source image with `from` prior to {verb}")
        return self._image

    def _shown(self) -> str:
        return "" if self._image is None else self._image.id.removeprefix("sha256:")

    async def _say(self, text: str) -> None:
        await self._tell(f"{text}\n".encode())
