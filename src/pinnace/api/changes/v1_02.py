"""API 1.2."""

from pinnace.api.changes.change import Change, ResponseMessage, drop
from pinnace.api.versions import Version


def _no_list(message: ResponseMessage) -> None:
    message.status = 204
    message.body = None


CHANGES = (
    Change(
        version=Version(1, 2),
        operation="ImageDelete",
        reshape=_no_list,
        summary="Image delete answers with a list; older clients get an empty answer.",
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
