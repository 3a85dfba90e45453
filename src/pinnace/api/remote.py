"""Failures as API 1.0 to 1.2 told them: other statuses, other texts.

Those servers had no status for "nothing to do", and chose the others by the beginning of the
message.
"""

import re

from pinnace.api.errors import remote_status_of
from pinnace.errors import (
    AmbiguousPrefix,
    ContainerNotFound,
    ImageNotFound,
    InvalidParameter,
    NotModified,
    PinnaceError,
    Unauthorized,
)
from pinnace.oci.reference import parse_reference

_VERBS = {
    "ContainerStart": "starting",
    "ContainerStop": "stopping",
    "ContainerRestart": "restarting",
    "ContainerKill": "restarting",  # the text of the time
    "ContainerDelete": "destroying",
}
_TEXTS = (
    (re.compile(r"no command specified"), "No command specified"),
    (
        re.compile(r"(?s).*Bind for [^ ]*:([0-9]+) failed: port is already allocated.*"),
        r"Port already in use: \1",
    ),
    (re.compile(r"invalid JSON: (.*)", re.DOTALL), r"\1"),
)
_UNKNOWN_IMAGE = {"ImageTag": "Image does not exist", "ImageHistory": "Image does not exist"}


def remote_failure(operation: str, name: str, error: PinnaceError) -> tuple[int, str]:
    """Return the status and text of a failed operation."""
    if isinstance(error, NotModified):
        return 204, ""
    if name and (isinstance(error, AmbiguousPrefix) or _is_unknown(error)):
        return 404, f"No such container: {name}"
    if name and (isinstance(error, ImageNotFound) or _names_no_image(operation, name, error)):
        unknown = _UNKNOWN_IMAGE.get(operation, "No such image")
        return 404, f"{unknown}: {name}"
    if operation == "SystemAuth" and isinstance(error, Unauthorized):
        return 500, "Wrong login/password, please try again"
    status = remote_status_of(error)
    verb = _VERBS.get(operation)
    if status == 500 and operation == "ImageDelete":
        return status, f"Error deleting image {name}: {error.message}"
    if status == 500 and verb:
        return status, f"Error {verb} container {name}: {_told(error)}"
    return status, _told(error)


def _names_no_image(operation: str, name: str, error: PinnaceError) -> bool:
    """Whether the call failed because no image could have this name."""
    if not operation.startswith("Image") or not isinstance(error, InvalidParameter):
        return False
    try:
        parse_reference(name)
    except InvalidParameter:
        return True
    return False


def _is_unknown(error: PinnaceError) -> bool:
    """Whether the container asked for does not exist; today's kill says more than that."""
    return isinstance(error, ContainerNotFound) or isinstance(error.__cause__, ContainerNotFound)


def _told(error: PinnaceError) -> str:
    """Return the message in the words of the time, where clients look at them."""
    for pattern, words in _TEXTS:
        found = pattern.fullmatch(error.message)
        if found:
            return found.expand(words)
    return error.message
