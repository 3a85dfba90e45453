"""Files of other servers, fetched over HTTP: for import, ADD and insert."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Download:
    """A file on its way.

    Attributes:
        url: Where it is, after redirects.
        content: Its bytes, exactly `size` of them if that is known; raises Unavailable when the
            connection breaks or stands still.
        size: Bytes; None: unknown.
        modified_ns: `Last-Modified`, Unix nanoseconds; None: not told.
        media_type: Without parameters; "": not told.
    """

    url: str
    content: AsyncIterator[bytes]
    size: int | None = None
    modified_ns: int | None = None
    media_type: str = ""


class Downloads(Protocol):
    """Fetches files. Whoever asks sets the limits: a stream may be endless."""

    def open(self, url: str) -> AbstractAsyncContextManager[Download]:
        """Ask for `url`; redirects are followed, to http and https only.

        Raises:
            InvalidParameter: No URL of http or https with a host.
            NotFound: 404 or 410.
            Unavailable: Any other status from 400 on, or the server cannot be reached.
        """
        ...
