"""Devices of a container: what it may use, and which nodes it gets. Pure."""

import re
from collections.abc import Mapping, Sequence

from pinnace.contracts.control import DeviceNode
from pinnace.errors import InvalidParameter
from pinnace.model.container import DeviceMapping
from pinnace.oci.runtime_spec import Device, DeviceRule

_ACCESS = re.compile(r"[rwm]{1,3}")
_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> DeviceRule:
    return DeviceRule(allow=True, type=kind, major=major, minor=minor, access=access)


# Everything is refused first. Nodes may be made, which is useless without read or write.
DEFAULT_RULES = (
    DeviceRule(allow=False, access="rwm"),
    _rule("c", None, None, "m"),
    _rule("b", None, None, "m"),
    _rule("c", 1, 3, "rwm"),  # null
    _rule("c", 1, 5, "rwm"),  # zero
    _rule("c", 1, 7, "rwm"),  # full
    _rule("c", 1, 8, "rwm"),  # random
    _rule("c", 1, 9, "rwm"),  # urandom
    _rule("c", 5, 0, "rwm"),  # tty
    _rule("c", 5, 2, "rwm"),  # ptmx
    _rule("c", 136, None, "rwm"),  # pseudo-terminals
)
ALL_RULES = (DeviceRule(allow=True, access="rwm"),)


def check_devices(devices: Sequence[DeviceMapping], rules: Sequence[str]) -> None:
    """Check what was asked for, before a container is made of it.

    Raises:
        InvalidParameter: A mapping or rule is malformed.
    """
    for device in devices:
        if device.cgroup_permissions and not _ACCESS.fullmatch(device.cgroup_permissions):
            raise InvalidParameter(f"invalid device mode: {device.cgroup_permissions}")
        if not device.path_on_host.startswith("/"):
            raise InvalidParameter(f"{device.path_on_host} is not an absolute path")
    for rule in rules:
        parse_rule(rule)


def parse_rule(text: str) -> DeviceRule:
    """Read `--device-cgroup-rule`, such as `c 42:* rmw`.

    Raises:
        InvalidParameter: It is malformed.
    """
    found = _RULE.fullmatch(text)
    if not found:
        raise InvalidParameter(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = found.groups()
    return _rule(kind, _number(major), _number(minor), access)


def _number(text: str) -> int | None:
    return None if text == "*" else int(text)


def nodes_and_rules(
    devices: Sequence[DeviceMapping],
    rules: Sequence[str],
    *,
    nodes: Mapping[str, Sequence[DeviceNode]],
) -> tuple[list[Device], list[DeviceRule]]:
    """Return the device nodes and device rules of a container that is not privileged.

    Args:
        devices: Mappings as asked for.
        rules: Additional rules as asked for.
        nodes: What each `path_on_host` is: one node, or those below a directory.

    Raises:
        InvalidParameter: A device is not there.
    """
    made: list[Device] = []
    allowed = list(DEFAULT_RULES)
    for mapping in devices:
        found = nodes.get(mapping.path_on_host, ())
        if not found:
            raise InvalidParameter(
                f'error gathering device information while adding custom device "'
                f'{mapping.path_on_host}": no such file or directory'
            )
        for node in found:
            made.append(_device(node, _target(mapping, node)))
            access = mapping.cgroup_permissions or "rwm"
            allowed.append(_rule(node.kind, node.major, node.minor, access))
    allowed.extend(parse_rule(rule) for rule in rules)
    return made, allowed


def privileged_nodes(host: Sequence[DeviceNode]) -> list[Device]:
    """Return every device of the host, at its own path."""
    return [_device(node, node.path) for node in host]


def _target(mapping: DeviceMapping, node: DeviceNode) -> str:
    inside = mapping.path_in_container or mapping.path_on_host
    below = node.path.removeprefix(mapping.path_on_host.rstrip("/"))
    return inside if below == node.path or not below else inside.rstrip("/") + below


def _device(node: DeviceNode, path: str) -> Device:
    return Device(
        path=path,
        type=node.kind,
        major=node.major,
        minor=node.minor,
        file_mode=node.mode,
        uid=node.uid,
        gid=node.gid,
    )
