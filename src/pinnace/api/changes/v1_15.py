"""API 1.15."""

from pinnace.api.changes.change import (
    Change,
    Json,
    JsonObject,
    RequestMessage,
    child,
    made_child,
    objects,
    text,
    words,
)
from pinnace.api.versions import Version

_HIGHEST_PORT = 65535
_OPEN = "0.0.0.0"  # noqa: S104 - what a published port meant


def _upgrade_create(message: RequestMessage) -> None:
    body = message.body
    specs = words(body.pop("PortSpecs", None))
    for spec in specs:
        _publish(body, spec)
    servers = body.pop("Dns", None)
    if servers:
        made_child(body, "HostConfig").setdefault("Dns", servers)
    sources = body.pop("VolumesFrom", None)
    if isinstance(sources, str) and sources:
        listed: list[Json] = list(sources.split(","))
        made_child(body, "HostConfig").setdefault("VolumesFrom", listed)


def _publish(body: JsonObject, spec: str) -> None:
    """`22`, `:80`, `8080:80` and `8080:53/udp`, as exposed port and binding."""
    address, _, rest = spec.rpartition(":")
    port, _, proto = rest.partition("/")
    key = f"{port}/{proto or 'tcp'}"
    host_ip, _, host_port = address.rpartition(":")
    if ":" in spec and not address:
        host_port = port
    if host_port == "0":
        host_port = ""
    if port.isascii() and port.isdecimal() and 0 < int(port) <= _HIGHEST_PORT:
        made_child(body, "ExposedPorts")[key] = {}
    # A spec that cannot be meant is found at the start, as engines of the time found it.
    bindings = made_child(made_child(body, "HostConfig"), "PortBindings")
    bound: Json = {"HostIp": host_ip or _OPEN, "HostPort": host_port}
    bindings[key] = [*objects(bindings.get(key)), bound]


def _show_specs(body: JsonObject) -> None:
    """Show what clients of the time give with the config as part of it."""
    host, config = child(body, "HostConfig"), child(body, "Config")
    bindings = child(host, "PortBindings")
    config["PortSpecs"] = [
        _spec(key, binding) for key, bound in bindings.items() for binding in objects(bound)
    ] or None
    config["Dns"] = host.get("Dns") or None
    config["VolumesFrom"] = ",".join(words(host.get("VolumesFrom")))


def _spec(key: str, binding: JsonObject) -> str:
    """The way back from `_publish`."""
    port = key.removesuffix("/tcp")
    host_ip, host_port = text(binding, "HostIp"), text(binding, "HostPort")
    if host_ip not in ("", _OPEN):
        return f"{host_ip}:{host_port}:{port}"
    if host_port and host_port == port.partition("/")[0]:
        return f":{port}"
    return f"{host_port}:{port}" if host_port else port


CHANGES = (
    Change(
        version=Version(1, 15),
        operation="ContainerCreate",
        upgrade=_upgrade_create,
        summary="Create takes a host config; older clients send port specs and name servers.",
    ),
    Change(
        version=Version(1, 15),
        operation="ContainerInspect",
        downgrade=_show_specs,
        summary="The config no longer shows port specs, name servers and sources of volumes.",
    ),
)
