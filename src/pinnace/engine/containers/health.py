"""Health checks: probes run as execs, and what their results say about a container.

`judge` is the rule, pure; `HealthService` owns one task per container that is probed.
"""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pinnace.engine.containers.execs import ExecService, ExecStartParams
from pinnace.engine.containers.lookup import ContainerLookup, Publish, container_attributes
from pinnace.engine.containers.views import rfc3339
from pinnace.errors import Internal, NotFound, PinnaceError, Unavailable
from pinnace.model.container import Container, Health, HealthConfig, HealthResult
from pinnace.model.exec import ExecConfig
from pinnace.model.record import ContainerId, ExecId

log = logging.getLogger(__name__)

MAX_OUTPUT_BYTES = 4096
MAX_RESULTS = 5
DEFAULT_INTERVAL_NS = 30_000_000_000
DEFAULT_TIMEOUT_NS = 30_000_000_000
DEFAULT_START_INTERVAL_NS = 5_000_000_000
DEFAULT_RETRIES = 3
DEFAULT_SHELL = ("/bin/sh", "-c")
NO_RESULT = -1  # exit code of a probe that was not made, or took too long
_SECOND_NS = 1_000_000_000
_START_WAIT_S = 30.0
_KILL_WAIT_S = 10.0
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe gave: its exit code (`NO_RESULT`: none) and the beginning of its output."""

    exit_code: int
    output: str


class Prober(Protocol):
    """Runs one probe."""

    async def probe(
        self, container: Container, command: Sequence[str], timeout_ns: int
    ) -> ProbeResult:
        """Run the command in the container.

        Cancelled: the probe's process is killed.

        Raises:
            PinnaceError: It could not be run; the text becomes the result's output.
        """
        ...


def probe_command(container: Container) -> list[str] | None:
    """Return the command that probes the container; None when it has no health check."""
    check = container.config.healthcheck
    if check is None or not check.test:
        return None
    kind, *words = check.test
    if kind == "CMD" and words:
        return words
    if kind == "CMD-SHELL" and words:
        return [*(container.config.shell or DEFAULT_SHELL), *words]
    if kind != "NONE":
        log.warning("unknown health check type %r", kind, extra={"container": container.id})
    return None


def initial_health(container: Container) -> Health | None:
    """Return the health at start; None when the container has no health check."""
    return Health(log=[]) if probe_command(container) else None


def judge(
    health: Health, result: HealthResult, config: HealthConfig, *, since_start_ns: int
) -> Health:
    """Return the health after one more result.

    A failure within the start period does not count while nothing has succeeded yet.

    Args:
        health: Before.
        result: The newest result.
        config: The container's health check.
        since_start_ns: From the container's start to the probe's.
    """
    results = [*(health.log or ()), result][-MAX_RESULTS:]
    if result.exit_code == 0:
        return Health(status="healthy", failing_streak=0, log=results)
    streak = health.failing_streak
    if not (health.status == "starting" and since_start_ns < config.start_period):
        streak += 1
    failed = streak >= (config.retries if config.retries > 0 else DEFAULT_RETRIES)
    status = "unhealthy" if failed else health.status
    return Health(status=status, failing_streak=streak, log=results)


def next_probe_ns(health: Health, config: HealthConfig, *, since_start_ns: int) -> int:
    """Return how long to wait before the next probe.

    During the start period probes come more often until one succeeds, and one follows right after
    it when it ends before the next would be due.
    """
    interval = config.interval or DEFAULT_INTERVAL_NS
    left = config.start_period - since_start_ns
    if left <= 0:
        return interval
    if left < interval:
        interval = left
    if health.status == "starting":
        return min(interval, config.start_interval or DEFAULT_START_INTERVAL_NS)
    return interval


class HealthService:
    """Probes the running containers that have a health check."""

    def __init__(
        self,
        containers: ContainerLookup,
        prober: Prober,
        update_health: Callable[[ContainerId, Health], Awaitable[None]],
        publish: Publish,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Report every result by `update_health`; time and sleeping can be a fake clock's."""
        self._containers = containers
        self._prober = prober
        self._update_health = update_health
        self._publish = publish
        self._now_ns = now_ns
        self._sleep = sleep
        self._tasks: dict[ContainerId, asyncio.Task[None]] = {}

    def watch(self, container: Container) -> None:
        """Begin to probe a container that was just started or adopted; no-op without a check."""
        container_id = container.id
        self.stop(container_id)
        if probe_command(container) is None:
            return
        task = asyncio.create_task(self.run(container_id), name=f"health {container_id[:12]}")
        self._tasks[container_id] = task
        task.add_done_callback(lambda ended: self._ended(container_id, ended))

    def stop(self, container_id: ContainerId) -> None:
        """Stop probing; a probe under way is killed."""
        task = self._tasks.get(container_id)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop probing every container and wait for the probes under way."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def run(self, container_id: ContainerId) -> None:
        """Probe one container until it no longer runs or the task is cancelled."""
        while (container := self._find_active(container_id)) is not None:
            config = container.config.healthcheck or HealthConfig()
            health = container.state.health or Health(log=[])
            wait_ns = next_probe_ns(health, config, since_start_ns=self._since_start(container))
            await self._sleep(wait_ns / _SECOND_NS)
            container = self._find_active(container_id)
            if container is not None and container.state.status == "running":
                await self._probe(container)

    async def _probe(self, container: Container) -> None:
        command = probe_command(container)
        config = container.config.healthcheck
        if command is None or config is None:
            return
        since_start_ns = self._since_start(container)
        began = self._now_ns()
        try:
            timeout_ns = config.timeout or DEFAULT_TIMEOUT_NS
            probed = await self._prober.probe(container, command, timeout_ns)
        except PinnaceError as exc:
            log.warning("health check failed: %s", exc, extra={"container": container.id})
            probed = ProbeResult(NO_RESULT, exc.message)
        result = HealthResult(
            start=rfc3339(began),
            end=rfc3339(self._now_ns()),
            exit_code=probed.exit_code,
            output=probed.output,
        )
        current = self._find_active(container.id)
        if current is None or current.state.started_ns != container.state.started_ns:
            return
        before = current.state.health or Health(log=[])
        after = judge(before, result, config, since_start_ns=since_start_ns)
        await self._update_health(container.id, after)
        if after.status != before.status:
            action = f"health_status: {after.status}"
            self._publish("container", action, current.id, container_attributes(current))

    def _find_active(self, container_id: ContainerId) -> Container | None:
        """Return the container while it runs or is paused."""
        try:
            container = self._containers.by_id(container_id)
        except NotFound:
            return None
        return container if container.state.status in ("running", "paused") else None

    def _since_start(self, container: Container) -> int:
        return self._now_ns() - container.state.started_ns

    def _ended(self, container_id: ContainerId, task: asyncio.Task[None]) -> None:
        if self._tasks.get(container_id) is task:
            del self._tasks[container_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("health task failed", exc_info=error, extra={"container": container_id})


class ExecProber:
    """Runs probes as execs, with the container's user and working directory."""

    def __init__(self, execs: ExecService) -> None:
        self._execs = execs

    async def probe(
        self, container: Container, command: Sequence[str], timeout_ns: int
    ) -> ProbeResult:
        """Run the command; see `Prober.probe`."""
        config = ExecConfig(
            cmd=list(command),
            attach_stdout=True,
            attach_stderr=True,
            user=container.config.user,
            working_dir=container.config.working_dir,
        )
        exec_id = await self._execs.create(container.id, config)
        plan = await self._execs.start(exec_id, ExecStartParams(framed=False))
        if plan is None:
            raise Internal("health check was started without its output")
        output = bytearray()
        ours, theirs = socket.socketpair()
        async with asyncio.TaskGroup() as group:
            with ours, theirs:
                collecting = group.create_task(_collect(ours, output))
                serving = group.create_task(plan.run(theirs.fileno()))
                try:
                    code = await self._finish(exec_id, serving, timeout_ns)
                finally:
                    serving.cancel()
                    await asyncio.wait([serving])
                    theirs.shutdown(socket.SHUT_WR)
                    await asyncio.wait([collecting])
        if plan.failure is not None:
            raise plan.failure
        text = bytes(output[:MAX_OUTPUT_BYTES]).decode(errors="replace")
        if len(output) > MAX_OUTPUT_BYTES:
            text += "..."
        if code is not None:
            return ProbeResult(code, text)
        reason = f"Health check exceeded timeout ({go_duration(timeout_ns)})"
        return ProbeResult(NO_RESULT, f"{reason}: {text}" if text else reason)

    async def _finish(
        self, exec_id: ExecId, serving: asyncio.Task[None], timeout_ns: int
    ) -> int | None:
        """Return the exit code once the output is over; None when it took too long."""
        try:
            async with asyncio.timeout(_START_WAIT_S):
                await self._execs.wait_started(exec_id)
        except TimeoutError as exc:
            raise Unavailable("timed out starting health check") from exc
        try:
            async with asyncio.timeout(timeout_ns / _SECOND_NS):
                code = await self._execs.wait(exec_id)
        except TimeoutError:
            await self._kill(exec_id)
            return None
        except asyncio.CancelledError:
            await asyncio.shield(self._kill(exec_id))
            raise
        await asyncio.wait([serving], timeout=_KILL_WAIT_S)
        return code

    async def _kill(self, exec_id: ExecId) -> None:
        # The end is awaited, so that dying probes do not pile up.
        try:
            await self._execs.signal(exec_id, signal.SIGKILL)
            async with asyncio.timeout(_KILL_WAIT_S):
                await self._execs.wait(exec_id)
        except (TimeoutError, NotFound):
            log.warning("health check could not be killed", extra={"exec": exec_id})


async def _collect(source: socket.socket, output: bytearray) -> None:
    """Read to the end, keeping one byte more than is shown."""
    source.settimeout(0)
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _READ_BYTES):
        output += data[: MAX_OUTPUT_BYTES + 1 - len(output)]


def go_duration(duration_ns: int) -> str:
    """Return a duration as Go prints it: `30s`, `1m30s`, `1.5s`, `500ms`, `20µs`."""
    if duration_ns < _SECOND_NS:
        for unit, size in (("ms", 1_000_000), ("µs", 1000), ("ns", 1)):
            if duration_ns >= size:
                return f"{_trimmed(duration_ns, size)}{unit}"
        return "0s"
    minutes, rest = divmod(duration_ns, 60 * _SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    text = f"{_trimmed(rest, _SECOND_NS)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _trimmed(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = str(part).zfill(len(str(unit)) - 1).rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)
