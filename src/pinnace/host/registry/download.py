"""One blob from one server, taken up again where it broke off."""

import re
from collections.abc import AsyncGenerator

from pinnace.errors import InvalidParameter, PinnaceError
from pinnace.host.registry.failures import ConnectionFailed, Subject
from pinnace.host.registry.retries import Patience, Retries
from pinnace.host.registry.server import Ask, Server, failed
from pinnace.host.registry.transport import Response
from pinnace.oci.descriptor import Descriptor

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
# Less than this does not count as progress: a server may give a byte per connection.
_PROGRESS = 16 << 10


class BlobReader:
    """Reads one blob; `position` is how far it has come.

    Args:
        descriptor: Digest and size.
        path: Of the repository at the registry.
        scopes: What tokens must allow.
        subject: As messages name the repository.
        offset: Where to begin.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        path: str,
        scopes: tuple[str, ...],
        *,
        subject: Subject,
        offset: int = 0,
    ) -> None:
        self._descriptor = descriptor
        self._ask = Ask("GET", f"/v2/{path}/blobs/{descriptor.digest}", scopes)
        self._subject = subject
        self._ranges = True
        self.position = offset

    async def read(self, server: Server, patience: Patience) -> AsyncGenerator[bytes, None]:
        """Yield what is left of the blob.

        Args:
            server: Whom to ask.
            patience: How many attempts in a row may fail.

        Raises:
            PinnaceError: The server does not have it, keeps failing, or sends something else.
        """
        retries = Retries(patience)
        size = self._descriptor.size
        while self.position < size:
            began = self.position
            try:
                async for chunk in self._read_once(server):
                    yield chunk
            except PinnaceError as exc:
                if self.position - began >= min(_PROGRESS, size // 20 or 1):
                    retries.progressed()
                await retries.failed(exc)

    async def _read_once(self, server: Server) -> AsyncGenerator[bytes, None]:
        begin = self.position if self._ranges else 0
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        ask = Ask(self._ask.method, self._ask.path, self._ask.scopes, headers=headers)
        async with await server.open(ask) as response:
            await self._check(response, begin)
            skipped = self.position - (begin if response.status == 206 else 0)
            async for chunk in response.chunks():
                if skipped >= len(chunk):
                    skipped -= len(chunk)
                    continue
                piece = chunk[skipped:] if skipped else chunk
                skipped = 0
                self.position += len(piece)
                if self.position > self._descriptor.size:
                    raise InvalidParameter(
                        f"blob {self._descriptor.digest} is larger than its descriptor says"
                    )
                yield piece
            if self.position < self._descriptor.size:
                raise ConnectionFailed("GET", response.url, "unexpected EOF")

    async def _check(self, response: Response, begin: int) -> None:
        """Check that the answer is the blob, whole or from `begin` on."""
        if response.status == 416 and begin:
            self._ranges = False
            raise ConnectionFailed("GET", response.url, "the server refuses the range asked for")
        if response.status == 206 and begin:
            self._check_range(response, begin)
        elif response.status == 200:
            self._check_length(response.headers.get("Content-Length", ""))
        else:
            raise await failed(response, self._subject)

    def _check_range(self, response: Response, begin: int) -> None:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        size = str(self._descriptor.size)
        if match and int(match[1]) == begin and match[3] in (size, "*"):
            return
        self._ranges = False  # what it sends cannot be placed: read it all again
        raise ConnectionFailed(
            "GET", response.url, "the server sends another range than asked for"
        )

    def _check_length(self, length: str) -> None:
        if length.isdigit() and int(length) > self._descriptor.size:
            raise InvalidParameter(
                f"blob {self._descriptor.digest} has {length} bytes instead of"
                f" {self._descriptor.size}"
            )
