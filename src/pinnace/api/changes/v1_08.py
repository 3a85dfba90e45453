"""API 1.8."""

from pinnace.api.changes.change import Change, drop
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 8),
        operation="ContainerInspect",
        downgrade=drop("HostConfig"),
        summary="Inspect shows the host config.",
    ),
)
