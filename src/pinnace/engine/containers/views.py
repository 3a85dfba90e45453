"""A container's record as inspect and list show it; pure. Texts and shapes: dockerd."""

from datetime import UTC, datetime

from msgspec import UNSET, UnsetType

from pinnace.model.container import (
    Container,
    ContainerInspect,
    ContainerState,
    ContainerSummary,
    DriverData,
    Health,
    MountPoint,
    MountRecord,
    NetworkSettings,
    PortSummary,
    RunState,
    SummaryHealth,
    SummaryHostConfig,
    SummaryNetworks,
)

NEVER = "0001-01-01T00:00:00Z"
_SECOND = 1_000_000_000


def rfc3339(time_ns: int) -> str:
    """Return a Unix time in nanoseconds as Go's RFC3339Nano in UTC; 0 is the zero time."""
    if not time_ns:
        return NEVER
    seconds, nanos = divmod(time_ns, _SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{nanos:09d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


def state_view(state: RunState) -> ContainerState:
    """Return the state as inspect shows it."""
    return ContainerState(
        status=state.status,
        running=state.status in {"running", "paused", "restarting"},
        paused=state.status == "paused",
        restarting=state.status == "restarting",
        oom_killed=state.oom_killed,
        dead=state.status == "dead",
        pid=state.pid,
        exit_code=state.exit_code,
        error=state.error,
        started_at=rfc3339(state.started_ns),
        finished_at=rfc3339(state.finished_ns),
        health=state.health if state.health is not None else UNSET,
    )


def mount_view(mount: MountRecord) -> MountPoint:
    """Return a mount as inspect shows it."""
    return MountPoint(
        type=mount.type,
        name=mount.name,
        source=mount.source,
        destination=mount.destination,
        driver=mount.driver,
        mode=mount.mode,
        rw=mount.rw,
        propagation="" if mount.type == "volume" else mount.propagation,
    )


def inspect_view(
    container: Container,
    *,
    directory: str,
    driver: DriverData,
    exec_ids: list[str],
    sizes: tuple[int, int] | None,
) -> ContainerInspect:
    """Return `GET /containers/{id}/json`.

    Args:
        container: The record.
        directory: The container's directory on the host, for the paths of its files.
        driver: Storage driver and its paths.
        exec_ids: Running execs.
        sizes: (SizeRw, SizeRootFs) in bytes when asked for.
    """
    own_files = not container.host_config.network_mode.startswith("container:")
    live = container.state.status in {"running", "paused"}
    return ContainerInspect(
        id=container.id,
        created=rfc3339(container.created_ns),
        path=container.path,
        args=container.args,
        state=state_view(container.state),
        image=container.image_id,
        resolv_conf_path=f"{directory}/resolv.conf" if own_files else "",
        hostname_path=f"{directory}/hostname",
        hosts_path=f"{directory}/hosts" if own_files else "",
        log_path="",
        name=f"/{container.name}",
        restart_count=container.restart_count,
        driver=driver.name,
        platform=container.platform,
        exec_ids=exec_ids or None,
        host_config=container.host_config,
        graph_driver=driver,
        size_rw=sizes[0] if sizes else UNSET,
        size_root_fs=sizes[1] if sizes else UNSET,
        # tmpfs given by --tmpfs is not among dockerd's Mounts; tmpfs given by --mount is.
        mounts=[
            mount_view(mount) for mount in container.mounts if mount.type != "tmpfs" or mount.asked
        ],
        config=container.config,
        network_settings=NetworkSettings(
            sandbox_id=container.id if container.sandbox else "",
            sandbox_key=container.sandbox,
            ports=container.ports if live else {},
            networks=container.networks,
        ),
    )


def summary_view(
    container: Container, now_ns: int, sizes: tuple[int, int] | None
) -> ContainerSummary:
    """Return one entry of the list; `now_ns` is for the human status text."""
    state = container.state
    return ContainerSummary(
        id=container.id,
        names=[f"/{container.name}"],
        image=container.config.image,
        image_id=container.image_id,
        command=_command_text(container),
        created=container.created_ns // _SECOND,
        ports=port_summaries(container),
        size_rw=sizes[0] if sizes else UNSET,
        size_root_fs=sizes[1] if sizes else UNSET,
        labels=container.config.labels or {},
        state=state.status,
        status=status_text(state, now_ns),
        health=_summary_health(state.health),
        host_config=SummaryHostConfig(
            network_mode=container.host_config.network_mode,
            annotations=container.host_config.annotations,
        ),
        network_settings=SummaryNetworks(networks=container.networks),
        mounts=[
            mount_view(mount) for mount in container.mounts if mount.type != "tmpfs" or mount.asked
        ],
    )


def _command_text(container: Container) -> str:
    if not container.args:
        return container.path
    words = [f"'{word}'" if " " in word else word for word in container.args]
    return " ".join([container.path, *words])


def _summary_health(health: Health | None) -> SummaryHealth | UnsetType:
    if health is None:
        return UNSET
    return SummaryHealth(status=health.status, failing_streak=health.failing_streak)


def port_summaries(container: Container) -> list[PortSummary]:
    """Return exposed and, while running, published ports."""
    live = container.state.status in {"running", "paused"}
    found: list[PortSummary] = []
    for key, bindings in sorted(container.ports.items() if live else ()):
        port, _, proto = key.partition("/")
        if not bindings:
            found.append(PortSummary(private_port=int(port), type=proto or "tcp"))
        found.extend(
            PortSummary(
                ip=binding.host_ip,
                private_port=int(port),
                public_port=int(binding.host_port or 0),
                type=proto or "tcp",
            )
            for binding in bindings or []
        )
    return found


def status_text(state: RunState, now_ns: int) -> str:
    """Return the human status, such as `Up 3 minutes (healthy)`."""
    ago = human_duration(now_ns - state.finished_ns)
    match state.status:
        case "running" | "paused":
            up = f"Up {human_duration(now_ns - state.started_ns)}"
            return up + _status_suffix(state)
        case "restarting":
            return f"Restarting ({state.exit_code}) {ago} ago"
        case "removing":
            return "Removal In Progress"
        case "dead":
            return "Dead"
        case "created":
            return "Created"
        case _:
            return f"Exited ({state.exit_code}) {ago} ago" if state.finished_ns else ""


def _status_suffix(state: RunState) -> str:
    if state.status == "paused":
        return " (Paused)"
    if state.health is None or state.health.status == "none":
        return ""
    if state.health.status == "starting":
        return " (health: starting)"
    return f" ({state.health.status})"


def human_duration(duration_ns: int) -> str:
    """Return a duration in Docker's rough words (go-units HumanDuration)."""
    seconds = max(0, duration_ns) // _SECOND
    hours = int(max(0, duration_ns) / 3600 / _SECOND + 0.5)
    table = (
        (seconds < 1, "Less than a second"),
        (seconds == 1, "1 second"),
        (seconds < 60, f"{seconds} seconds"),
        (seconds // 60 == 1, "About a minute"),
        (seconds // 60 < 60, f"{seconds // 60} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    )
    return next((text for holds, text in table if holds), f"{hours // 24 // 365} years")
