"""Keeps a login in a file: implements `contracts.logins.LoginStore`."""

import os
from pathlib import Path

import msgspec

from pinnace.contracts.logins import StoredLogin
from pinnace.errors import Internal


class LoginFile:
    """The file is root's alone, and replaced as a whole.

    Args:
        path: Of the file; its directory exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(f"{path.name}.new")

    def load(self) -> StoredLogin | None:
        """See the contract."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=StoredLogin)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as exc:
            raise Internal(f"cannot read the stored login {self._path}: {exc}") from exc

    def save(self, login: StoredLogin) -> None:
        """See the contract."""
        try:
            self._draft.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(self._draft, flags, 0o600), "wb") as draft:  # noqa: PTH123  a descriptor
                draft.write(msgspec.json.encode(login))
                draft.flush()
                os.fsync(draft.fileno())
            self._draft.rename(self._path)
            _sync_directory(self._path.parent)
        except OSError as exc:
            raise Internal(f"cannot keep the login in {self._path}: {exc.strerror}") from exc


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
