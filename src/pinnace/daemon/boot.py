"""Makes records and host agree when the daemon starts; every repair is logged.

The store says what was asked for and last known; the supervisor and the host say what is.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.monitor import Exit, TaskStatus
from pinnace.daemon.compose import Daemon
from pinnace.engine.containers.connecting import attachment_of, without_address
from pinnace.engine.containers.restart import wants_start_at_boot
from pinnace.errors import PinnaceError
from pinnace.model.container import Container
from pinnace.model.record import ContainerId

log = logging.getLogger(__name__)

LOST_EXIT_CODE = 255
KILLED_EXIT_CODE = 128 + 9
_LIVE = frozenset({"running", "paused", "restarting"})


@dataclass(frozen=True, slots=True)
class Findings:
    """What boot found of one container."""

    container: Container
    running: bool
    wants_start: bool


async def boot(daemon: Daemon) -> list[ContainerId]:
    """Repair what a crash left; return the containers to be started by their policy.

    Raises:
        Unavailable: The supervisor cannot be reached or started.
    """
    tasks = {status.id: status for status in await daemon.monitor.connect()}
    for container in daemon.registry:  # before anything is cleared up
        if container.id in tasks and tasks[container.id].exit is None:
            daemon.runner.adopt(container)
    findings = [await _settle(daemon, container, tasks) for container in daemon.registry]
    running = [found.container for found in findings if found.running]
    attachments = [found for found in map(attachment_of, running) if found is not None]
    for sentence in await daemon.networks.setup(attachments):
        log.warning("repaired: %s", sentence)
    for container in running:
        daemon.keeper.adopt(container)
        daemon.runner.detach_root_later(container)  # the daemon may have died before
    await daemon.runner.drained()
    await _remove_orphans(daemon, tasks)
    return [found.container.id for found in findings if found.wants_start]


async def _settle(
    daemon: Daemon, container: Container, tasks: Mapping[str, TaskStatus]
) -> Findings:
    """Bring one record up to date."""
    status = tasks.get(container.id)
    was_live = container.state.status in _LIVE
    half_started = daemon.intents.get(container.id) == "start"
    if status is not None and status.exit is None and was_live and not half_started:
        container = await _unless_half_paused(daemon, container)
        return Findings(container, running=True, wants_start=False)
    exit_ = None
    if half_started:
        log.warning("repaired: undid a half-made start", extra={"container": container.id})
        container, exit_ = _half_run(container, status)
    elif was_live and container.state.status != "restarting":
        exit_ = status.exit if status is not None and status.exit else _recorded(daemon, container)
        log.warning(
            "repaired: container ended while the daemon was away",
            extra={"container": container.id, "exit_code": exit_.code},
        )
    container = await _stopped(daemon, container, exit_)
    if status is not None:
        await daemon.monitor.forget(container.id, kill=True)
    daemon.runner.clean_up_later(container)
    if container.host_config.auto_remove:  # as dockerd, also one that was never started
        await daemon.keeper.remove_locked(container, volumes=True)
        return Findings(container, running=False, wants_start=False)
    state = container.state
    wants = wants_start_at_boot(
        container.host_config.restart_policy,
        exit_code=state.exit_code,
        manually_stopped=state.manually_stopped,
    )
    return Findings(container, running=False, wants_start=wants and state.started_ns > 0)


async def _unless_half_paused(daemon: Daemon, container: Container) -> Container:
    """Let a container run on whose pause or unpause was cut short: nobody heard that it was done.

    A frozen process could not even be killed by somebody who takes it for running.
    """
    is_paused = container.state.status == "paused"
    if await daemon.runner.is_frozen(container) is is_paused:
        return container
    log.warning("repaired: undid a half-made pause", extra={"container": container.id})
    if not is_paused:
        await daemon.runner.thaw(container)
        return container
    state = replace(container.state, status="running")
    return await daemon.registry.put_fact(replace(container, state=state))


def _half_run(container: Container, status: TaskStatus | None) -> tuple[Container, Exit | None]:
    """Return what is to be recorded of a start that was cut short.

    Where its network was is known to nobody any more, so a command that runs already is killed.
    """
    if status is None or not status.started:
        return container, None
    exit_ = status.exit or Exit(container.id, KILLED_EXIT_CODE, time.time_ns())
    state = replace(container.state, status="running", started_ns=exit_.finished_ns)
    return replace(container, state=state), exit_


async def _stopped(daemon: Daemon, container: Container, exit_: Exit | None) -> Container:
    state = container.state
    if exit_ is not None:
        state = replace(
            state,
            exit_code=exit_.code,
            finished_ns=exit_.finished_ns,
            oom_killed=exit_.oom_killed,
            error="the exit status was lost" if exit_.lost else "",
        )
    if state.status != "created":
        state = replace(state, status="exited", pid=0)
    stopped = replace(
        container,
        state=state,
        sandbox="",
        ports={},
        networks={name: without_address(s) for name, s in container.networks.items()},
    )
    if stopped == container and not daemon.intents.get(container.id):
        return container
    return await daemon.registry.put_fact(stopped)


def _recorded(daemon: Daemon, container: Container) -> Exit:
    """Read the exit that the supervisor wrote down before it went away."""
    path = daemon.bundles.directory(container.id) / "exit.json"
    try:
        written = json.loads(path.read_text())
        code, finished = int(written["code"]), int(written["finished_ns"])
        if finished >= container.state.started_ns:
            return Exit(container.id, code, finished, bool(written.get("oom_killed")))
    except (OSError, ValueError, KeyError):
        pass  # it never came to that: the host went down
    return Exit(container.id, LOST_EXIT_CODE, time.time_ns(), lost=True)


async def _remove_orphans(daemon: Daemon, tasks: Mapping[str, TaskStatus]) -> None:
    """Remove what belongs to no record: tasks, directories, snapshots."""
    known = {container.id for container in daemon.registry}
    for task_id, status in tasks.items():
        if task_id in known:
            continue
        if status.exit is not None or _is_container(daemon, task_id):
            log.warning("repaired: forgot a task without record", extra={"task": task_id})
            await daemon.monitor.forget(task_id, kill=True)
    for container_id in await daemon.runner.remove_orphans(known):
        log.warning("repaired: removed leftovers", extra={"container": container_id})
    keys = [snapshot_key(ContainerId(container_id)) for container_id in known]
    keys += [key for each in known for key in daemon.bundles.image_keys(ContainerId(each))]
    for sentence in await daemon.engine.images.repair(keys):
        log.warning("repaired: %s", sentence)


def _is_container(daemon: Daemon, task_id: str) -> bool:
    """Whether a task without record was a container (execs keep running with theirs)."""
    return daemon.bundles.bundle(ContainerId(task_id)).exists()


async def repair_builds(daemon: Daemon) -> None:
    """Remove what unfinished builds left; once exits are followed, for some may still run."""
    for sentence in await daemon.engine.builds.repair():
        log.warning("repaired: %s", sentence)


async def start_by_policy(daemon: Daemon, wanted: list[ContainerId]) -> None:
    """Start the containers whose restart policy asks for it."""
    for container_id in wanted:
        async with daemon.locks.hold(container_id):
            container = daemon.registry.find(container_id)
            if container is None or container.state.status not in {"created", "exited"}:
                continue
            try:
                await daemon.keeper.start_locked(container)
            except PinnaceError as exc:
                log.warning(
                    "could not start by restart policy: %s", exc, extra={"container": container_id}
                )
