"""API 1.56."""

from pinnace.api.changes.change import Change, ignore_host
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 56),
        operation="ContainerCreate",
        upgrade=ignore_host("Umask"),
        summary="HostConfig.Umask was added; older clients cannot set it.",
    ),
)
