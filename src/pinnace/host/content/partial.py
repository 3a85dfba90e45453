"""Blobs on their way in: `incoming/<hex>.partial`, which outlive the daemon."""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from pinnace.contracts.content import UnfinishedBlob
from pinnace.errors import Conflict, Internal
from pinnace.oci.digest import Digest, digest_hex

_SUFFIX = ".partial"


class PartialFile:
    """Implements `contracts.content.PartialBlob`; its docstrings hold here."""

    def __init__(self, path: Path, final: Path) -> None:
        """Open `path`, made if needed; it becomes `final` when it is complete.

        Raises:
            Conflict: Somebody receives it already.
            Internal: It cannot be made.
        """
        self._path = path
        self._final = final
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND, 0o600)
        except OSError as exc:
            raise Internal(f"cannot store a blob: {exc.strerror}") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise Conflict(f"{path.name} is being received already") from None
        self.size = os.fstat(self._fd).st_size

    def held(self) -> BinaryIO:
        """See the contract."""
        return self._path.open("rb")

    def write(self, data: bytes) -> None:
        """See the contract."""
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, memoryview(data)[written:])
        except OSError as exc:
            raise Internal(f"cannot store a blob: {exc.strerror}") from exc
        self.size += len(data)

    def complete(self) -> None:
        """See the contract."""
        try:
            self._path.rename(self._final)
        except OSError as exc:
            raise Internal(f"cannot store a blob: {exc.strerror}") from exc

    def discard(self) -> None:
        """See the contract."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """See the contract."""
        os.close(self._fd)


def partial_path(incoming: Path, digest: Digest) -> Path:
    """Return where the blob is collected."""
    return incoming / (digest_hex(digest) + _SUFFIX)


def is_partial(path: Path) -> bool:
    """Whether the file is a blob that is being collected."""
    return path.suffix == _SUFFIX


def unfinished(incoming: Path) -> list[UnfinishedBlob]:
    """Return what is being collected, or was given up."""
    found = []
    for path in incoming.glob(f"*{_SUFFIX}"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # complete meanwhile
        digest = Digest(f"sha256:{path.stem}")
        found.append(UnfinishedBlob(digest, status.st_size, status.st_mtime))
    return found
