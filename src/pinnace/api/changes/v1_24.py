"""API 1.24."""

from pinnace.api.changes.change import EVERY_OPERATION, Change
from pinnace.api.versions import Version

CHANGES = (
    Change(
        version=Version(1, 24),
        operation=EVERY_OPERATION,
        behaviour={"json_errors": False},
        summary="Errors are JSON; older clients get plain text.",
    ),
    Change(
        version=Version(1, 24),
        operation="ContainerStart",
        behaviour={"start_host_config": True},
        summary="Start takes no host config; older clients may send one.",
    ),
    Change(
        version=Version(1, 24),
        operation="ContainerCreate",
        behaviour={"hostname_rules": False},
        summary="Host names are validated; those of older clients are not.",
    ),
)
