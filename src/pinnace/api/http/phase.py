"""The phases of a connection."""

from enum import Enum, auto


class Phase(Enum):
    """What the bytes that arrive next belong to."""

    HEAD = auto()  # the head of the next request
    EXCHANGE = auto()  # the body of the current request, then requests that must wait
    DRAIN = auto()  # the unread rest of an answered request's body
    RAW = auto()  # a hijacked stream
    CLOSING = auto()  # nobody: swallowed until the client ends its side
    LOST = auto()  # the connection is gone
