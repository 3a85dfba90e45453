"""API 1.54."""

from pinnace.api.changes.change import Change, RequestMessage, child
from pinnace.api.versions import Version


def _ignore_address(message: RequestMessage) -> None:
    child(message.body, "EndpointConfig").pop("MacAddress", None)


CHANGES = (
    Change(
        version=Version(1, 54),
        operation="NetworkConnect",
        upgrade=_ignore_address,
        summary="Connecting applies the MAC address; from older clients it is ignored.",
    ),
)
