"""The framing of a container's output when it has no terminal ("stdcopy").

Each frame is 8 bytes of head (stream, three zero bytes, length big-endian) and its payload.
"""

import struct
from collections.abc import AsyncIterable, AsyncIterator

from pinnace.client.errors import BadAnswer

STDIN, STDOUT, STDERR, SYSTEM_ERROR = range(4)
HEAD = struct.Struct(">B3xI")


async def demultiplex(chunks: AsyncIterable[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Split framed output into (stream, bytes); payload is passed on as it arrives.

    Raises:
        BadAnswer: An unknown stream number, or the end in the middle of a frame.
    """
    kept = b""
    stream, left = 0, 0
    async for data in chunks:
        data = kept + data if kept else data
        position = 0
        while True:
            if left:
                part = data[position : position + left]
                if not part:
                    break
                position += len(part)
                left -= len(part)
                yield stream, part
            elif len(data) - position >= HEAD.size:
                stream, left = HEAD.unpack_from(data, position)
                position += HEAD.size
                if stream > SYSTEM_ERROR:
                    raise BadAnswer(f"frame of an unknown stream {stream}")
            else:
                break
        kept = data[position:]
    if kept or left:
        raise BadAnswer("the output broke off in the middle of a frame")
