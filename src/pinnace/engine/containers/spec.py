"""A container's record to the runtime specification of one start. Pure.

Everything the host must be asked for (ids from /etc/passwd, device numbers, paths) comes in as
`SpecInputs`; the same record and inputs always make the same specification.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from pinnace.contracts.control import DeviceNode, HostFacts, Identity, SeccompChoice
from pinnace.engine.containers import capabilities, devices, limits
from pinnace.engine.containers.resources import BlockNumbers, runtime_resources
from pinnace.engine.containers.security_options import parse_security_options
from pinnace.engine.containers.spec_mounts import (
    INIT_TARGET,
    MountInputs,
    mounts,
    rootfs_propagation,
    wants_init,
)
from pinnace.errors import InvalidParameter
from pinnace.model.container import Container, HostConfig
from pinnace.model.exec import ExecConfig
from pinnace.oci.runtime_spec import (
    SPEC_VERSION,
    Box,
    Capabilities,
    Device,
    DeviceRule,
    Linux,
    Namespace,
    Process,
    Root,
    RuntimeSpec,
    Seccomp,
    User,
)

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_CGROUP_PARENT = "/pinnace"
BPF_ANNOTATION = "run.oci.seccomp_bpf_data"

_MASKED = (
    *(
        f"/proc/{name}"
        for name in (
            "acpi",
            "asound",
            "interrupts",
            "kcore",
            "keys",
            "latency_stats",
            "sched_debug",
            "scsi",
            "timer_list",
            "timer_stats",
        )
    ),
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READ_ONLY = tuple(f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"))


@dataclass(frozen=True, slots=True)
class SpecInputs:
    """What was prepared for one start.

    Attributes:
        rootfs: Mounted root filesystem, absolute.
        identity: Who the first process is; from the image's passwd and group files.
        files: Host paths behind mounts.
        seccomp: The filter; None: unconfined.
        cgroup_path: As `cgroup_path` says.
        own_cgroups: The engine makes the control groups and the runtime keeps out of them
            (version 1); the resources are written down all the same.
        netns: Network namespace to join; "" for a new one (`none`). Ignored with `host`.
        joined: Namespaces of other containers by type (ipc, pid, network) to their paths.
        nodes: Device nodes by the host path asked for.
        host_nodes: Every device of the host; only used when privileged.
        block_numbers: Numbers of the block devices that IO limits name.
    """

    rootfs: str
    identity: Identity = field(default_factory=Identity)
    files: MountInputs = field(default_factory=MountInputs)
    seccomp: SeccompChoice | None = None
    cgroup_path: str = ""
    own_cgroups: bool = True
    netns: str = ""
    joined: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, Sequence[DeviceNode]] = field(default_factory=dict)
    host_nodes: Sequence[DeviceNode] = ()
    block_numbers: BlockNumbers = field(default_factory=dict)


def runtime_spec(container: Container, facts: HostFacts, inputs: SpecInputs) -> RuntimeSpec:
    """Return the `config.json` of a container.

    Raises:
        InvalidParameter: The record asks for what cannot be: unknown capability, missing device,
            sysctl of the host, wrong tmpfs option, propagation the source does not have.
    """
    host = container.host_config
    nodes, rules = container_devices(container, inputs)
    return RuntimeSpec(
        oci_version=SPEC_VERSION,
        process=_process(container, facts, inputs.identity),
        root=Root(path=inputs.rootfs, readonly=host.readonly_rootfs),
        hostname="" if host.uts_mode == "host" else container.config.hostname,
        mounts=mounts(container, inputs.files),
        annotations=_annotations(container, inputs.seccomp),
        linux=Linux(
            sysctl=_sysctls(container),
            resources=runtime_resources(host, rules, inputs.block_numbers),
            cgroups_path="" if inputs.own_cgroups else inputs.cgroup_path,
            namespaces=_namespaces(container, facts, inputs),
            devices=nodes,
            seccomp=_seccomp(inputs.seccomp),
            rootfs_propagation=rootfs_propagation(container),
            masked_paths=_masked(container.host_config, facts),
            readonly_paths=_read_only(container.host_config),
        ),
    )


def in_network(described: RuntimeSpec, path: str) -> RuntimeSpec:
    """Return the spec with the network namespace at `path`; "" leaves it as it is."""
    if not path:
        return described
    namespaces = [
        replace(space, path=path) if space.type == "network" else space
        for space in described.linux.namespaces
    ]
    return replace(described, linux=replace(described.linux, namespaces=namespaces))


def exec_process_spec(
    container: Container, config: ExecConfig, facts: HostFacts, identity: Identity
) -> Process:
    """Return the process file of an exec.

    Args:
        container: The running container.
        config: What to run; `cmd` is not empty.
        facts: Of the host.
        identity: Of the exec's user, or the container's when it names none.
    """
    host = container.host_config
    size = config.console_size
    return Process(
        terminal=config.tty,
        console_size=Box(height=size[0], width=size[1]) if config.tty and size else None,
        user=_user(identity, host.umask),
        args=list(config.cmd or ()),
        env=environment(container, identity, tty=config.tty, more=config.env or ()),
        cwd=config.working_dir or container.config.working_dir or "/",
        capabilities=_sets(
            capabilities.effective(
                host.cap_add or (),
                host.cap_drop or (),
                privileged=config.privileged or host.privileged,
                available=facts.capabilities,
            ),
            identity,
        ),
        rlimits=limits.rlimits(host.ulimits or (), facts)[0],
        no_new_privileges=parse_security_options(host.security_opt or ()).no_new_privileges,
        oom_score_adj=limits.oom_score_adj(host.oom_score_adj, facts),
    )


def environment(
    container: Container, identity: Identity, *, tty: bool, more: Sequence[str] = ()
) -> list[str]:
    """Return the environment: the engine's, then the record's, then `more`; later ones win.

    An entry without `=` takes the name away.
    """
    own = [f"PATH={DEFAULT_PATH}", f"HOSTNAME={container.config.hostname}"]
    if tty:
        own.append("TERM=xterm")
    merged: dict[str, str] = {}
    for entry in (*own, *(container.config.env or ()), *more):
        name, equal, value = entry.partition("=")
        if equal:
            merged[name] = value
        else:
            merged.pop(name, None)
    merged.setdefault("HOME", identity.home)
    return [f"{name}={value}" for name, value in merged.items()]


def cgroup_path(container: Container, default_parent: str = DEFAULT_CGROUP_PARENT) -> str:
    """Return the container's control group below the mount points, absolute, without `..`."""
    parent = container.host_config.cgroup_parent or default_parent
    return posixpath.normpath(f"/{parent}/{container.id}").replace("//", "/")


def container_devices(
    container: Container, inputs: SpecInputs
) -> tuple[list[Device], list[DeviceRule]]:
    """Return the device nodes to make and the device rules, in order.

    Raises:
        InvalidParameter: A device is not there, or a rule is malformed.
    """
    host = container.host_config
    nodes, rules = devices.nodes_and_rules(
        host.devices or (), host.device_cgroup_rules or (), nodes=inputs.nodes
    )
    if not host.privileged:
        return nodes, rules
    all_nodes = {node.path: node for node in devices.privileged_nodes(inputs.host_nodes)}
    all_nodes.update({node.path: node for node in nodes})
    return list(all_nodes.values()), list(devices.ALL_RULES)


def _process(container: Container, facts: HostFacts, identity: Identity) -> Process:
    host, config = container.host_config, container.config
    height, width = host.console_size
    chosen = capabilities.effective(
        host.cap_add or (),
        host.cap_drop or (),
        privileged=host.privileged,
        available=facts.capabilities,
    )
    options = parse_security_options(host.security_opt or ())
    return Process(
        terminal=config.tty,
        console_size=Box(height=height, width=width) if config.tty and height and width else None,
        user=_user(identity, host.umask),
        args=[*_init(container), container.path, *container.args],
        env=environment(container, identity, tty=config.tty),
        cwd=config.working_dir or "/",
        capabilities=_sets(chosen, identity),
        rlimits=limits.rlimits(host.ulimits or (), facts)[0],
        no_new_privileges=options.no_new_privileges,
        apparmor_profile=_apparmor(options.apparmor, facts, privileged=host.privileged),
        oom_score_adj=limits.oom_score_adj(host.oom_score_adj, facts),
    )


def _init(container: Container) -> list[str]:
    return [INIT_TARGET, "--"] if wants_init(container) else []


def _user(identity: Identity, umask: int | None) -> User:
    user = User(uid=identity.uid, gid=identity.gid, additional_gids=list(identity.groups))
    if umask is None:
        return user
    return User(uid=user.uid, gid=user.gid, additional_gids=user.additional_gids, umask=umask)


def _sets(chosen: Sequence[str], identity: Identity) -> Capabilities:
    """Nothing inheritable, nothing ambient; other users than root get what execve gives them."""
    held = list(chosen) if identity.uid == 0 else []
    return Capabilities(bounding=list(chosen), effective=held, permitted=held)


def _apparmor(asked: str, facts: HostFacts, *, privileged: bool) -> str:
    if not facts.apparmor:
        if asked and asked != "unconfined":
            raise InvalidParameter(
                "AppArmor is not supported on this host, but the profile was set"
            )
        return ""
    return asked or ("unconfined" if privileged else "")


def _annotations(container: Container, seccomp: SeccompChoice | None) -> dict[str, str]:
    asked = dict(container.host_config.annotations or {})
    asked.pop(BPF_ANNOTATION, None)
    if seccomp and seccomp.bpf:
        asked[BPF_ANNOTATION] = seccomp.bpf
    return asked


def _seccomp(choice: SeccompChoice | None) -> Seccomp | None:
    return choice.profile if choice and not choice.bpf else None


def _namespaces(container: Container, facts: HostFacts, inputs: SpecInputs) -> list[Namespace]:
    host = container.host_config
    found = [Namespace(type="mount")]
    if host.uts_mode != "host":
        found.append(Namespace(type="uts"))
    if host.pid_mode != "host":
        found.append(Namespace(type="pid", path=inputs.joined.get("pid", "")))
    if host.ipc_mode != "host":
        found.append(Namespace(type="ipc", path=inputs.joined.get("ipc", "")))
    if host.network_mode != "host":
        path = inputs.joined.get("network", inputs.netns)
        found.append(Namespace(type="network", path=path))
    if facts.cgroup_namespaces and private_cgroupns(container, facts):
        found.append(Namespace(type="cgroup"))
    return found


def private_cgroupns(container: Container, facts: HostFacts) -> bool:
    """Whether the container sees its own control group as the root."""
    mode = container.host_config.cgroupns_mode
    if mode:
        return mode == "private"
    return facts.cgroup.version == 2 and not container.host_config.privileged


def _sysctls(container: Container) -> dict[str, str]:
    host = container.host_config
    result: dict[str, str] = {}
    own_network = host.network_mode != "host" and not host.network_mode.startswith("container:")
    if own_network:
        # Port numbers are no secret of root's inside a namespace of one's own.
        result["net.ipv4.ip_unprivileged_port_start"] = "0"
        result["net.ipv4.ping_group_range"] = "0 2147483647"
    if container.config.domainname and host.uts_mode != "host":
        result["kernel.domainname"] = container.config.domainname
    limits.check_sysctls(host)
    return result | (host.sysctls or {})


def with_guarded_paths(host: HostConfig, facts: HostFacts) -> HostConfig:
    """Return the host config with the masked and read-only paths a start would choose.

    None stays where nothing is guarded and nothing was asked for, as dockerd shows it.
    """
    return replace(
        host,
        masked_paths=_masked(host, facts) or host.masked_paths,
        readonly_paths=_read_only(host) or host.readonly_paths,
    )


def _masked(host: HostConfig, facts: HostFacts) -> list[str]:
    if host.masked_paths is not None:
        return list(host.masked_paths)
    return [] if host.privileged else [*_MASKED, *facts.thermal_throttle]


def _read_only(host: HostConfig) -> list[str]:
    """Paths without mounts below them: crun 1.8 binds recursively and makes those writable."""
    if host.readonly_paths is not None:
        return list(host.readonly_paths)
    return [] if host.privileged else list(_READ_ONLY)
