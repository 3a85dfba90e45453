"""What can go wrong on the client's side of the API."""


class ClientError(Exception):
    """Base of every failure of this package; its text is ready to be shown."""


class Unreachable(ClientError):
    """No engine answers at the address."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"Cannot connect to the engine at {address}. Is the daemon running? ({reason})"
        )
        self.address = address


class BadAnswer(ClientError):
    """The peer answered something that is not HTTP, or broke off in the middle."""


class ApiError(ClientError):
    """The engine refused or failed the request.

    Attributes:
        status: HTTP status.
        message: The engine's own text.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status
        self.message = message
