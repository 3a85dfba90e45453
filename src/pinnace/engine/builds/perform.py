"""Carries out operations: copying into snapshots, and running containers."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from pinnace.contracts.build_files import BuildFiles, FileJob
from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.snapshots import SnapshotKey, Snapshots
from pinnace.engine.builds.containers import StepContainers
from pinnace.engine.builds.faults import CommandFailed
from pinnace.engine.builds.graph import Built, Copying, Execution, Making, Operation
from pinnace.engine.builds.mounting import StepMounts
from pinnace.engine.builds.output import StepListener, StepText
from pinnace.engine.builds.solver import Performed, StepPolicy
from pinnace.engine.images.parts import Offload
from pinnace.engine.images.together import to_its_end
from pinnace.errors import InvalidParameter
from pinnace.model.container import (
    ContainerConfig,
    HealthConfig,
    HostConfig,
    LogConfig,
    Mount,
)
from pinnace.model.create import CreateParams
from pinnace.model.record import ContainerId


class StepPerformer:
    """Implements `solver.Performer`; its docstrings hold here."""

    def __init__(
        self,
        *,
        files: BuildFiles,
        snapshots: Snapshots,
        containers: StepContainers,
        mounts: StepMounts,
        offload: Offload,
    ) -> None:
        self._files = files
        self._snapshots = snapshots
        self._containers = containers
        self._mounts = mounts
        self._offload = offload

    async def perform(
        self, operation: Operation, parent: Built, out: StepListener, policy: StepPolicy
    ) -> Performed:
        """See the protocol."""
        match operation:
            case Execution():
                return await self._run(operation, parent, out, policy)
            case Copying(jobs=jobs):
                return await self._write(parent, jobs)
            case Making(job=job):
                return await self._write(parent, [job])

    @asynccontextmanager
    async def release(self, performed: Performed, policy: StepPolicy) -> AsyncIterator[bool]:
        """See the protocol; a container that stays keeps its files."""
        if not performed.container:
            yield True
        elif not policy.remove:
            yield False
        else:
            async with self._containers.at_rest(ContainerId(performed.container)) as is_at_rest:
                yield is_at_rest

    async def clear(self, performed: Performed, out: StepListener, policy: StepPolicy) -> None:
        """See the protocol."""
        if performed.container:
            await self._dismiss(ContainerId(performed.container), out, remove=policy.remove)
        elif performed.snapshot is not None:
            key = performed.snapshot
            await to_its_end(self._offload(lambda: self._snapshots.remove(key)))

    async def _write(self, parent: Built, jobs: Sequence[FileJob]) -> Performed:
        key = SnapshotKey(f"build-{secrets.token_hex(16)}")
        top = parent.top
        try:
            await to_its_end(self._offload(lambda: self._files.apply(key, top, jobs)))
        except asyncio.CancelledError:
            await to_its_end(self._offload(lambda: self._snapshots.remove(key)))
            raise
        return Performed(key)

    async def _run(
        self, operation: Execution, parent: Built, out: StepListener, policy: StepPolicy
    ) -> Performed:
        if parent.record is None:
            raise InvalidParameter(
                f'exec: "{operation.words[0]}": stat {operation.words[0]}: no such file or'
                " directory: unknown"
            )
        ending = self._containers.stop if policy.keep else self._containers.remove
        done: ContainerId | None = None
        try:
            async with self._mounts.ready(operation.mounts) as mounts:
                container = await self._containers.create(
                    _create_params(operation, parent, mounts, policy)
                )
                await self._execute(container, operation, parent, out=out, policy=policy)
                done = container
        except BaseException:
            if done is not None:  # the command went well, and taking away its mounts did not
                await to_its_end(ending(done))
            raise
        return Performed(snapshot_key(done), done)

    async def _execute(
        self,
        container: ContainerId,
        operation: Execution,
        parent: Built,
        *,
        out: StepListener,
        policy: StepPolicy,
    ) -> None:
        """Run a container's command; after a failure the container is dealt with."""
        try:
            await out.running(container)
            await self._output(container, operation, out)
            await self._mounts.remove_stubs(container, parent.top, operation.mounts)
        except asyncio.CancelledError:
            ending = self._containers.stop if policy.keep else self._containers.remove
            await to_its_end(ending(container))
            raise
        except BaseException:
            await self._dismiss(container, out, remove=policy.force_remove)
            raise

    async def _output(
        self, container: ContainerId, operation: Execution, out: StepListener
    ) -> None:
        """Run the command and tell what it prints.

        Raises:
            CommandFailed: It did not end with 0.
        """
        text = StepText()

        async def took(stream: int, data: bytes) -> None:
            piece = text.decode(stream, data)
            if piece:
                await out.printed(piece)

        ended = await self._containers.run(container, took)
        for stream in (1, 2):
            rest = text.decode(stream, b"", final=True)
            if rest:
                await out.printed(rest)
        if ended.code:
            raise CommandFailed(operation.words, ended.code)

    async def _dismiss(self, container: ContainerId, out: StepListener, *, remove: bool) -> None:
        if not remove:
            await self._containers.keep(container)
            return
        await to_its_end(self._containers.remove(container))
        await out.removed(container)


def _create_params(
    operation: Execution, parent: Built, mounts: list[Mount], policy: StepPolicy
) -> CreateParams:
    host = replace(_host_config(operation), mounts=mounts or None)
    if not policy.keep:
        # The client gets the output as it comes; nobody asks for it later.
        host = replace(host, log_config=LogConfig(type="none"))
    return CreateParams(
        config=_container_config(operation, parent),
        host_config=host,
        image=parent.id,
        # Those of images are not the client's; engines of old were less strict.
        lenient_hostname=True,
    )


def _container_config(operation: Execution, parent: Built) -> ContainerConfig:
    config = operation.config
    environment = [
        *(config.env or []),
        *(f"{name}={value}" for name, value in operation.arguments.items()),
    ]
    return replace(
        config,
        image=config.image or parent.id,
        cmd=list(operation.words),
        entrypoint=[""],
        env=environment,
        healthcheck=HealthConfig(test=["NONE"]),
        on_build=None,
    )


def _host_config(operation: Execution) -> HostConfig:
    limits = operation.limits
    return HostConfig(
        network_mode=operation.network or limits.network_mode,
        extra_hosts=list(limits.extra_hosts) or None,
        shm_size=limits.shm_size,
        memory=limits.memory,
        memory_swap=limits.memory_swap,
        cpu_shares=limits.cpu_shares,
        cpu_period=limits.cpu_period,
        cpu_quota=limits.cpu_quota,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        cgroup_parent=limits.cgroup_parent,
        ulimits=list(limits.ulimits) or None,
        security_opt=list(limits.security_opt) or None,
        dns=list(limits.dns) or None,
    )
