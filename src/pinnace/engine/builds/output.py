"""What a build tells its client: the text of the classic builder, in the order of the Dockerfile.

Stages run beside each other, but clients read one text: a later stage's part waits until those
before it have ended, and the stage itself waits when too much of it is waiting.
"""

import asyncio
import codecs
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from pinnace.engine.images.bridge import Message

SHORT_ID = 12
_WAITING = 512  # messages of a stage that is not being read
_RED, _PLAIN = "\x1b[91m", "\x1b[0m"


def in_red(text: str) -> str:
    """Return text as dockerd shows what goes to standard error."""
    return f"{_RED}{text}{_PLAIN}"


class StepListener(Protocol):
    """Is told what becomes of a step; each front end has its own words for that."""

    async def cached(self) -> None:
        """It was done before, and is not done again."""
        ...

    async def running(self, container: str) -> None:
        """Its command is about to run in a container."""
        ...

    async def printed(self, text: str) -> None:
        """Its command printed something."""
        ...

    async def removed(self, container: str) -> None:
        """Its container was removed."""
        ...


class StageOutput:
    """One stage's part; implements `StepListener`."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    async def say(self, text: str) -> None:
        """Tell a piece of text; waits while too much is waiting."""
        await self.tell({"stream": text})

    async def tell(self, message: Message) -> None:
        """Tell something of another form."""
        while len(self._messages) >= _WAITING:
            self._room.clear()
            await self._room.wait()
        self._messages.append(message)
        self._changed.set()

    async def cached(self) -> None:
        """See the protocol."""
        await self.say(" ---> Using cache\n")

    async def running(self, container: str) -> None:
        """See the protocol."""
        await self.say(f" ---> Running in {container[:SHORT_ID]}\n")

    async def printed(self, text: str) -> None:
        """See the protocol."""
        await self.say(text)

    async def removed(self, container: str) -> None:
        """See the protocol."""
        await self.say(f"Removing intermediate container {container[:SHORT_ID]}\n")

    def close(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            while self._messages:
                message = self._messages.popleft()
                self._room.set()
                yield message
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()


class StepText:
    """Turns a container's output into text, piece by piece."""

    def __init__(self) -> None:
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {1: make("replace"), 2: make("replace")}

    def decode(self, stream: int, data: bytes, *, final: bool = False) -> str:
        """Return the text of some bytes; standard error is red, as dockerd shows it."""
        text = self._decoders[stream].decode(data, final)
        return in_red(text) if text and stream == 2 else text
