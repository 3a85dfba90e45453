"""API 1.28."""

from pinnace.api.changes.change import Change
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 28),
        operation="NetworkList",
        behaviour={"network_containers": True},
        summary="The network list omits containers; older clients get them.",
    ),
    Change(
        version=Version(1, 28),
        operation="ContainerAttachWebsocket",
        behaviour={"websocket_binary": False},
        summary="Websocket attach sends binary frames; older clients get text.",
    ),
)
