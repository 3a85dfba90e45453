"""Containers: one public method per verb of the API."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from pinnace.contracts.monitor import Monitor
from pinnace.contracts.snapshots import Change
from pinnace.engine.containers import lifecycle
from pinnace.engine.containers.committing import Commits, commit_container
from pinnace.engine.containers.create import check_name
from pinnace.engine.containers.creation import Creation
from pinnace.engine.containers.keeper import Keeper
from pinnace.engine.containers.listing import ListParams, select
from pinnace.engine.containers.lookup import Publish, container_attributes
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.containers.runner import Runner
from pinnace.engine.containers.signals import parse_signal
from pinnace.engine.containers.spec import with_guarded_paths
from pinnace.engine.containers.updates import updated_host_config
from pinnace.engine.containers.views import inspect_view, summary_view
from pinnace.engine.containers.waiters import (
    Waiters,
    WaitResult,
    WaitTicket,
    parse_condition,
)
from pinnace.engine.filters import Filters
from pinnace.engine.locks import Locks
from pinnace.engine.times import parse_time
from pinnace.errors import (
    AlreadyExists,
    Conflict,
    ContainerNotFound,
    Internal,
    InvalidParameter,
    NotFound,
)
from pinnace.model.commit import CommitParams
from pinnace.model.container import (
    Container,
    ContainerInspect,
    ContainerSummary,
    HostConfig,
    Status,
)
from pinnace.model.create import CreateParams
from pinnace.model.record import ContainerId, ImageId
from pinnace.model.volume import PruneReport

STOP_TIMEOUT_S = 10
KILL_TIMEOUT_S = 10
_PRUNE_FILTERS = frozenset({"label", "label!", "until"})
SIGKILL = 9
_RENAMING = "Error when allocating new name"


class Images(Commits, Protocol):
    """What the verbs need of images."""

    def descendants(self, ref: str) -> frozenset[str]:
        """Return the ids of the image `ref` names and of all made from it; empty for none."""
        ...


class ContainerService:
    """The verbs. Refs are what the caller typed: a name, an id, or the beginning of one."""

    def __init__(
        self,
        *,
        registry: ContainerRegistry,
        creation: Creation,
        keeper: Keeper,
        runner: Runner,
        monitor: Monitor,
        waiters: Waiters,
        locks: Locks,
        publish: Publish,
        images: Images,
        exec_ids: Callable[[ContainerId], list[str]],
    ) -> None:
        self._registry = registry
        self._creation = creation
        self._keeper = keeper
        self._runner = runner
        self._monitor = monitor
        self._waiters = waiters
        self._locks = locks
        self._publish = publish
        self._images = images
        self._exec_ids = exec_ids

    # Finding

    def get(self, ref: str) -> Container:
        """Return a record.

        Raises:
            ContainerNotFound: There is none.
            InvalidParameter: The prefix fits several.
        """
        return self._registry.get(ref)

    def by_id(self, container_id: ContainerId) -> Container:
        """Return the record with this full id.

        Raises:
            ContainerNotFound: There is none.
        """
        return self._registry.by_id(container_id)

    def running(self, ref: str) -> Container:
        """Return the record of a running container.

        Raises:
            ContainerNotFound: There is none.
            Conflict: It does not run.
        """
        container = self._registry.get(ref)
        if container.state.status not in {"running", "paused"}:
            raise Conflict(f"container {container.id} is not running")
        return container

    async def inspect(self, ref: str, *, size: bool = False) -> ContainerInspect:
        """Return everything about a container; `size` costs a walk over its files."""
        container = self._registry.get(ref)
        host = with_guarded_paths(container.host_config, self._creation.facts)
        return inspect_view(
            replace(container, host_config=host),
            directory=str(self._runner.directory(container.id)),
            driver=self._runner.driver_data(container),
            exec_ids=self._exec_ids(container.id),
            sizes=await self._runner.sizes(container) if size else None,
        )

    async def list(self, params: ListParams) -> list[ContainerSummary]:
        """Return the containers asked for, newest first.

        Raises:
            InvalidParameter: A bad filter.
        """
        found = select(
            self._registry, params, lookup=self._registry.get, ancestors=self._images.descendants
        )
        now = time.time_ns()
        return [
            summary_view(
                container, now, await self._runner.sizes(container) if params.size else None
            )
            for container in found
        ]

    # Making and removing

    async def create(self, params: CreateParams) -> tuple[ContainerId, Sequence[str]]:
        """Create a container; return its id and warnings.

        Raises:
            InvalidParameter: Something in the request cannot be meant.
            ImageNotFound: The image is not here.
            AlreadyExists: The name is taken.
            NotSupported: Understood, but not done by this engine.
        """
        container, warnings = await self._creation.create(params)
        self._event(container, "create")
        return container.id, warnings

    async def remove(
        self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        """Remove a container, with `force` a running one too.

        Raises:
            ContainerNotFound: There is none.
            Conflict: It runs, or is being removed.
            Internal: `link` was asked for; there are no links. Kind and text are dockerd's.
        """
        container = self._registry.get(ref)
        if link:
            raise Internal("Conflict, cannot remove the default link name of the container")
        async with self._locks.hold(container.id):
            container = self._registry.by_id(container.id)
            if not force or container.state.status == "removing":
                self._check(container, "remove")
            if container.state.status == "restarting":
                container = await self._keeper.stop_restarting_locked(container)
            if container.state.status not in {"running", "paused"}:
                await self._keeper.remove_locked(container, volumes=volumes)
                return
            await self._kill_locked(container, SIGKILL)
        self._event(container, "kill", signal=str(SIGKILL))
        await self._wait_ended(container, KILL_TIMEOUT_S)
        async with self._locks.hold(container.id):
            left = self._registry.find(container.id)  # auto-remove may have been faster
            if left is not None:
                await self._keeper.remove_locked(left, volumes=volumes)

    async def prune(self, filters: Filters) -> PruneReport:
        """Remove every stopped container that passes the filters."""
        filters.validate(_PRUNE_FILTERS)
        until = [parse_time(text, now_ns=time.time_ns()) for text in filters.get("until")]
        deleted: list[str] = []
        reclaimed = 0
        for container in self._registry:
            if container.state.status in {"running", "paused", "restarting", "removing"}:
                continue
            labels = container.config.labels
            if not filters.matches_labels(labels) or filters.excludes_labels(labels):
                continue
            if any(container.created_ns > limit for limit in until):
                continue
            reclaimed += (await self._runner.sizes(container))[0]
            try:
                await self.remove(container.id)
            except (NotFound, Conflict):
                continue  # somebody else was faster
            deleted.append(container.id)
        self._publish("container", "prune", "", {"reclaimed": str(reclaimed)})
        return PruneReport(containers_deleted=deleted, space_reclaimed=reclaimed)

    async def rename(self, ref: str, name: str) -> None:
        """Give a container another name.

        Raises:
            InvalidParameter: No name, or not one.
            AlreadyExists: Another container has it.
        """
        container = self._registry.get(ref)
        if not name or name == "/":
            raise InvalidParameter("Neither old nor new names may be empty")
        try:
            new = check_name(f"/{name.removeprefix('/')}")
        except InvalidParameter as exc:
            raise InvalidParameter(f"{_RENAMING}: {exc.message}") from exc
        async with self._locks.hold(container.id):
            container = self._registry.by_id(container.id)
            old = container.name
            if new == old:
                raise InvalidParameter(
                    "Renaming a container with the same name as its current name"
                )
            try:
                container = await self._registry.put(replace(container, name=new))
            except AlreadyExists as exc:
                raise AlreadyExists(f"{_RENAMING}: {exc.message}") from exc
            self._runner.renamed(container)
        self._event(container, "rename", oldName=f"/{old}")

    # Starting and stopping

    async def start(self, ref: str, *, host_config: HostConfig | None = None) -> None:
        """Start a stopped container, with another host config if one is given.

        Raises:
            NotModified: It runs.
            Conflict: It is paused or being removed.
            StartFailed: Its command cannot be run.
        """
        container = self._registry.get(ref)
        async with self._locks.hold(container.id):
            container = self._registry.by_id(container.id)
            self._check(container, "start")
            if host_config is not None:
                rehosted = await self._creation.rehost(container, host_config)
                container = await self._registry.put(rehosted)
            self._keeper.cancel_restart(container.id)
            await self._keeper.start_locked(container)

    async def stop(
        self,
        ref: str,
        *,
        timeout: int | None = None,  # noqa: ASYNC109 (seconds of grace, not of ours)
        signal: str | None = None,
    ) -> None:
        """Ask a container to end, and kill it after `timeout` seconds (-1: never).

        Raises:
            NotModified: It does not run.
            InvalidParameter: No such signal.
        """
        container = self._registry.get(ref)
        number = parse_signal(signal or container.config.stop_signal or "SIGTERM")
        self._check(container, "stop")
        if await self._stop(container, number, timeout):
            self._event(container, "stop")

    async def restart(
        self,
        ref: str,
        *,
        timeout: int | None = None,  # noqa: ASYNC109 (seconds of grace, not of ours)
        signal: str | None = None,
    ) -> None:
        """Stop a container if it runs, and start it."""
        container = self._registry.get(ref)
        number = parse_signal(signal or container.config.stop_signal or "SIGTERM")
        self._check(container, "restart")
        live = container.state.status in {"running", "paused", "restarting"}
        if live and await self._stop(container, number, timeout):
            self._event(container, "stop")
        async with self._locks.hold(container.id):
            container = self._registry.by_id(container.id)
            if container.state.status not in {"running", "paused"}:
                self._keeper.cancel_restart(container.id)
                container = await self._keeper.start_locked(container)
        self._event(container, "restart")

    async def kill(self, ref: str, signal: str | None = None) -> None:
        """Send a signal (SIGKILL) to the container's main process; SIGKILL waits for the end.

        Raises:
            Conflict: It does not run.
            InvalidParameter: No such signal.
        """
        number = parse_signal(signal or "SIGKILL")
        try:
            container = self._registry.get(ref)
        except ContainerNotFound as exc:
            raise NotFound(f"cannot kill container: {ref}: {exc.message}") from exc
        async with self._locks.hold(container.id):
            container = self._registry.by_id(container.id)
            self._check(container, "kill")
            await self._kill_locked(container, number)
        self._event(container, "kill", signal=str(number))
        if number == SIGKILL:
            await self._wait_ended(container, KILL_TIMEOUT_S)

    async def pause(self, ref: str) -> None:
        """Freeze every process of a container.

        Raises:
            Conflict: It does not run, or is paused.
        """
        await self._freeze(ref, "pause", "paused")

    async def unpause(self, ref: str) -> None:
        """Let a paused container go on.

        Raises:
            Internal: It is not paused.
        """
        await self._freeze(ref, "unpause", "running")

    async def wait(self, ref: str, condition: str = "not-running") -> WaitTicket:
        """Register a wait.

        Raises:
            ContainerNotFound: There is none.
            InvalidParameter: Unknown condition.
        """
        wanted = parse_condition(condition)
        container = self._registry.get(ref)
        over = container.state.status not in {"running", "paused", "restarting"}
        if wanted == "not-running" and over:
            return self._waiters.done(WaitResult(container.state.exit_code))
        return self._waiters.add(container.id, wanted)

    # Other verbs

    async def resize(self, ref: str, height: int, width: int) -> None:
        """Set the size of the container's terminal, in characters.

        Raises:
            Conflict: It does not run.
        """
        container = self._registry.get(ref)
        self._check(container, "resize")
        if not container.config.tty:
            return  # dockerd takes it for done
        await self._monitor.resize(container.id, height=height, width=width)
        self._event(container, "resize", height=str(height), width=str(width))

    async def update(self, ref: str, changes: Mapping[str, object]) -> Sequence[str]:
        """Change limits and restart policy of a container, running or not; return warnings.

        Args:
            ref: The container.
            changes: The part of the HostConfig that was sent, by wire names.

        Raises:
            InvalidParameter: A value that cannot be; nothing was changed.
        """
        container = self._registry.get(ref)
        async with self._locks.hold(container.id):
            container = self._registry.by_id(container.id)
            self._check_updatable(container)
            host, warnings = updated_host_config(container, changes, self._creation.facts)
            changed = replace(container, host_config=host)
            if container.state.status in {"running", "paused"}:
                await self._runner.apply_limits(changed)
            await self._registry.put_fact(changed)
        self._event(changed, "update")
        return warnings

    async def changes(self, ref: str) -> Sequence[Change]:
        """Return what the container changed in its root filesystem."""
        return await self._runner.changes(self._registry.get(ref))

    async def commit(self, params: CommitParams) -> ImageId:
        """Make an image of the container's changes, frozen meanwhile if `pause` says so.

        Raises:
            ContainerNotFound: There is none.
            Conflict: It is being removed.
            InvalidParameter: A change, the name or the config is bad.
        """
        container = self._registry.get(params.container)
        async with self._locks.hold(container.id):
            container = self._registry.by_id(container.id)
            self._check_updatable(container)
            pause = params.pause and container.state.status == "running"
            if pause:
                await self._runner.freeze(container)
            try:
                image = await commit_container(self._images, container, params)
            finally:
                if pause:
                    await self._runner.thaw(container)
        self._event(container, "commit", comment=params.comment, imageID=image)
        return image

    # Inner parts

    async def _stop(self, container: Container, number: int, seconds: int | None) -> bool:
        """Stop; return False when it had ended in the meantime."""
        async with self._locks.hold(container.id):
            container = self._registry.by_id(container.id)
            if container.state.status == "restarting":
                await self._keeper.stop_restarting_locked(container)
                return True
            if container.state.status not in {"running", "paused"}:
                return False
            await self._kill_locked(container, number, stopping=True)
        self._event(container, "kill", signal=str(number))
        if seconds is None:
            seconds = container.config.stop_timeout
        if seconds is None:
            seconds = STOP_TIMEOUT_S
        if await self._wait_ended(container, None if seconds < 0 else seconds, fail=False):
            return True
        async with self._locks.hold(container.id):
            left = self._registry.find(container.id)
            if left is not None and left.state.status in {"running", "paused"}:
                await self._kill_locked(left, SIGKILL)
                self._event(left, "kill", signal=str(SIGKILL))
        await self._wait_ended(container, KILL_TIMEOUT_S)
        return True

    async def _kill_locked(
        self, container: Container, number: int, *, stopping: bool = False
    ) -> None:
        stop_signal = parse_signal(container.config.stop_signal or "SIGTERM")
        if stopping or number in {SIGKILL, stop_signal}:
            state = replace(container.state, manually_stopped=True)
            container = await self._registry.put_fact(replace(container, state=state))
        try:
            await self._monitor.signal(container.id, number)
        except NotFound:
            return  # it has just ended; the exit is on its way
        if container.state.status == "paused":
            await self._runner.thaw(container)
            state = replace(container.state, status="running")
            await self._registry.put_fact(replace(container, state=state))

    async def _wait_ended(
        self, container: Container, seconds: float | None, *, fail: bool = True
    ) -> bool:
        ended = self._keeper.ended(container.id)
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            if fail:
                raise Internal(
                    f"container {container.id} did not end {seconds} s after SIGKILL"
                ) from None
            return False
        return True

    async def _freeze(self, ref: str, command: lifecycle.Command, status: Status) -> None:
        container = self._registry.get(ref)
        async with self._locks.hold(container.id):
            container = self._registry.by_id(container.id)
            self._check(container, command)
            await (
                self._runner.freeze(container)
                if command == "pause"
                else self._runner.thaw(container)
            )
            state = replace(container.state, status=status)
            container = await self._registry.put_fact(replace(container, state=state))
        self._event(container, command)

    @staticmethod
    def _check_updatable(container: Container) -> None:
        if container.state.status in {"removing", "dead"}:
            raise Conflict(
                f"Cannot update container {container.id}: container is marked for removal and"
                ' cannot be "update".'
            )

    @staticmethod
    def _check(container: Container, command: lifecycle.Command) -> None:
        lifecycle.check(container.state.status, command, id=container.id, name=container.name)

    def _event(self, container: Container, action: str, **extra: str) -> None:
        self._publish("container", action, container.id, container_attributes(container, **extra))
