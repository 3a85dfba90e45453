"""API 1.46."""

from pinnace.api.changes.change import Change, JsonObject, child, drop, ignore_query
from pinnace.api.versions import Version


def _drop_annotations(body: JsonObject) -> None:
    child(body, "HostConfig").pop("Annotations", None)


def _is_image_creation(event: JsonObject) -> bool:
    return event.get("Type") == "image" and event.get("Action") == "create"


CHANGES = (
    Change(
        version=Version(1, 46),
        operation="ContainerList",
        downgrade=_drop_annotations,
        summary="The list shows annotations.",
    ),
    Change(
        version=Version(1, 46),
        operation="SystemEvents",
        hide=_is_image_creation,
        summary="The creation of an image is an event; older clients do not see it.",
    ),
    Change(
        version=Version(1, 46),
        operation="ImagePush",
        upgrade_query=ignore_query("platform"),
        summary="A platform can be asked for on push.",
    ),
    Change(
        version=Version(1, 46),
        operation="SystemInfo",
        downgrade=drop("Containerd"),
        summary="The host information shows containerd.",
    ),
)
