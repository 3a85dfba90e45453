"""The options of `run` and `create`, and the request body they make."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.cli import values

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from pinnace.cli.arguments import Parser
    from pinnace.client.engine import JsonValue

    Body = dict[str, JsonValue]

# option, wire name: texts and numbers which go into HostConfig as they are parsed
HOST_TEXTS = {
    "cgroup_parent": "CgroupParent",
    "cgroupns": "CgroupnsMode",
    "cpuset_cpus": "CpusetCpus",
    "cpuset_mems": "CpusetMems",
    "ipc": "IpcMode",
    "isolation": "Isolation",
    "pid": "PidMode",
    "runtime": "Runtime",
    "userns": "UsernsMode",
    "uts": "UTSMode",
    "volume_driver": "VolumeDriver",
}
HOST_NUMBERS = {
    "blkio_weight": "BlkioWeight",
    "cpu_period": "CpuPeriod",
    "cpu_quota": "CpuQuota",
    "cpu_shares": "CpuShares",
    "cpus": "NanoCpus",
    "memory": "Memory",
    "memory_reservation": "MemoryReservation",
    "memory_swap": "MemorySwap",
    "memory_swappiness": "MemorySwappiness",
    "oom_score_adj": "OomScoreAdj",
    "pids_limit": "PidsLimit",
    "shm_size": "ShmSize",
}
HOST_FLAGS = {
    "init": "Init",
    "oom_kill_disable": "OomKillDisable",
    "privileged": "Privileged",
    "publish_all": "PublishAllPorts",
    "read_only": "ReadonlyRootfs",
    "rm": "AutoRemove",
}
HOST_LISTS = {
    "add_host": "ExtraHosts",
    "cap_add": "CapAdd",
    "cap_drop": "CapDrop",
    "device_cgroup_rule": "DeviceCgroupRules",
    "dns": "Dns",
    "dns_option": "DnsOptions",
    "dns_search": "DnsSearch",
    "group_add": "GroupAdd",
    "link": "Links",
    "volumes_from": "VolumesFrom",
}


def add_container_options(parser: Parser) -> None:
    """Add every option that `run` and `create` share, the image and its command."""
    _add_process_options(parser)
    _add_storage_and_network_options(parser)
    _add_limit_options(parser)
    _add_security_options(parser)
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("command", metavar="COMMAND", nargs="...", help="and its arguments")


def _add_process_options(parser: Parser) -> None:
    parser.flag("-i", "--interactive", note="keep standard input open")
    parser.flag("-t", "--tty", note="give it a terminal")
    parser.many("-a", "--attach", note="attach stdin, stdout or stderr", meta="STREAM")
    parser.text("--name", note="name of the container", meta="NAME")
    parser.many("-e", "--env", note="set an environment variable", meta="KEY[=VALUE]")
    parser.many("--env-file", note="read environment variables from a file", meta="FILE")
    parser.text("-w", "--workdir", note="working directory", meta="DIR")
    parser.text("-u", "--user", note="user and group", meta="USER[:GROUP]")
    parser.text("-h", "--hostname", note="host name", meta="NAME")
    parser.text("--domainname", note="NIS domain name", meta="NAME")
    parser.text("--entrypoint", note="replace the image's entry point", meta="PROGRAM")
    parser.many("-l", "--label", note="set a label", meta="KEY[=VALUE]")
    parser.many("--label-file", note="read labels from a file", meta="FILE")
    parser.many("--annotation", note="annotation for the runtime", meta="KEY=VALUE")
    parser.value("--restart", parse=values.parse_restart, note="restart policy", meta="POLICY")
    parser.flag("--rm", note="remove the container when it exits")
    parser.flag("--init", note="run an init which forwards signals and reaps")
    parser.text("--stop-signal", note="signal that stop sends", meta="SIGNAL")
    parser.value("--stop-timeout", parse=int, note="grace of stop, seconds", meta="SECONDS")
    parser.text("--log-driver", note="where the output goes", meta="NAME")
    parser.many("--log-opt", note="option of the log driver", meta="KEY=VALUE")
    parser.text("--platform", note="platform of the image", meta="OS/ARCH")
    parser.text("--pull", note="always, missing or never", meta="WHEN", default="missing")
    parser.text("--cidfile", note="write the container's id to a file", meta="FILE")
    _add_health_options(parser)


def _add_health_options(parser: Parser) -> None:
    duration = values.parse_duration
    parser.text("--health-cmd", note="command which tells whether it is healthy", meta="CMD")
    parser.value("--health-interval", parse=duration, note="time between checks")
    parser.value("--health-timeout", parse=duration, note="time a check may take")
    parser.value("--health-start-period", parse=duration, note="time to start")
    parser.value("--health-start-interval", parse=duration, note="interval while starting")
    parser.value("--health-retries", parse=int, note="failures until unhealthy", meta="COUNT")
    parser.flag("--no-healthcheck", note="turn the image's health check off")


def _add_storage_and_network_options(parser: Parser) -> None:
    parser.many("-v", "--volume", note="mount", meta="[SOURCE:]TARGET[:MODE]")
    parser.many("--mount", note="mount, as key=value,…", meta="SPEC")
    parser.many("--tmpfs", note="mount a tmpfs", meta="DIR[:OPTIONS]")
    parser.many("--volumes-from", note="mount another container's volumes", meta="CONTAINER")
    parser.text("--volume-driver", note="driver of named volumes", meta="NAME")
    parser.many("-p", "--publish", note="publish a port", meta="[[IP:]PORT:]PORT[/PROTO]")
    parser.flag("-P", "--publish-all", note="publish all exposed ports")
    parser.many("--expose", note="expose a port", meta="PORT[/PROTO]")
    parser.text("--network", "--net", note="network", meta="NETWORK")
    parser.many("--network-alias", "--net-alias", note="alias in the network", meta="NAME")
    parser.text("--ip", note="IPv4 address", meta="ADDRESS")
    parser.text("--ip6", note="IPv6 address", meta="ADDRESS")
    parser.text("--mac-address", note="MAC address", meta="ADDRESS")
    parser.many("--link", note="link to another container", meta="CONTAINER")
    parser.many("--dns", note="name server", meta="ADDRESS")
    parser.many("--dns-search", note="search domain", meta="DOMAIN")
    parser.many("--dns-option", "--dns-opt", note="resolver option", meta="OPTION")
    parser.many("--add-host", note="line for /etc/hosts", meta="NAME:ADDRESS")


def _add_limit_options(parser: Parser) -> None:
    size = values.parse_size
    parser.value("-m", "--memory", parse=size, note="memory limit", meta="SIZE")
    parser.value("--memory-reservation", parse=size, note="soft limit", meta="SIZE")
    parser.value("--memory-swap", parse=values.parse_signed_size, note="memory plus swap; -1: any")
    parser.value("--memory-swappiness", parse=int, note="0 to 100")
    parser.value("--cpus", parse=values.parse_cpus, note="number of CPUs", meta="NUMBER")
    for name in ("--cpu-period", "--cpu-quota", "--blkio-weight", "--oom-score-adj"):
        parser.value(name, parse=int, note=f"as {name[2:]} of the cgroup or process")
    parser.value("-c", "--cpu-shares", parse=int, note="relative weight")
    parser.text("--cpuset-cpus", note="CPUs to use", meta="LIST")
    parser.text("--cpuset-mems", note="memory nodes to use", meta="LIST")
    parser.value("--pids-limit", parse=int, note="number of processes; -1: any")
    parser.value("--shm-size", parse=size, note="size of /dev/shm", meta="SIZE")
    parser.many("--ulimit", note="resource limit", meta="NAME=SOFT[:HARD]")
    parser.many("--device", note="device", meta="HOST[:CONTAINER[:rwm]]")
    parser.many("--device-cgroup-rule", note="rule for more devices", meta="RULE")
    parser.flag("--oom-kill-disable", note="do not kill when out of memory")
    parser.text("--cgroup-parent", note="cgroup to put it below", meta="PATH")
    parser.many("--sysctl", note="kernel parameter of a namespace", meta="KEY=VALUE")


def _add_security_options(parser: Parser) -> None:
    parser.flag("--privileged", note="give it everything; it can take over the host")
    parser.flag("--read-only", note="make the root file system read-only")
    parser.many("--cap-add", note="give a capability", meta="NAME")
    parser.many("--cap-drop", note="take a capability", meta="NAME")
    parser.many("--security-opt", note="security option", meta="OPTION")
    parser.many("--group-add", note="supplementary group", meta="GROUP")
    for name in ("--ipc", "--pid", "--uts", "--userns", "--cgroupns"):
        parser.text(name, note=f"{name[2:]} namespace: host, private, container:…", meta="MODE")
    parser.text("--isolation", note="isolation technology", meta="NAME")
    parser.text("--runtime", note="runtime", meta="NAME")


def create_body(
    args: argparse.Namespace, environment: Mapping[str, str], *, attach: bool
) -> dict[str, JsonValue]:
    """Return the body of `POST /containers/create`.

    Args:
        args: Parsed options of `add_container_options`.
        environment: Of the calling process, for `-e KEY`.
        attach: The caller attaches to the container, `--detach` is not given.

    Raises:
        ValueError: A value is malformed, with a text for the user.
        OSError: A file named by an option cannot be read.
    """
    streams = _attached_streams(args, attach=attach)
    files = [Path(name).read_text() for name in args.env_file]
    labels = [line for name in args.label_file for line in Path(name).read_text().splitlines()]
    body: Body = {
        "Image": args.image,
        "Cmd": list(args.command) or None,
        "Env": list(values.parse_environment(args.env, files, environment)),
        "Hostname": args.hostname or "",
        "Domainname": args.domainname or "",
        "User": args.user or "",
        "WorkingDir": args.workdir or "",
        "Labels": values.parse_pairs(item for item in [*labels, *args.label] if item.strip()),
        "Tty": args.tty,
        "OpenStdin": args.interactive,
        "StdinOnce": args.interactive and attach,
        "AttachStdin": "stdin" in streams,
        "AttachStdout": "stdout" in streams,
        "AttachStderr": "stderr" in streams,
    }
    if args.entrypoint is not None:
        body["Entrypoint"] = [args.entrypoint]
    if args.stop_signal:
        body["StopSignal"] = args.stop_signal
    if args.stop_timeout is not None:
        body["StopTimeout"] = args.stop_timeout
    if health := _health_check(args):
        body["Healthcheck"] = health
    host: Body = {}
    body["HostConfig"] = host
    _fill_plain(host, args)
    _fill_limits_and_logs(host, args)
    _fill_volumes(body, host, args)
    _fill_ports(body, host, args)
    _fill_network(body, host, args)
    return body


def _attached_streams(args: argparse.Namespace, *, attach: bool) -> set[str]:
    if not attach:
        return set()
    given = {name.lower() for name in args.attach}
    if unknown := given - {"stdin", "stdout", "stderr"}:
        raise ValueError(f"invalid stream to attach: {min(unknown)}")
    return given or ({"stdout", "stderr"} | ({"stdin"} if args.interactive else set()))


def _fill_plain(host: Body, args: argparse.Namespace) -> None:
    given = vars(args)
    for option, name in (HOST_TEXTS | HOST_NUMBERS).items():
        if given.get(option) is not None:
            host[name] = given[option]
    host.update({name: True for option, name in HOST_FLAGS.items() if given.get(option)})
    lists = {name: list(given[option]) for option, name in HOST_LISTS.items() if given[option]}
    host.update(lists)
    if args.restart is not None:
        host["RestartPolicy"] = args.restart


def _fill_limits_and_logs(host: Body, args: argparse.Namespace) -> None:
    if args.ulimit:
        host["Ulimits"] = [values.parse_ulimit(item) for item in args.ulimit]
    if args.device:
        host["Devices"] = [values.parse_device(item) for item in args.device]
    if args.sysctl:
        host["Sysctls"] = values.parse_pairs(args.sysctl)
    if args.annotation:
        host["Annotations"] = values.parse_pairs(args.annotation)
    if args.security_opt:
        host["SecurityOpt"] = [_security_option(item) for item in args.security_opt]
    if args.log_driver or args.log_opt:
        options = values.parse_pairs(args.log_opt)
        host["LogConfig"] = {"Type": args.log_driver or "", "Config": options}


def _security_option(text: str) -> str:
    """Return the option; a seccomp profile is sent as its content, not as its path."""
    name, _, value = text.partition("=")
    if name != "seccomp" or value in ("unconfined", "builtin", ""):
        return text
    return f"seccomp={Path(value).read_text()}"


def _fill_volumes(body: Body, host: Body, args: argparse.Namespace) -> None:
    binds = [item for item in args.volume if ":" in item]
    anonymous = [item for item in args.volume if ":" not in item]
    if binds:
        host["Binds"] = [_absolute_bind(item) for item in binds]
    if anonymous:
        body["Volumes"] = {item: {} for item in anonymous}
    if args.mount:
        host["Mounts"] = [_absolute_mount(values.parse_mount(item)) for item in args.mount]
    if args.tmpfs:
        pairs = (item.partition(":") for item in args.tmpfs)
        host["Tmpfs"] = {target: options for target, _, options in pairs}


def _absolute_bind(text: str) -> str:
    """Resolve a source that starts with a dot or a tilde; a name means a volume."""
    source, colon, rest = text.partition(":")
    if source.startswith((".", "~")):
        source = os.path.abspath(Path(source).expanduser())  # noqa: PTH100 - keeps links
    return source + colon + rest


def _absolute_mount(mount: Body) -> Body:
    source = mount.get("Source")
    if mount["Type"] == "bind" and isinstance(source, str):
        mount["Source"] = os.path.abspath(Path(source).expanduser())  # noqa: PTH100 - keeps links
    return mount


def _fill_ports(body: Body, host: Body, args: argparse.Namespace) -> None:
    published = [port for item in args.publish for port in values.parse_publish(item)]
    exposed = [port for item in args.expose for port in values.parse_expose(item)]
    if published or exposed:
        body["ExposedPorts"] = {name: {} for name in [p.container for p in published] + exposed}
    bindings: dict[str, list[JsonValue]] = {}
    for port in published:
        binding: Body = {"HostIp": port.host_ip, "HostPort": port.host_port}
        bindings.setdefault(port.container, []).append(binding)
    if bindings:
        host["PortBindings"] = dict(bindings)


def _fill_network(body: Body, host: Body, args: argparse.Namespace) -> None:
    mode = args.network or "default"
    host["NetworkMode"] = mode
    endpoint: Body = {}
    if args.network_alias:
        endpoint["Aliases"] = list(args.network_alias)
    if args.mac_address:
        endpoint["MacAddress"] = args.mac_address
    addresses = {"IPv4Address": args.ip, "IPv6Address": args.ip6}
    if any(addresses.values()):
        endpoint["IPAMConfig"] = {name: value for name, value in addresses.items() if value}
    if endpoint:
        body["NetworkingConfig"] = {"EndpointsConfig": {mode: endpoint}}


def _health_check(args: argparse.Namespace) -> Body | None:
    if args.no_healthcheck:
        if args.health_cmd:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    health: Body = {}
    if args.health_cmd is not None:
        health["Test"] = ["CMD-SHELL", args.health_cmd]
    numbers: Iterable[tuple[str, str]] = (
        ("Interval", "health_interval"),
        ("Timeout", "health_timeout"),
        ("StartPeriod", "health_start_period"),
        ("StartInterval", "health_start_interval"),
        ("Retries", "health_retries"),
    )
    for name, option in numbers:
        if (value := getattr(args, option)) is not None:
            health[name] = value
    return health or None
