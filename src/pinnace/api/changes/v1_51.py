"""API 1.51."""

from pinnace.api.changes.change import Change, JsonObject
from pinnace.api.versions import Version


def _uncounted(body: JsonObject) -> None:
    body["Containers"] = -1


CHANGES = (
    Change(
        version=Version(1, 51),
        operation="ImageList",
        downgrade=_uncounted,
        summary="The list counts each image's containers; older clients get -1.",
    ),
)
