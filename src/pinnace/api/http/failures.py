"""What can be wrong with a client's bytes or with its connection."""

from pinnace.errors import InvalidParameter


class HeadError(Exception):
    """A request head that is refused before the application hears of it.

    Attributes:
        status: Status code of the refusal; the connection closes after it.
        reason: One line for the client.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class BodyTooLarge(InvalidParameter):
    """The body is longer than the reader allows (413)."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"request body is larger than {limit} bytes")
        self.limit = limit


class BodyMalformed(InvalidParameter):
    """The chunked framing is broken; nothing after it on the connection can be trusted."""


class BodyIncomplete(InvalidParameter):
    """The client ended its side, or fell silent, before the body was complete."""


class ClientGone(ConnectionResetError):
    """The connection ended while something was still to be sent or received."""
