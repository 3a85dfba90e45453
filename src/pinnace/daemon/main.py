"""`pinnace daemon`: read the configuration, build the engine, serve until told to stop."""

import asyncio
import contextlib
import gc
import grp
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pinnace.api.dispatch import Api, ApiSettings, make_app
from pinnace.api.http.access import AccessPolicy
from pinnace.api.http.listeners import Listener, ListenSpec, listen
from pinnace.api.http.peer import groups_of
from pinnace.api.http.tls import TlsSpec
from pinnace.daemon.boot import boot, repair_builds, start_by_policy
from pinnace.daemon.compose import Daemon, compose
from pinnace.daemon.config import Config, load
from pinnace.daemon.facts import exposure_warnings
from pinnace.daemon.notify import notify
from pinnace.daemon.roots import lock_root, make_roots, write_pid
from pinnace.daemon.upkeep import keep_images
from pinnace.daemon.workers import Tasks
from pinnace.engine.containers.spec import DEFAULT_CGROUP_PARENT
from pinnace.errors import Internal, PinnaceError
from pinnace.host.process import use_pidfds
from pinnace.host.runtime.cgroup import remove_empty
from pinnace.host.runtime.crun import release_copies
from pinnace.host.runtime.facts import host_layout
from pinnace.version import __version__

log = logging.getLogger("pinnace.daemon")

_LEVELS = {"debug": "DEBUG", "warn": "WARNING", "fatal": "CRITICAL"}
_EVENTS_FLUSH_S = 1.0
_LIVE = frozenset({"running", "paused", "restarting"})
_CONFIG_ERROR, _START_ERROR = 1, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; return its exit code."""
    try:
        config, validate = load(sys.argv[1:] if argv is None else argv)
    except PinnaceError as exc:
        sys.stderr.write(f"pinnace daemon: {exc}\n")
        return _CONFIG_ERROR
    if validate:
        sys.stdout.write("configuration OK\n")
        return 0
    if os.geteuid() != 0:
        sys.stderr.write("pinnace daemon: needs to be started with root privileges\n")
        return _START_ERROR
    _set_up_logging(config)
    _set_up_process()
    failures: list[BaseException] = []
    try:
        asyncio.run(serve(config))
    except* PinnaceError as group:
        failures += group.exceptions
    for failure in failures:
        log.error("cannot run: %s", failure)
    return _START_ERROR if failures else 0


def _set_up_logging(config: Config) -> None:
    level = "DEBUG" if config.debug else _LEVELS.get(config.log_level, config.log_level.upper())
    handler = logging.StreamHandler()
    handler.setFormatter(_FieldFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class _FieldFormatter(logging.Formatter):
    """Appends the fields given as `extra`, as `key=value`."""

    _known = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    # typing.override is there from Python 3.12 on.
    def format(self, record: logging.LogRecord) -> str:  # type: ignore[explicit-override]
        """Return the line."""
        fields = [f"{k}={v}" for k, v in vars(record).items() if k not in self._known]
        return " ".join([super().format(record), *fields])


def _set_up_process() -> None:
    use_pidfds()
    os.umask(0o022)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(config: Config) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Raises:
        PinnaceError: It cannot start.
    """
    data_root, exec_root = Path(config.data_root), Path(config.exec_root)
    make_roots(data_root, exec_root)
    lock = lock_root(data_root)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        write_pid(config.pid_path)
        async with asyncio.TaskGroup() as group:
            daemon = await compose(config, Tasks(group), api_ports=_ports(config))
            await _run(daemon, stop)
    finally:
        config.pid_path.unlink(missing_ok=True)
        os.close(lock)


async def _run(daemon: Daemon, stop: asyncio.Event) -> None:
    wanted = await boot(daemon)
    exits = daemon.tasks(_follow_exits(daemon), name="exits")
    events = daemon.tasks(_save_events(daemon), name="events")
    upkeep = daemon.tasks(keep_images(daemon.engine.images, daemon.config), name="upkeep")
    await repair_builds(daemon)
    app = make_app(daemon.engine, _api_settings(daemon.config))
    # What is here now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    listeners = await _listen(daemon.config, app)
    try:
        for warning in exposure_warnings(daemon.config):
            log.warning(warning)
        for warning in await daemon.networks.warnings():
            log.warning(warning)
        notify("READY=1")
        log.info("serving", extra={"version": __version__, "on": " ".join(daemon.config.hosts)})
        daemon.engine.events.publish("daemon", "start", "", {"name": "pinnace"})
        await start_by_policy(daemon, wanted)
        await stop.wait()
    finally:
        notify("STOPPING=1")
        await _shut_down(daemon, listeners, app)
        for task in (exits, events, upkeep):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(exits, events, upkeep, return_exceptions=True)
        await daemon.registry.save_again()
        await _put_events(daemon)
        daemon.database.close()


async def _shut_down(daemon: Daemon, listeners: Sequence[Listener], app: Api) -> None:
    """Stop accepting, end streams, finish transitions; containers live on."""
    log.info("stopping; running containers are left to the supervisor")
    daemon.keeper.shut_down()
    daemon.engine.events.end()
    await asyncio.gather(*(listener.close(grace_s=1.0) for listener in listeners))
    if not await daemon.engine.builds.drained(daemon.config.shutdown_timeout):
        log.warning("steps of builds are left for the next start to remove")
    left = await app.drain(daemon.config.shutdown_timeout)
    if left:
        log.warning("%d calls had not finished", left)
    await daemon.engine.registries.close()
    await daemon.health.close()
    await daemon.runner.drained()
    await daemon.networks.close()
    await daemon.netstack.close()
    await daemon.monitor.close()
    if not any(container.state.status in _LIVE for container in daemon.registry):
        daemon.bundles.close()
        release_copies(Path(daemon.config.exec_root))
        remove_empty(host_layout(), DEFAULT_CGROUP_PARENT)


async def _follow_exits(daemon: Daemon) -> None:
    async for exit_ in daemon.monitor.exits():
        if daemon.engine.execs.owns(exit_.id):
            work = daemon.engine.execs.on_exit(exit_)
        elif daemon.registry.find(exit_.id) is None:
            work = daemon.monitor.forget(exit_.id)  # an exec that a daemon before had made
        else:
            work = daemon.keeper.on_exit(exit_)
        daemon.tasks(work, name=f"exit {exit_.id[:12]}")


async def _save_events(daemon: Daemon) -> None:
    while True:
        await asyncio.sleep(_EVENTS_FLUSH_S)
        await daemon.registry.save_again()
        await _put_events(daemon)


async def _put_events(daemon: Daemon) -> None:
    events = daemon.engine.events.take_unsaved()
    try:
        if events:
            await daemon.store.put_events(events)
    except Internal as exc:
        log.error("%d events are not kept: %s", len(events), exc)  # noqa: TRY400


def _ports(config: Config) -> list[int]:
    """Return the TCP ports of the API."""
    ports = [host.rpartition(":")[2] for host in config.hosts if host.startswith("tcp://")]
    return [int(port) for port in ports if port.isdigit() and int(port)]


def _api_settings(config: Config) -> ApiSettings:
    policy = AccessPolicy(origins=config.origins)
    return ApiSettings(engine_version=__version__, cors=policy.cors_headers)


async def _listen(config: Config, app: Api) -> list[Listener]:
    group = _group(config.group)
    policy = AccessPolicy(
        allowed_gid=group,
        origins=config.origins,
        groups_of=groups_of,
        open_network=config.insecure_tcp,
    )
    tls = None
    if config.tls or config.tlsverify:
        tls = TlsSpec(
            Path(config.tlscert),
            Path(config.tlskey),
            Path(config.tlscacert) if config.tlscacert else None,
            verify=config.tlsverify,
        )
    listeners: list[Listener] = []
    for host in config.hosts:
        if host.startswith("unix://"):
            Path(host.removeprefix("unix://")).parent.mkdir(
                mode=0o755, parents=True, exist_ok=True
            )
        spec = ListenSpec(
            host,
            group=group,
            tls=tls if host.startswith("tcp://") else None,
            policy=policy,
            environment=os.environ,
        )
        listeners.append(await listen(spec, app))
    return listeners


def _group(name: str) -> int | None:
    """Return the gid of the group that may use the sockets; None when it does not exist."""
    if name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        log.info("group %s does not exist: only root may use the API", name)
        return None


if __name__ == "__main__":
    sys.exit(main())
