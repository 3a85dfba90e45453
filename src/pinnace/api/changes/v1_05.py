"""API 1.5."""

from pinnace.api.changes.change import Change, JsonObject, number, objects, text
from pinnace.api.versions import Version


def _ports_text(body: JsonObject) -> None:
    """`0.0.0.0:3333->2222/tcp`, joined by commas."""
    body["Ports"] = ", ".join(sorted(_port_text(port) for port in objects(body.get("Ports"))))


def _port_text(port: JsonObject) -> str:
    private = f"{number(port, 'PrivatePort')}/{text(port, 'Type')}"
    if not port.get("PublicPort"):
        return private
    return f"{text(port, 'IP')}:{number(port, 'PublicPort')}->{private}"


CHANGES = (
    Change(
        version=Version(1, 5),
        operation="ContainerList",
        downgrade=_ports_text,
        summary="Ports are objects; older clients get one string.",
    ),
)
