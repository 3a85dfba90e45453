"""API 1.55."""

from pinnace.api.changes.change import Change, RequestMessage
from pinnace.api.versions import Version

_DEVICE_LIMITS = (
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
)


def _ignore_device_limits(message: RequestMessage) -> None:
    for key in _DEVICE_LIMITS:
        message.body.pop(key, None)


CHANGES = (
    Change(
        version=Version(1, 55),
        operation="ContainerUpdate",
        upgrade=_ignore_device_limits,
        summary="Update sets block device limits; from older clients they are ignored.",
    ),
)
