"""Files of other servers, in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from pinnace.contracts.downloads import Download
from pinnace.errors import InvalidParameter, NotFound, Unavailable

_CHUNK = 4096


class FakeDownloads:
    """Implements `contracts.downloads.Downloads`.

    Attributes:
        files: Content by URL; what is not there is not found.
        cut: Connections break after so many bytes; None: they do not.
        sized: Sizes are told.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.sized = True

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Download]:
        """See the contract."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidParameter(f'Get "{url}": unsupported protocol scheme "{parts.scheme}"')
        content = self.files.get(url)
        if content is None:
            raise NotFound(f"failed to GET {url} with status 404 Not Found")
        yield Download(url, self._chunks(url, content), len(content) if self.sized else None)

    async def _chunks(self, url: str, content: bytes) -> AsyncIterator[bytes]:
        end = len(content) if self.cut is None else min(self.cut, len(content))
        for at in range(0, end, _CHUNK):
            yield content[at : min(at + _CHUNK, end)]
        if end < len(content):
            raise Unavailable(f'Get "{url}": unexpected EOF')
