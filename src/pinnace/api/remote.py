"""Failures as API 1.0 to 1.2 told them: other statuses, other texts.

Those servers had no status for "nothing to do", and chose the others by the beginning of the
message.
"""

from pinnace.api.errors import remote_status_of
from pinnace.errors import ImageNotFound, NotModified, PinnaceError

_VERBS = {
    "ContainerStart": "starting",
    "ContainerStop": "stopping",
    "ContainerRestart": "restarting",
    "ContainerKill": "restarting",  # the text of the time
    "ContainerDelete": "destroying",
}
_UNKNOWN_IMAGE = {"ImageTag": "Image does not exist", "ImageHistory": "Image does not exist"}


def remote_failure(operation: str, name: str, error: PinnaceError) -> tuple[int, str]:
    """Return the status and text of a failed operation."""
    if isinstance(error, NotModified):
        if operation != "ContainerStart":
            return 204, ""
        return 500, f"Error starting container {name}: The container {name} is already running."
    if isinstance(error, ImageNotFound) and name:
        unknown = _UNKNOWN_IMAGE.get(operation, "No such image")
        return 404, f"{unknown}: {name}"
    status = remote_status_of(error)
    verb = _VERBS.get(operation)
    if status == 500 and operation == "ImageDelete":
        return status, f"Error deleting image {name}: {error.message}"
    if status == 500 and verb:
        return status, f"Error {verb} container {name}: {error.message}"
    return status, error.message
