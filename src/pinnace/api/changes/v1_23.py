"""API 1.23."""

from pinnace.api.changes.change import Change, drop
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 23),
        operation="ContainerList",
        downgrade=drop("State", "Mounts"),
        summary="The list shows state and mounts.",
    ),
    Change(
        version=Version(1, 23),
        operation="SystemAuth",
        downgrade=drop("IdentityToken"),
        summary="A login may give an identity token to keep.",
    ),
)
