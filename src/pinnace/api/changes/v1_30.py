"""API 1.30."""

from pinnace.api.changes.change import Change, ignore_query
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 30),
        operation="ContainerWait",
        upgrade_query=ignore_query("condition"),
        behaviour={"early_head": False},
        summary="Wait takes a condition and sends its head at once.",
    ),
    Change(
        version=Version(1, 30),
        operation="PutContainerArchive",
        upgrade_query=ignore_query("copyUIDGID"),
        summary="Owners of copied files can be kept.",
    ),
)
