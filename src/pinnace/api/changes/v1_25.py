"""API 1.25."""

from pinnace.api.changes.change import Change, Json, JsonObject, drop, ignore_host, text, words
from pinnace.api.versions import Version


def _show_exited(body: JsonObject) -> None:
    state = body.get("State")
    if isinstance(state, dict):
        if state.get("Status") == "removing":
            state["Status"] = "exited"
    elif state == "removing":
        body["State"] = "exited"
        if text(body, "Status").startswith("Removal In Progress"):
            body["Status"] = "Exited (0)"


def _bare_options(body: JsonObject) -> None:
    """`name=seccomp,profile=default` was `seccomp`."""
    names: list[Json] = []
    for option in words(body.get("SecurityOptions")):
        fields = dict(part.partition("=")[::2] for part in option.split(","))
        names.append(fields.get("name", option))
    body["SecurityOptions"] = names
    body["ExecutionDriver"] = ""


CHANGES = (
    Change(
        version=Version(1, 25),
        operation="ContainerCreate",
        upgrade=ignore_host("AutoRemove"),
        summary="The engine removes containers; older clients do it themselves.",
    ),
    Change(
        version=Version(1, 25),
        operation=("ContainerInspect", "ContainerList"),
        downgrade=_show_exited,
        summary="The state removing; older clients see exited.",
    ),
    Change(
        version=Version(1, 25),
        operation="SystemInfo",
        downgrade=_bare_options,
        summary="Security options have keys; older clients get bare names.",
    ),
    Change(
        version=Version(1, 25),
        operation="SystemVersion",
        downgrade=drop("MinAPIVersion"),
        summary="The version tells the oldest API.",
    ),
)
