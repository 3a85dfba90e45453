"""API 1.6."""

from pinnace.api.changes.change import Change
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 6),
        operation=("ContainerAttach", "ContainerLogs", "ExecStart"),
        behaviour={"framed": False},
        summary="Output without a terminal is framed; older clients get raw bytes.",
    ),
)
