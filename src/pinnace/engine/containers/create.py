"""From a create request to a complete, checked configuration; pure. Texts and rules: dockerd."""

import re
from collections.abc import Mapping
from typing import TypeVar

from msgspec.structs import replace

from pinnace.engine.containers.signals import parse_signal
from pinnace.errors import InvalidParameter, NotFound, NotSupported
from pinnace.model.container import (
    ContainerConfig,
    HealthConfig,
    HostConfig,
    LogConfig,
    RestartPolicy,
)
from pinnace.model.create import CreateParams

_Value = TypeVar("_Value")

NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_HOST_NAME = re.compile(
    r"(?=.{1,63}$)[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
    r"(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
)
_RESTART_POLICIES = ("no", "always", "unless-stopped", "on-failure")
LOG_DRIVERS = ("local", "json-file", "none")
_LOG_OPTIONS = frozenset(
    {"max-size", "max-file", "compress", "mode", "max-buffer-size", "labels", "labels-regex",
     "env", "env-regex", "tag"}
)  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_MILLISECOND = 1_000_000
SHM_SIZE = 64 << 20


def check_name(name: str) -> str:
    """Return the name without its slash.

    Raises:
        InvalidParameter: Not a container name.
    """
    if not NAME.fullmatch(name):
        raise InvalidParameter(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    return name.removeprefix("/")


def merge_config(
    config: ContainerConfig, image: ContainerConfig, *, complete: bool = False
) -> ContainerConfig:
    """Fill in from the image's config what the request leaves open.

    Env is merged by variable, ports, volumes and labels by key; an entrypoint given in the
    request drops the image's command.

    Args:
        config: The request's.
        image: The image's.
        complete: Env, ports and volumes of the request need nothing of the image's.
    """
    if complete:
        image = replace(image, env=None, exposed_ports=None, volumes=None)
    if config.entrypoint:
        entrypoint: list[str] | None = config.entrypoint
        cmd = config.cmd
        if entrypoint == [""]:  # the client's way of clearing the image's entrypoint
            entrypoint = None
    else:
        entrypoint, cmd = image.entrypoint, config.cmd or image.cmd
    return replace(
        config,
        entrypoint=entrypoint or None,
        cmd=cmd or None,
        env=_merge_env(config.env, image.env),
        user=config.user or image.user,
        working_dir=config.working_dir or image.working_dir,
        exposed_ports=_merge(image.exposed_ports, config.exposed_ports),
        volumes=_merge(image.volumes, config.volumes),
        labels=_merge(image.labels, config.labels) or {},
        stop_signal=config.stop_signal or image.stop_signal,
        stop_timeout=config.stop_timeout
        if config.stop_timeout is not None
        else image.stop_timeout,
        shell=config.shell or image.shell,
        on_build=config.on_build or image.on_build,
        healthcheck=merge_health(config.healthcheck, image.healthcheck),
    )


def _merge(
    lower: Mapping[str, _Value] | None, upper: Mapping[str, _Value] | None
) -> dict[str, _Value] | None:
    return {**(lower or {}), **(upper or {})} or None


def _merge_env(wanted: list[str] | None, image: list[str] | None) -> list[str] | None:
    given = {entry.partition("=")[0] for entry in wanted or []}
    kept = [entry for entry in image or [] if entry.partition("=")[0] not in given]
    return [*(wanted or []), *kept] or None


def merge_health(wanted: HealthConfig | None, image: HealthConfig | None) -> HealthConfig | None:
    """Fill in from the image's health check what the request leaves open."""
    if wanted is None or image is None:
        return wanted or image
    return replace(
        wanted,
        test=wanted.test or image.test,
        interval=wanted.interval or image.interval,
        timeout=wanted.timeout or image.timeout,
        start_period=wanted.start_period or image.start_period,
        start_interval=wanted.start_interval or image.start_interval,
        retries=wanted.retries or image.retries,
    )


def command(config: ContainerConfig) -> tuple[str, list[str]]:
    """Return the program and its arguments.

    Raises:
        InvalidParameter: Neither entrypoint nor command.
    """
    words = [*(config.entrypoint or []), *(config.cmd or [])]
    if not words:
        raise InvalidParameter("no command specified")
    return words[0], words[1:]


def check_config(config: ContainerConfig, *, lenient_hostname: bool) -> None:
    """Check the host-independent part.

    Raises:
        InvalidParameter: Something in it cannot be meant.
    """
    for label, text in (("hostname", config.hostname), ("domainname", config.domainname)):
        if text and not lenient_hostname and not _HOST_NAME.fullmatch(text):
            raise InvalidParameter(f"invalid {label} format: {text}")
    for entry in config.env or []:
        if not entry.partition("=")[0]:
            raise InvalidParameter(f"invalid environment variable: {entry}")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidParameter(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute"
            " path"
        )
    if config.stop_signal:
        parse_signal(config.stop_signal)
    if config.healthcheck is not None:
        _check_health(config.healthcheck)


def _check_health(health: HealthConfig) -> None:
    durations = {
        "Interval": health.interval,
        "Timeout": health.timeout,
        "StartPeriod": health.start_period,
        "StartInterval": health.start_interval,
    }
    for name, value in durations.items():
        if value and value < _MILLISECOND:
            raise InvalidParameter(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")
    if health.test and health.test[0] not in {"NONE", "CMD", "CMD-SHELL"}:
        raise InvalidParameter(f"unknown type '{health.test[0]}' in Healthcheck")


def check_host_config(
    host: HostConfig, *, runtimes: Mapping[str, object], default_log: str = "json-file"
) -> None:
    """Check what needs no look at the host's resources.

    Raises:
        InvalidParameter: It cannot be meant.
        NotSupported: It is understood, but not done by this engine; the text says so.
    """
    check_restart(host)
    _check_log(host.log_config, default_log)
    if host.isolation not in {"", "default"}:
        raise InvalidParameter(f"invalid isolation '{host.isolation}' on linux")
    if host.runtime and host.runtime not in runtimes:
        raise InvalidParameter(f"unknown or invalid runtime name: {host.runtime}")
    if host.volume_driver not in {"", "local"}:
        raise NotFound(
            f"error looking up volume plugin {host.volume_driver}:"
            f' plugin "{host.volume_driver}" not found'
        )
    _check_unsupported(host)


def _check_unsupported(host: HostConfig) -> None:
    if host.storage_opt:
        raise InvalidParameter(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
        )
    if host.links:
        raise NotSupported("links between containers are not supported by this engine yet")
    for request in host.device_requests or []:
        raise InvalidParameter(
            f'could not select device driver "{request.driver}"'
            f" with capabilities: {_go_lists(request.capabilities or [])}"
        )
    if host.cgroup:
        raise NotSupported("HostConfig.Cgroup is not supported by this engine")


def _go_lists(lists: list[list[str]]) -> str:
    return "[" + " ".join("[" + " ".join(words) + "]" for words in lists) + "]"


def check_restart(host: HostConfig) -> None:
    """Check the restart policy, and that it goes with automatic removal.

    Raises:
        InvalidParameter: It cannot be meant.
    """
    policy = host.restart_policy
    if policy.name not in {"", *_RESTART_POLICIES}:
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{policy.name}';"
            " use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidParameter(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if policy.maximum_retry_count < 0:
        raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
    if host.auto_remove and policy.name not in {"", "no"}:
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")


def check_network(config: ContainerConfig, host: HostConfig) -> None:
    """Check that options fit the network mode.

    Raises:
        InvalidParameter: `conflicting options: …`.
    """
    mode = host.network_mode
    if host.uts_mode == "host" and config.hostname:
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if not mode.startswith("container:"):
        return
    if not mode[10:]:
        raise InvalidParameter(
            "invalid network mode: invalid container format container:<name|id>"
        )
    conflicts = (
        (config.hostname, "hostname and the network mode"),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (
            host.port_bindings or host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (config.exposed_ports, "port exposing and the container type network mode"),
    )
    for given, text in conflicts:
        if given:
            raise InvalidParameter(f"conflicting options: {text}")


def _check_log(log: LogConfig, default: str) -> None:
    if log.type and log.type not in LOG_DRIVERS:
        raise InvalidParameter(f"logger: no log driver named '{log.type}' is registered")
    for key, value in (log.config or {}).items():
        if key not in _LOG_OPTIONS:
            raise InvalidParameter(f"unknown log opt '{key}' for {log.type or default} log driver")
        if key == "max-size" and value != "-1":
            parse_size(value)
        if key == "max-file" and not (value.isdigit() and int(value) > 0):
            raise InvalidParameter(f"invalid value for max-file: {value}")


def parse_size(text: str) -> int:
    """Return bytes of a size such as `10m` (1024-based).

    Raises:
        InvalidParameter: `invalid size: 'TEXT'`.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise InvalidParameter(f"invalid size: '{text}'")
    return int(float(match[1]) * (1 << _UNITS[match[2].lower()]))


def complete_host_config(
    params: CreateParams,
    host: HostConfig,
    *,
    default_log: LogConfig,
    default_runtime: str,
    cgroupns: str,
) -> HostConfig:
    """Fill in the defaults that inspect shows."""
    policy = host.restart_policy
    swap = host.memory_swap
    if host.memory > 0 and swap == 0:
        swap = host.memory * 2
    log = host.log_config
    kind = log.type or default_log.type
    inherited = (default_log.config or {}) if kind == default_log.type else {}
    log = LogConfig(type=kind, config={**inherited, **(log.config or {})})
    return replace(
        host,
        network_mode="bridge" if host.network_mode in {"", "default"} else host.network_mode,
        restart_policy=RestartPolicy(
            name=policy.name or "no", maximum_retry_count=policy.maximum_retry_count
        ),
        memory_swap=swap,
        # The CLI says -1 for "not given"; dockerd shows that as null.
        memory_swappiness=None if host.memory_swappiness == -1 else host.memory_swappiness,
        log_config=log,
        ipc_mode=host.ipc_mode or params.default_ipc or "private",
        cgroupns_mode=host.cgroupns_mode or params.default_cgroupns or cgroupns,
        shm_size=host.shm_size or SHM_SIZE,
        runtime=host.runtime or default_runtime,
        pids_limit=None if (host.pids_limit or 0) <= 0 else host.pids_limit,
        port_bindings=host.port_bindings or {},
    )
