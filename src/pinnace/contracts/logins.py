"""The one login that the engine keeps for clients of the first remote API."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A login at a registry.

    Attributes:
        registry: Domain of image names it is for.
        email: As the client gave it; nobody asks for it today.
    """

    registry: str
    username: str
    password: str = field(repr=False)
    email: str = ""


class LoginStore(Protocol):
    """Keeps at most one login, so that nobody but root can read it."""

    def load(self) -> StoredLogin | None:
        """Return the login kept; None when there is none.

        Raises:
            Internal: It cannot be read.
        """
        ...

    def save(self, login: StoredLogin) -> None:
        """Keep a login in place of the one before; blocks until it is on disk.

        Raises:
            Internal: It cannot be written; the one before is still there.
        """
        ...
