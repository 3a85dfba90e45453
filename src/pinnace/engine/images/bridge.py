"""Between the event loop and a worker thread: bytes inwards, bytes and messages outwards.

Every queue is bounded: the faster side waits. Whoever leaves early wakes the other side up.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping

from pinnace.errors import Unavailable

HIGH_WATER = 2 << 20
_MESSAGES = 256

Message = Mapping[str, object]  # one line of a JSON stream, as Docker's clients expect it


class ByteInlet:
    """A blocking reader in a thread, fed from the event loop.

    The thread takes all that is there at once, and reads on without disturbing the loop.
    """

    def __init__(self) -> None:
        self._taken: deque[bytes] = deque()  # the reader's
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._broken = False
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()

    async def feed_all(self, stream: AsyncIterator[bytes]) -> None:
        """Feed everything that `stream` yields; after an error the reader fails as well."""
        try:
            async for chunk in stream:
                await self._feed(chunk)
        except BaseException:
            self.abort()
            raise
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Make reads fail from now on."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, nothing at the end; blocks.

        Raises:
            Unavailable: The sending side went away.
        """
        if not self._taken:
            self._take()
        if self._broken:
            raise Unavailable("the client went away")
        if not self._taken:
            return b""
        chunk = self._taken.popleft()
        if 0 <= size < len(chunk):
            self._taken.appendleft(chunk[size:])
            chunk = chunk[:size]
        return chunk

    def close(self) -> None:
        """Take no more: what is fed from now on is thrown away."""
        with self._changed:
            self._broken = True
            self._chunks.clear()
            self._size = 0
        self._loop.call_soon_threadsafe(self._room.set)

    def _take(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._ended or self._broken)
            self._taken, self._chunks = self._chunks, self._taken
            was_full = self._size >= HIGH_WATER
            self._size = 0
        if was_full:  # otherwise nobody waits for room
            self._loop.call_soon_threadsafe(self._room.set)

    async def _feed(self, chunk: bytes) -> None:
        if not chunk:
            return
        with self._changed:
            if self._broken:
                return
            self._chunks.append(chunk)
            self._size += len(chunk)
            full = self._size >= HIGH_WATER
            self._changed.notify_all()
        while full:
            self._room.clear()
            with self._changed:
                full = self._size >= HIGH_WATER and not self._broken
            if full:
                await self._room.wait()


class ByteOutlet:
    """A blocking writer in a thread, read by the event loop as an asynchronous iterator."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._broken = False
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()

    def write(self, data: bytes) -> int:
        """Hand over `data`; blocks while the reader is slow.

        Raises:
            Unavailable: The reader went away.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._size < HIGH_WATER or self._broken)
            if self._broken:
                raise Unavailable("the client went away")
            is_first = not self._chunks
            self._chunks.append(bytes(data))
            self._size += len(data)
        if is_first:  # the reader has been woken for those before, and takes all at once
            self._loop.call_soon_threadsafe(self._ready.set)
        return len(data)

    def end(self) -> None:
        """Let the reader end after what was written."""
        with self._changed:
            self._ended = True
        self._loop.call_soon_threadsafe(self._ready.set)

    def abort(self) -> None:
        """Make writes fail from now on."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self._ready.clear()
            with self._changed:
                chunks = list(self._chunks)
                self._chunks.clear()
                self._size = 0
                ended = self._ended
                self._changed.notify_all()
            for chunk in chunks:
                yield chunk
            if not chunks:
                if ended:
                    return
                await self._ready.wait()


class Progress:
    """Messages from a thread or the loop to one asynchronous reader.

    When the reader is behind, progress bars are dropped; results never are.
    """

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._ended = False

    def say(self, message: Message) -> None:
        """Queue a message that must arrive; from any thread."""
        self._loop.call_soon_threadsafe(self._put, message)

    def show(self, message: Message) -> None:
        """Queue a message that may be dropped; from any thread."""
        if len(self._messages) < _MESSAGES:
            self._loop.call_soon_threadsafe(self._put, message)

    def end(self) -> None:
        """Let the reader end; from any thread."""
        self._loop.call_soon_threadsafe(self._finish)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            while self._messages:
                yield self._messages.popleft()
            if self._ended:
                return
            self._ready.clear()
            await self._ready.wait()

    def _put(self, message: Message) -> None:
        self._messages.append(message)
        self._ready.set()

    def _finish(self) -> None:
        self._ended = True
        self._ready.set()
