"""API 1.47."""

from pinnace.api.changes.change import Change, JsonObject, made_child
from pinnace.api.versions import Version


def _old_info(body: JsonObject) -> None:
    registries = made_child(body, "RegistryConfig")
    registries["AllowNondistributableArtifactsCIDRs"] = None
    registries["AllowNondistributableArtifactsHostnames"] = None


CHANGES = (
    Change(
        version=Version(1, 47),
        operation="SystemInfo",
        downgrade=_old_info,
        summary="Lists of registries for non-distributable artifacts are gone.",
    ),
)
