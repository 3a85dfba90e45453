"""Where the data of volumes lies on the host."""

from pathlib import Path
from typing import Protocol


class VolumeFiles(Protocol):
    """Directories of volumes. All methods block: call them in a worker."""

    def mountpoint(self, name: str) -> Path:
        """Return the directory of a volume's data; it need not exist."""
        ...

    def make(self, name: str) -> None:
        """Make the volume's directory, as far as it is missing."""
        ...

    def remove(self, name: str) -> None:
        """Remove the volume's data, however deep. Idempotent; a crash leaves all or nothing."""
        ...

    def size(self, name: str) -> int:
        """Return the bytes of the volume's files; hard links count once."""
        ...
