"""API 1.43."""

from pinnace.api.changes.change import Change, JsonObject, ignore_host
from pinnace.api.versions import Version


def _name_unnamed(body: JsonObject) -> None:
    if not body.get("RepoTags") and not body.get("RepoDigests"):
        body["RepoTags"] = ["<none>:<none>"]
        body["RepoDigests"] = ["<none>@<none>"]


CHANGES = (
    Change(
        version=Version(1, 43),
        operation="ContainerCreate",
        upgrade=ignore_host("Annotations"),
        summary="Annotations; from older clients they are ignored.",
    ),
    Change(
        version=Version(1, 43),
        operation="ImageList",
        downgrade=_name_unnamed,
        summary="Untagged images have empty lists; older clients see <none>.",
    ),
)
