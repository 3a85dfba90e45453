"""What a connection needs from the listener that accepted it."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from pinnace.api.http.access import AccessPolicy
from pinnace.api.http.exchange import App
from pinnace.api.http.head import ListenerInfo, Peer, Request
from pinnace.api.http.limits import Limits

if TYPE_CHECKING:
    from pinnace.api.http.connection import Connection


class HasDescriptor(Protocol):
    """A socket as far as needed here."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


class Owner(Protocol):
    """What a connection needs from its listener."""

    app: App
    limits: Limits
    info: ListenerInfo
    policy: AccessPolicy
    loop: asyncio.AbstractEventLoop

    def is_immediate(self, request: Request) -> bool:
        """Tell whether the application answers a request without waiting for anything."""
        ...

    def admit(self, connection: "Connection") -> bool:
        """Count a new connection; False when there are too many."""
        ...

    def discard(self, connection: "Connection") -> None:
        """Forget a connection that ended."""
        ...

    def identify(self, transport: asyncio.Transport) -> Peer:
        """Find out who is at the other end; asked once per connection."""
        ...
