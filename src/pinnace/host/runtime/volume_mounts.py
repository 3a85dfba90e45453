"""Volumes that are mounts: there from the first container that uses one to the last."""

import threading
from collections.abc import Mapping
from pathlib import Path

from pinnace.errors import Internal
from pinnace.host.kernel import mount

# Words of mount(8) that are flags of mount(2), sys/mount.h; other words go to the file system.
_FLAGS = {
    "ro": mount.MS_RDONLY,
    "nosuid": mount.MS_NOSUID,
    "nodev": mount.MS_NODEV,
    "noexec": mount.MS_NOEXEC,
    "sync": 16,
    "dirsync": 128,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
}
_DEFAULTS = frozenset({"", "rw", "suid", "dev", "exec", "async", "defaults"})


class VolumeMounts:
    """Mounts volumes and knows which containers need them. All methods block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[Path, set[str]] = {}

    def hold(self, holder: str, target: Path, options: Mapping[str, str] | None) -> None:
        """Have a volume mounted until `release`.

        Args:
            holder: Container that uses it.
            target: The volume's directory.
            options: `type`, `device` and `o` of the driver; None: it is mounted already.

        Raises:
            Internal: The kernel refused; Docker's text.
        """
        with self._lock:
            if options is not None and not target.is_mount():
                _mount(target, options)
            self._holders.setdefault(target, set()).add(holder)

    def release(self, holder: str, target: Path) -> None:
        """Say that a container does not need a volume any more. Idempotent."""
        with self._lock:
            holders = self._holders.get(target, set())
            holders.discard(holder)
            if holders:
                return
            self._holders.pop(target, None)
            while mount.unmount(target):
                pass


def _mount(target: Path, options: Mapping[str, str]) -> None:
    device, given = options.get("device", ""), options.get("o", "")
    words = given.split(",")
    flags = sum({_FLAGS[word] for word in words if word in _FLAGS})
    data = ",".join(word for word in words if word not in _FLAGS and word not in _DEFAULTS)
    try:
        mount.mount(device, target, options.get("type", ""), flags=flags, data=data)
    except OSError as exc:
        said = f", data: {given}" if given else ""
        raise Internal(
            f"error while mounting volume '{target}': failed to mount local volume: "
            f"mount {device}:{target}{said}: {(exc.strerror or 'failed').lower()}"
        ) from exc
