"""Back-pressure of a transport, for those who write to it."""

import asyncio


class Gate:
    """Open while the client keeps up; writers wait before a shut one."""

    __slots__ = ("_loop", "_opened")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._opened: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Nobody has to wait."""
        return self._opened is None

    def shut(self) -> None:
        """Make writers wait."""
        if self._opened is None:
            self._opened = self._loop.create_future()

    def open(self) -> None:
        """Let every writer go on."""
        opened, self._opened = self._opened, None
        if opened is not None and not opened.done():
            opened.set_result(None)

    async def passed(self) -> None:
        """Wait until the gate is open."""
        if self._opened is not None:
            # Several may wait; the cancellation of one must not end the wait of the others.
            await asyncio.shield(self._opened)
