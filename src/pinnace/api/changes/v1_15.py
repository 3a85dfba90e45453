"""API 1.15."""

from pinnace.api.changes.change import Change, Json, JsonObject, RequestMessage, made_child, words
from pinnace.api.versions import Version

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
    made_child(body, "ExposedPorts")[key] = {}
    bindings = made_child(made_child(body, "HostConfig"), "PortBindings")
    bindings[key] = [{"HostIp": host_ip or _OPEN, "HostPort": host_port}]


CHANGES = (
    Change(
        version=Version(1, 15),
        operation="ContainerCreate",
        upgrade=_upgrade_create,
        summary="Create takes a host config; older clients send port specs and name servers.",
    ),
)
