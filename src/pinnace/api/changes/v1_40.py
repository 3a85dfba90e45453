"""API 1.40."""

from pinnace.api.changes.change import Change, RequestMessage, child, made_child, objects
from pinnace.api.versions import Version


def _upgrade_create(message: RequestMessage) -> None:
    for mount in objects(child(message.body, "HostConfig").get("Mounts")):
        child(mount, "BindOptions").pop("NonRecursive", None)
    host = made_child(message.body, "HostConfig")
    if not host.get("IpcMode"):
        host["IpcMode"] = "shareable"


def _ignore_pids_limit(message: RequestMessage) -> None:
    message.body.pop("PidsLimit", None)


CHANGES = (
    Change(
        version=Version(1, 40),
        operation="ContainerCreate",
        upgrade=_upgrade_create,
        summary="IPC namespaces are private by default; older clients get shareable ones.",
    ),
    Change(
        version=Version(1, 40),
        operation="ContainerUpdate",
        upgrade=_ignore_pids_limit,
        summary="The limit on processes can be updated; from older clients it is ignored.",
    ),
)
