"""Keeps containers running: the one place that records starts and exits.

The exit of a container is recorded here, once; waiters, events, restarts and automatic removal
follow from it (ARCHITECTURE C4).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Literal, Protocol

from msgspec.structs import replace

from pinnace.contracts.monitor import Exit
from pinnace.engine.containers.health import HealthService
from pinnace.engine.containers.lookup import Publish, container_attributes
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.containers.restart import Backoff, wants_restart
from pinnace.engine.containers.runner import Runner
from pinnace.engine.containers.waiters import Waiters, WaitResult
from pinnace.engine.locks import Locks
from pinnace.errors import Internal, PinnaceError, RuntimeFailure, StartFailed, Unavailable
from pinnace.model.container import Container, Health, RunState
from pinnace.model.record import ContainerId

log = logging.getLogger(__name__)

START_FAILED = 128  # exit code of a container that could not be started, as dockerd's


class Spawn(Protocol):
    """Starts a background task that the daemon's task group owns."""

    def __call__(
        self, work: Coroutine[object, object, None], *, name: str
    ) -> "asyncio.Task[None]":
        """Start `work`."""
        ...


class RemoveVolumes(Protocol):
    """Removes the anonymous volumes of a container that is gone."""

    async def __call__(self, container: Container) -> None:
        """Remove them."""
        ...


@dataclass(slots=True)
class _Restart:
    """A restart by policy that is waiting for its delay."""

    backoff: Backoff = field(default_factory=Backoff)
    task: "asyncio.Task[None] | None" = None


class Keeper:
    """Starts containers, records their exits, restarts and removes them.

    Methods named `…_locked` expect the caller to hold the container's lock.
    """

    def __init__(
        self,
        *,
        registry: ContainerRegistry,
        runner: Runner,
        waiters: Waiters,
        locks: Locks,
        publish: Publish,
        spawn: Spawn,
        health: HealthService,
        drop_execs: Callable[[ContainerId], None],
        remove_volumes: RemoveVolumes,
    ) -> None:
        self._registry = registry
        self._runner = runner
        self._waiters = waiters
        self._locks = locks
        self._publish = publish
        self._spawn = spawn
        self._health = health
        self._drop_execs = drop_execs
        self._remove_volumes = remove_volumes
        self._restarts: dict[str, _Restart] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._stopping = False

    async def start_locked(self, container: Container, *, restarts: int = 0) -> Container:
        """Start a container that may be started.

        Raises:
            PinnaceError: It could not; the record says why, and nothing of the start remains.
        """
        await self._runner.settled(container.id)
        self._ended[container.id] = asyncio.Event()
        try:
            started = await self._runner.start(
                container, record=lambda: self._registry.put(container, intent="start")
            )
        except PinnaceError as exc:
            await self._start_failed(container, exc)
            raise
        except OSError as exc:  # no space for the files of the start
            failure = Internal(f"{exc.filename}: {(exc.strerror or 'failed').lower()}")
            await self._start_failed(container, failure)
            raise failure from exc
        state = RunState(
            status="running",
            pid=started.pid,
            started_ns=time.time_ns(),
            finished_ns=container.state.finished_ns,
            health=self._first_health(container),
        )
        container = await self._registry.put_fact(
            replace(
                container,
                state=state,
                sandbox=started.sandbox,
                networks=started.networks,
                ports=started.ports,
                restart_count=restarts,
            )
        )
        self._tell_volumes(container, "mount")
        self._event(container, "start")
        self._watch_health(container)
        self._runner.detach_root_later(container)
        return container

    async def on_exit(self, exit_: Exit) -> None:
        """Record the end of a container's process and do what follows."""
        async with self._locks.hold(exit_.id):
            container = self._registry.find(exit_.id)
            if container is None or container.id != exit_.id:
                return
            if container.state.status not in {"running", "paused"}:
                return
            await self._record_exit(container, exit_)

    async def _record_exit(self, container: Container, exit_: Exit) -> None:
        state = container.state
        self._health.stop(container.id)
        run_ns = max(0, exit_.finished_ns - state.started_ns)
        again = not self._stopping and wants_restart(
            container.host_config.restart_policy,
            exit_code=exit_.code,
            restarts=container.restart_count,
            manually_stopped=state.manually_stopped,
        )
        container = replace(
            container,
            state=replace(
                state,
                status="restarting" if again else "exited",
                pid=0,
                exit_code=exit_.code,
                finished_ns=exit_.finished_ns,
                oom_killed=exit_.oom_killed,
                error="the exit status was lost" if exit_.lost else "",
            ),
            sandbox="",
            ports={},
        )
        removed = container.host_config.auto_remove and not again
        container = await self._runner.disconnect(container)
        if not removed:
            container = await self._registry.put_fact(container)
        self._drop_execs(container.id)
        if exit_.oom_killed:
            self._event(container, "oom")
        self._event(
            container,
            "die",
            exitCode=str(exit_.code),
            execDuration=str(run_ns // 1_000_000_000),
        )
        self._tell_volumes(container, "unmount")
        self._runner.clean_up_later(container)
        ended = self._ended.pop(container.id, None)
        if ended is not None:
            ended.set()
        if removed:
            await self._remove_after_exit(container)
            return
        self._waiters.exited(container.id, WaitResult(exit_.code))
        if again:
            self._restart_later(container, run_ns)

    async def _remove_after_exit(self, container: Container) -> None:
        result = WaitResult(container.state.exit_code)
        try:
            await self.remove_locked(container, volumes=True)
        except PinnaceError as exc:
            log.exception("automatic removal failed", extra={"container": container.id})
            if self._registry.find(container.id) is not None:
                await self._registry.put_fact(container)
            self._waiters.exited(container.id, result)
            self._waiters.removal_failed(
                container.id, WaitResult(result.status_code, error=exc.message)
            )

    async def remove_locked(self, container: Container, *, volumes: bool) -> None:
        """Forget a container that does not run; its files follow in the background."""
        self.cancel_restart(container.id)
        self._drop_execs(container.id)
        await self._registry.delete(container)
        self._event(container, "destroy")
        self._waiters.removed(container.id, WaitResult(container.state.exit_code))
        self._runner.destroy_later(container)
        if volumes:
            await self._remove_volumes(container)

    def ended(self, container_id: ContainerId) -> asyncio.Event:
        """Return the event set when the present run has been recorded as over."""
        event = self._ended.get(container_id)
        if event is None:
            event = asyncio.Event()
            event.set()
        return event

    def adopt(self, container: Container) -> None:
        """Take up a container that went on running while the daemon was away."""
        self._ended[container.id] = asyncio.Event()
        self._watch_health(container)

    async def stop_restarting_locked(self, container: Container) -> Container:
        """End the wait for a restart; the container counts as exited."""
        self.cancel_restart(container.id)
        state = replace(container.state, status="exited", manually_stopped=True)
        container = await self._registry.put_fact(replace(container, state=state))
        self._waiters.exited(container.id, WaitResult(state.exit_code))
        return container

    def cancel_restart(self, container_id: ContainerId) -> None:
        """Forget a waiting restart and its delay."""
        restart = self._restarts.pop(container_id, None)
        task = restart.task if restart is not None else None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def shut_down(self) -> None:
        """Start no container any more; running ones are left alone."""
        self._stopping = True
        for container_id in tuple(self._restarts):
            self.cancel_restart(ContainerId(container_id))

    async def update_health(self, container_id: ContainerId, health: Health) -> None:
        """Record the result of a health probe."""
        async with self._locks.hold(container_id):
            container = self._registry.find(container_id)
            if container is None or container.state.status not in {"running", "paused"}:
                return
            state = replace(container.state, health=health)
            await self._registry.put_fact(replace(container, state=state))

    def _restart_later(self, container: Container, run_ns: int) -> None:
        restart = self._restarts.setdefault(container.id, _Restart())
        delay_s = restart.backoff.next(run_ns)
        restart.task = self._spawn(
            self._restart(container.id, delay_s), name=f"restart {container.name}"
        )

    async def _restart(self, container_id: ContainerId, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        async with self._locks.hold(container_id):
            container = self._registry.find(container_id)
            if container is None or container.state.status != "restarting":
                return
            try:
                await self.start_locked(container, restarts=container.restart_count + 1)
            except PinnaceError as exc:
                log.exception("restart failed", extra={"container": container_id})
                failed = self._registry.by_id(container_id)
                if type(exc) in {Unavailable, Internal} and not self._stopping:
                    await self._restart_again_locked(failed)
                    return
                self._waiters.exited(container_id, WaitResult(failed.state.exit_code))

    async def _restart_again_locked(self, container: Container) -> None:
        """Try once more what failed for want of something that may come back."""
        state = replace(container.state, status="restarting")
        container = await self._registry.put_fact(replace(container, state=state))
        self._restart_later(container, run_ns=0)

    def _first_health(self, container: Container) -> Health | None:
        check = container.config.healthcheck
        if check is None or not check.test or check.test[0] == "NONE":
            return None
        return Health(status="starting", log=[])

    def _watch_health(self, container: Container) -> None:
        if container.state.health is not None:
            self._health.watch(container)

    async def _start_failed(self, container: Container, failure: PinnaceError) -> None:
        ended = self._ended.pop(container.id, None)
        if ended is not None:
            ended.set()
        code = START_FAILED
        if isinstance(failure, RuntimeFailure | StartFailed):
            code = failure.exit_code
        state = replace(
            container.state,
            status="exited" if container.state.started_ns else "created",
            pid=0,
            exit_code=code,
            error=failure.message,
            finished_ns=container.state.finished_ns,
        )
        failed = replace(container, state=state, sandbox="", ports={})
        failed = await self._registry.put_fact(failed)
        if container.host_config.auto_remove:
            await self.remove_locked(failed, volumes=True)

    def _tell_volumes(self, container: Container, action: Literal["mount", "unmount"]) -> None:
        for mount in container.mounts:
            if mount.type != "volume":
                continue
            attributes = {"container": container.id, "driver": mount.driver}
            if action == "mount":
                attributes |= {
                    "destination": mount.destination,
                    "propagation": "",
                    "read/write": str(mount.rw).lower(),
                }
            self._publish("volume", action, mount.name, attributes)

    def _event(self, container: Container, action: str, **extra: str) -> None:
        self._publish("container", action, container.id, container_attributes(container, **extra))
