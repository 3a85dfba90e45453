"""Multipart bodies, part by part as they arrive (RFC 2046, 7578): how builds came in 2013."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message

from pinnace.errors import InvalidParameter

_MAX_HEAD = 16 << 10
_MAX_PARTS = 64
_NAME = re.compile(r'[;\s]name="([^"]*)"|[;\s]name=([^\s;"]+)')
_FILE = re.compile(r"[;\s]filename=")


@dataclass(slots=True)
class Part:
    """One part; its content must be read before the next part comes.

    Attributes:
        name: Of the form field.
        is_file: It has a file name.
    """

    name: str
    is_file: bool
    content: AsyncIterator[bytes]


def boundary_of(content_type: str) -> str:
    """Return the boundary that a content type tells.

    Raises:
        InvalidParameter: There is none.
    """
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if not boundary:
        raise InvalidParameter("no multipart boundary param in Content-Type")
    return boundary


async def parts(body: AsyncIterator[bytes], boundary: str) -> AsyncIterator[Part]:
    """Yield the parts of a body; what of a part is not read is skipped.

    Raises:
        InvalidParameter: The body ends too early, or is no multipart body.
    """
    reader = _Reader(body)
    mark = b"--" + boundary.encode("latin-1", "replace")
    reader.held[:0] = b"\r\n"  # the first boundary has no line end of its own
    await _drain(reader.until(b"\r\n" + mark))
    for _ in range(_MAX_PARTS):
        line = await reader.line()
        if line.startswith(b"--"):
            await _drain(reader.rest())
            return
        name, is_file = await _head(reader)
        content = reader.until(b"\r\n" + mark)
        yield Part(name, is_file, content)
        await _drain(content)
    raise InvalidParameter("multipart: too many parts")


async def _head(reader: "_Reader") -> tuple[str, bool]:
    name, is_file = "", False
    size = 0
    while line := await reader.line():
        size += len(line)
        if size > _MAX_HEAD:
            raise InvalidParameter("multipart: header too large")
        key, _, value = line.decode("latin-1").partition(":")
        if key.strip().lower() == "content-disposition":
            found = _NAME.search(value)
            name = (found[1] or found[2] or "") if found else ""
            is_file = bool(_FILE.search(value))
    return name, is_file


async def _drain(content: AsyncIterator[bytes]) -> None:
    async for _ in content:
        pass


class _Reader:
    """Bytes of a body, cut at marks."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self.held = bytearray()

    async def line(self) -> bytes:
        """Return up to the next line end, without it."""
        while (end := self.held.find(b"\r\n")) < 0:
            if len(self.held) > _MAX_HEAD:
                raise InvalidParameter("multipart: header too large")
            await self._more()
        line = bytes(self.held[:end])
        del self.held[: end + 2]
        return line

    async def until(self, mark: bytes) -> AsyncIterator[bytes]:
        """Yield what comes before a mark, and take the mark."""
        while (end := self.held.find(mark)) < 0:
            sure = len(self.held) - len(mark) + 1
            if sure > 0:
                piece = bytes(self.held[:sure])
                del self.held[:sure]
                yield piece
            await self._more()
        piece = bytes(self.held[:end])
        del self.held[: end + len(mark)]
        if piece:
            yield piece

    async def rest(self) -> AsyncIterator[bytes]:
        """Yield what is left."""
        self.held.clear()
        async for chunk in self._body:
            yield chunk

    async def _more(self) -> None:
        chunk = await anext(self._body, None)
        if chunk is None:
            raise InvalidParameter("multipart: NextPart: EOF")
        self.held += chunk
