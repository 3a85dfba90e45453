"""API 1.22."""

from pinnace.api.changes.change import Change, JsonObject, child, drop, text
from pinnace.api.versions import Version

_OLD_TYPES = ("container", "image")


def _is_new_type(event: JsonObject) -> bool:
    return event.get("Type") not in _OLD_TYPES


def _old_event(event: JsonObject) -> None:
    attributes = child(child(event, "Actor"), "Attributes")
    source = text(event, "from") or text(attributes, "image")
    if event.get("Type") == "container" and source:
        event["from"] = source
    for key in ("Type", "Action", "Actor", "scope"):
        event.pop(key, None)


CHANGES = (
    Change(
        version=Version(1, 22),
        operation="ContainerList",
        downgrade=drop("NetworkSettings"),
        summary="The list shows networks.",
    ),
    Change(
        version=Version(1, 22),
        operation="SystemEvents",
        downgrade=_old_event,
        hide=_is_new_type,
        summary="Events have type, action and actor; older clients get status, id and from.",
    ),
    Change(
        version=Version(1, 22),
        operation="ExecStart",
        behaviour={"insist_json": False},
        summary="The body of exec start needs its content type.",
    ),
)
