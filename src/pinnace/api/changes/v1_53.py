"""API 1.53."""

from pinnace.api.changes.change import Change, drop
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 53),
        operation="SystemInfo",
        downgrade=drop("NRI"),
        summary="The host information shows the state of NRI.",
    ),
    Change(
        version=Version(1, 53),
        operation=("ImageInspect", "ImageList"),
        downgrade=drop("Identity"),
        summary="Images show their identity.",
    ),
)
