"""Volumes as directories; implements `contracts.volume_files`."""

from pathlib import Path

from pinnace.host.kernel import mount
from pinnace.host.snapshots.tree import measure, remove_tree


class VolumeDirectories:
    """Implements `contracts.volume_files.VolumeFiles`; its docstrings hold here."""

    def __init__(self, root: Path) -> None:
        """Keep `<root>/<name>/_data`; `root` exists. What a crash half removed goes now."""
        self._root = root
        for doomed in root.glob(".removing-*"):
            remove_tree(doomed)

    def mountpoint(self, name: str) -> Path:
        """See the contract."""
        return self._root / name / "_data"

    def make(self, name: str) -> None:
        """See the contract."""
        (self._root / name).mkdir(mode=0o701, exist_ok=True)
        self.mountpoint(name).mkdir(mode=0o755, exist_ok=True)

    def remove(self, name: str) -> None:
        """See the contract."""
        directory = self._root / name
        while mount.unmount(self.mountpoint(name)):  # what is mounted there is not the volume's
            pass
        doomed = self._root / f".removing-{name}"
        if directory.exists():
            directory.rename(doomed)
        remove_tree(doomed)

    def size(self, name: str) -> int:
        """See the contract."""
        return measure(self.mountpoint(name)).size
