"""API 1.35."""

from pinnace.api.changes.change import Change, drop, ignore_query
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 35),
        operation="ContainerLogs",
        upgrade_query=ignore_query("until"),
        summary="Logs end at a time; from older clients that is ignored.",
    ),
    Change(
        version=Version(1, 35),
        operation="SystemVersion",
        downgrade=drop("Components", "Platform"),
        summary="The version lists components and platform.",
    ),
)
