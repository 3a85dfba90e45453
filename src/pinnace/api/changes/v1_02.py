"""API 1.2."""

from pinnace.api.changes.change import Change, drop
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 2),
        operation="ImageDelete",
        behaviour={"delete_alone": True},
        summary="Image delete untags, prunes and lists that; before, it forgot the one image.",
    ),
    Change(
        version=Version(1, 2),
        operation="ContainerList",
        downgrade=drop("SizeRw", "SizeRootFs"),
        summary="Lists show sizes.",
    ),
    Change(
        version=Version(1, 2),
        operation="ImageList",
        downgrade=drop("Size", "VirtualSize"),
        summary="Lists show sizes.",
    ),
)
