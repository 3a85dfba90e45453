"""Checks of what a container asks of its host, with Docker's texts. Pure.

What the host cannot do is discarded with a warning where dockerd does so, and refused where
dockerd refuses.
"""

import posixpath
from collections.abc import Sequence

from msgspec.structs import replace

from pinnace.contracts.control import HostFacts
from pinnace.engine.containers import capabilities, devices
from pinnace.engine.containers.resource_limits import check_resources
from pinnace.engine.containers.security_options import parse_security_options
from pinnace.engine.containers.spec_mounts import tmpfs_options
from pinnace.errors import InvalidParameter
from pinnace.model.container import HostConfig, Ulimit
from pinnace.oci.runtime_spec import UNLIMITED, Rlimit

_ULIMIT_WORDS = """
core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack as
"""
_ULIMITS = frozenset(_ULIMIT_WORDS.split())
_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in (
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_rmid_forced",
    )
)
_OOM_SCORE_RANGE = 1000


def check_host_config(
    asked: HostConfig, facts: HostFacts, *, update: bool = False
) -> tuple[HostConfig, list[str]]:
    """Check a host config at create, or the resources in it at update.

    Returns:
        The config without what this host cannot do, and the warnings about that.

    Raises:
        InvalidParameter: It cannot be meant, or cannot be done here at all.
    """
    config, warnings = check_resources(asked, facts, update=update)
    if update:
        return config, warnings
    _check_modes(config)
    _check_numbers(config)
    capabilities.effective(
        config.cap_add or (),
        config.cap_drop or (),
        privileged=config.privileged,
        available=facts.capabilities,
    )
    devices.check_devices(config.devices or (), config.device_cgroup_rules or ())
    parse_security_options(config.security_opt or ())
    for data in (config.tmpfs or {}).values():
        tmpfs_options([word for word in data.split(",") if word])
    warnings += rlimits(config.ulimits or (), facts)[1]
    if config.cgroupns_mode == "private" and not facts.cgroup_namespaces:
        config = replace(config, cgroupns_mode="host")
        warnings.append(
            "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded."
        )
    return config, warnings


def _check_modes(config: HostConfig) -> None:
    container = ("container:",)
    _check_mode("PID", config.pid_mode, ("", "host"), container)
    _check_mode("IPC", config.ipc_mode, ("", "none", "host", "private", "shareable"), container)
    _check_mode("UTS", config.uts_mode, ("", "host"))
    _check_mode("cgroup namespace", config.cgroupns_mode, ("", "host", "private"))
    _check_mode("userns", config.userns_mode, ("", "host"))
    parent = config.cgroup_parent
    if ".." in parent.split("/") or posixpath.normpath(f"/{parent}") == "//":
        raise InvalidParameter(f"cgroup-parent {parent!r} is not a plain path")


def _check_mode(
    what: str, mode: str, allowed: Sequence[str], prefixes: Sequence[str] = ()
) -> None:
    named = any(mode.startswith(prefix) and mode != prefix for prefix in prefixes)
    if mode not in allowed and not named:
        raise InvalidParameter(f"invalid {what} mode: {mode}")


def _check_numbers(config: HostConfig) -> None:
    if config.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    if abs(config.oom_score_adj) > _OOM_SCORE_RANGE:
        raise InvalidParameter(
            f"Invalid value {config.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    for limit in config.ulimits or ():
        if limit.name not in _ULIMITS:
            raise InvalidParameter(f"invalid ulimit type: {limit.name}")
        if _raw(limit.soft) > _raw(limit.hard):
            raise InvalidParameter(
                f"ulimit soft limit must be less than or equal to hard limit: "
                f"{limit.soft} > {limit.hard}"
            )


def rlimits(asked: Sequence[Ulimit], facts: HostFacts) -> tuple[list[Rlimit], list[str]]:
    """Return the resource limits of a process, and warnings about those that were lowered.

    Raising a hard limit needs CAP_SYS_RESOURCE; without it the daemon's own is the most.
    """
    found, warnings = [], []
    for limit in asked:
        kind = f"RLIMIT_{limit.name.upper()}"
        hard, soft = _raw(limit.hard), _raw(limit.soft)
        most = UNLIMITED if facts.can_raise_limits else facts.rlimit_hard.get(kind, UNLIMITED)
        if hard > most:
            warnings.append(
                f"ulimit {limit.name}: the hard limit cannot be raised above {most} here. "
                "Limit lowered."
            )
            hard, soft = most, min(soft, most)
        found.append(Rlimit(type=kind, hard=hard, soft=soft))
    return found, warnings


def _raw(value: int) -> int:
    return UNLIMITED if value < 0 else value


def oom_score_adj(asked: int, facts: HostFacts) -> int:
    """Return the OOM score adjustment that can be set; lowering needs CAP_SYS_RESOURCE."""
    return asked if facts.can_raise_limits else max(asked, facts.oom_score_adj)


def check_sysctls(config: HostConfig) -> None:
    """Allow only settings that live in a namespace which the container has of its own.

    Raises:
        InvalidParameter: The host's own setting would change.
    """
    for name in config.sysctls or {}:
        if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
            if config.ipc_mode == "host":
                raise InvalidParameter(
                    f'sysctl "{name}" is not allowed in the hosts ipc namespace'
                )
        elif name.startswith("net."):
            if config.network_mode == "host":
                raise InvalidParameter(f'sysctl "{name}" not allowed in host network namespace')
        elif name in ("kernel.domainname", "kernel.hostname"):
            if config.uts_mode == "host":
                raise InvalidParameter(
                    f'sysctl "{name}" is not allowed in the hosts uts namespace'
                )
        else:
            raise InvalidParameter(f'sysctl "{name}" is not in a separate kernel namespace')
