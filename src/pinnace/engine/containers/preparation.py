"""Prepares everything a start needs of the host: files, control groups, the runtime's input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pinnace.contracts.monitor import LogFiles, TaskSpec
from pinnace.contracts.snapshots import ChainId
from pinnace.engine.containers import cgroup_plan, spec
from pinnace.engine.containers.create import parse_size
from pinnace.engine.containers.resources import block_paths
from pinnace.engine.containers.spec_mounts import MountInputs
from pinnace.errors import Conflict
from pinnace.oci.runtime_spec import Resources, RuntimeSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinnace.contracts.bundles import Bundles
    from pinnace.contracts.control import CgroupPlan, Identity, RuntimeProgram
    from pinnace.engine.containers.runner import Connection, RunnerParts
    from pinnace.model.container import Container

# Descriptors and files a runtime may see; nothing of the daemon's own environment.
RUNTIME_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was made.

    Attributes:
        task: For the monitor.
        plan: Control groups; made already where they are the engine's.
    """

    task: TaskSpec
    plan: CgroupPlan


def mounted_volumes(container: Container) -> list[tuple[Path, dict[str, str]]]:
    """Return directory and driver options of the container's volumes that are mounts."""
    return [
        (Path(mount.source), dict(_split(option) for option in mount.options))
        for mount in container.mounts
        if mount.type == "volume" and mount.options
    ]


def _split(option: str) -> tuple[str, str]:
    key, _, value = option.partition("=")
    return key, value


def identity_of(bundles: Bundles, container: Container, user: str) -> Identity:
    """Resolve a user of a container to ids; blocks."""
    return bundles.identity(container.id, user, container.host_config.group_add or [])


class Preparation:
    """Makes what a start needs; every method blocks."""

    def __init__(self, parts: RunnerParts) -> None:
        self._parts = parts

    def prepare(self, container: Container, connection: Connection) -> Prepared:
        """Mount the root, look at what is in it, and write what the runtime reads.

        Args:
            container: About to start.
            connection: Where its network is, or will be.

        Raises:
            PinnaceError: Something the container needs is missing.
        """
        parts = self._parts
        rootfs = str(parts.bundles.mount_rootfs(container.id))
        own_cgroups = self._has_own_cgroups(container)
        files = self._files(container)
        inputs = self._inputs(container, rootfs, files, own_cgroups=own_cgroups)
        described = spec.runtime_spec(container, parts.facts, inputs)
        plan = self._plan(container, described)
        if own_cgroups:
            parts.cgroups.create(plan)
        if self._network_owner(container).id == container.id:
            parts.bundles.write_etc(container.id, parts.etc_files(container, connection.networks))
        described = spec.in_network(described, connection.sandbox)
        bundle = parts.bundles.write_bundle_file(
            container.id, "config.json", msgspec.json.encode(described)
        ).parent
        runtime = parts.runtime_of(container)
        task = self._task(container, str(bundle), plan, runtime, own_cgroups=own_cgroups)
        return Prepared(task, plan)

    def _has_own_cgroups(self, container: Container) -> bool:
        runtime = self._parts.runtime_of(container)
        return runtime.is_crun and self._parts.facts.cgroup.version == 1

    def _task(
        self,
        container: Container,
        bundle: str,
        plan: CgroupPlan,
        runtime: RuntimeProgram,
        *,
        own_cgroups: bool,
    ) -> TaskSpec:
        config, host = container.config, container.host_config
        pid_file, runtime_log = f"{bundle}/pid", f"{bundle}/runtime.log"
        size = host.console_size
        shared_pids = host.pid_mode not in {"", "private"}
        return TaskSpec(
            id=container.id,
            argv=runtime.create_argv(
                container.id,
                bundle=bundle,
                pid_file=pid_file,
                log=runtime_log,
                own_cgroups=own_cgroups,
            ),
            env=RUNTIME_ENV,
            pid_file=pid_file,
            exit_file=str(self._parts.bundles.directory(container.id) / "exit.json"),
            terminal=config.tty,
            open_stdin=config.open_stdin,
            stdin_once=config.stdin_once,
            console_size=(size[0], size[1]) if len(size) == 2 and any(size) else None,
            log=self._log_files(container),
            start_fifo=runtime.start_fifo(container.id),
            cgroup_files=plan.tasks if own_cgroups else (),
            oom_file=plan.oom or None,
            kill_cgroup=plan.procs.rpartition("/")[0] if shared_pids and plan.procs else None,
            runtime_log=runtime_log,
        )

    def _log_files(self, container: Container) -> LogFiles:
        config = container.host_config.log_config
        options = config.config or {}
        size = options.get("max-size", "")
        return LogFiles(
            directory=str(self._parts.bundles.log_directory(container.id)),
            max_size=0 if size == "-1" else parse_size(size) if size else LogFiles("").max_size,
            max_files=int(options.get("max-file") or LogFiles("").max_files),
            discard=config.type == "none",
        )

    def _files(self, container: Container) -> MountInputs:
        """Fill volumes and return the host paths behind mounts, etc files included; blocks."""
        parts, host = self._parts, container.host_config
        directory = parts.bundles.directory(self._network_owner(container).id)
        sources: dict[str, str] = {}
        for volume, options in mounted_volumes(container):
            parts.bundles.hold_volume(container.id, volume, options)
        for number, mount in enumerate(container.mounts):
            if mount.type == "bind":
                parts.bundles.check_source(mount.source, create=mount.create_source)
            if mount.copy_up and not self._in_use(mount.name, container):
                parts.bundles.copy_up(container.id, mount.destination, Path(mount.source))
            source = mount.source
            if mount.type == "image":
                layer = ChainId(mount.layer) if mount.layer else None
                source = str(parts.bundles.mount_image(container.id, number, layer))
                sources[mount.destination] = source
            if mount.subpath:
                sources[mount.destination] = parts.bundles.in_source(source, mount.subpath)
        return MountInputs(
            hosts=str(directory / "hosts"),
            hostname=str(directory / "hostname"),
            resolv_conf=str(directory / "resolv.conf"),
            shm=self._shm(container),
            init=parts.init_path if host.init else "",
            sources=sources,
            propagations=self._propagations(container),
            plain_files=self._plain_files(container, sources),
        )

    def _propagations(self, container: Container) -> Mapping[str, str]:
        """Look up what the sources of shared and slave binds can do."""
        sources = [
            mount.source
            for mount in container.mounts
            if mount.type == "bind" and mount.propagation.removeprefix("r") in {"shared", "slave"}
        ]
        return self._parts.bundles.propagations(sources) if sources else {}

    def _plain_files(self, container: Container, sources: Mapping[str, str]) -> frozenset[str]:
        """Look up which sources of read-only mounts are files."""
        read_only = [
            sources.get(mount.destination, mount.source)
            for mount in container.mounts
            if mount.type != "tmpfs" and not mount.rw
        ]
        return self._parts.bundles.plain_files(read_only)

    def _in_use(self, volume: str, container: Container) -> bool:
        """Whether another running container has the volume, which must not be refilled then."""
        return any(
            other.id != container.id
            and other.state.status in {"running", "paused"}
            and any(mount.name == volume for mount in other.mounts)
            for other in self._parts.registry
        )

    def _shm(self, container: Container) -> str:
        host = container.host_config
        if host.ipc_mode == "shareable":
            return self._parts.bundles.shared_shm(container.id, host.shm_size)
        if host.ipc_mode.startswith("container:"):
            other = self._joined(host.ipc_mode)
            if other.host_config.ipc_mode == "shareable":
                return self._parts.bundles.shared_shm(other.id, other.host_config.shm_size)
            raise Conflict(
                f"cannot join IPC namespace of container {other.id}: non-shareable IPC"
                " (hint: use IpcMode:shareable for the donor container)"
            )
        return "/dev/shm" if host.ipc_mode == "host" else ""  # noqa: S108 (the host's own)

    def _inputs(
        self,
        container: Container,
        rootfs: str,
        files: MountInputs,
        *,
        own_cgroups: bool,
    ) -> spec.SpecInputs:
        parts, host = self._parts, container.host_config
        runtime = parts.runtime_of(container)
        joined: dict[str, str] = {}
        for kind, mode in (("ipc", host.ipc_mode), ("pid", host.pid_mode)):
            if mode.startswith("container:"):
                joined[kind] = f"/proc/{self._joined(mode).state.pid}/ns/{kind}"
        return spec.SpecInputs(
            rootfs=rootfs,
            identity=identity_of(parts.bundles, container, container.config.user),
            files=files,
            seccomp=parts.seccomp(container, compiled=runtime.is_crun),
            cgroup_path=spec.cgroup_path(container),
            own_cgroups=own_cgroups,
            joined=joined,
            nodes={
                device.path_on_host: parts.bundles.device_nodes(device.path_on_host)
                for device in host.devices or []
            },
            host_nodes=parts.bundles.host_devices() if host.privileged else (),
            block_numbers=parts.bundles.block_numbers(block_paths(host)),
        )

    def _plan(self, container: Container, described: RuntimeSpec) -> CgroupPlan:
        resources = described.linux.resources or Resources()
        return cgroup_plan.cgroup_plan(
            spec.cgroup_path(container), resources, self._parts.facts.cgroup
        )

    def _joined(self, mode: str) -> Container:
        """Return the running container that a `container:REF` mode names."""
        ref = mode.removeprefix("container:")
        other = self._parts.registry.get(ref)
        if other.state.status not in {"running", "paused"}:
            raise Conflict(f"cannot join network of a non running container: {other.id}")
        return other

    def _network_owner(self, container: Container) -> Container:
        mode = container.host_config.network_mode
        return self._joined(mode) if mode.startswith("container:") else container
