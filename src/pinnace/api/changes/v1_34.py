"""API 1.34."""

from pinnace.api.changes.change import Change, ResponseMessage
from pinnace.api.versions import Version


def _hide_error(message: ResponseMessage) -> None:
    if isinstance(message.body, dict) and message.body.pop("Error", None):
        message.body = None


CHANGES = (
    Change(
        version=Version(1, 34),
        operation="ContainerWait",
        reshape=_hide_error,
        summary="Wait reports a failed removal; older clients get an empty body.",
    ),
)
