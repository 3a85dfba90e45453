"""API 1.2."""

from pinnace.api.changes.change import Change, JsonObject, drop, text
from pinnace.api.versions import Version

_LONGEST_DESCRIPTION = 45


def _short_description(body: JsonObject) -> None:
    description = text(body, "Description")
    if len(description) > _LONGEST_DESCRIPTION:
        body["Description"] = f"{description[: _LONGEST_DESCRIPTION - 3]}..."


CHANGES = (
    Change(
        version=Version(1, 2),
        operation="ImageBuild",
        behaviour={"arrowed_result": True},
        summary="The last line of a build is the image's id alone.",
    ),
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
    Change(
        version=Version(1, 2),
        operation=("SystemAuth", "SystemAuthInfo", "ImageCreate", "ImagePush"),
        behaviour={"kept_login": True},
        summary="Logins are the client's; for older ones the engine keeps one.",
    ),
    Change(
        version=Version(1, 2),
        operation="ImageSearch",
        downgrade=_short_description,
        summary="Search tells whole descriptions.",
    ),
)
