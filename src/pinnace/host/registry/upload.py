"""One blob to one server, taken up again where it broke off.

Source: OCI distribution-spec 1.1, "Pushing blobs". A blob goes in one PATCH of all that is left,
and a PUT with the digest: that is what every registry has been tried with; what arrived before a
break is asked for and not sent again.
"""

import re
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

from pinnace.errors import InvalidParameter, PinnaceError
from pinnace.host.registry.failures import Subject
from pinnace.host.registry.pace import Pace
from pinnace.host.registry.retries import Patience, Retries
from pinnace.host.registry.server import Ask, Server, failed
from pinnace.host.registry.transport import Origin, Response, joined
from pinnace.oci.descriptor import Descriptor

Content = Callable[[int], AsyncIterator[bytes]]
Sent = Callable[[int], None]

_SMALL = 1 << 20  # such blobs go in one request: POST, then PUT with the content
_OCTETS = "application/octet-stream"
_RANGE = re.compile(r"(?:bytes=)?(\d+)-(\d+)")
_COMMIT_S = 900.0


class BlobUpload:
    """Uploads one blob.

    Args:
        server: Where to.
        path: Of the repository at the registry.
        scopes: What tokens must allow.
        subject: As messages name the repository.
    """

    def __init__(
        self, server: Server, path: str, scopes: tuple[str, ...], *, subject: Subject
    ) -> None:
        self._server = server
        self._path = path
        self._scopes = scopes
        self._subject = subject
        self._location = ""
        self._received = 0

    async def run(
        self, descriptor: Descriptor, content: Content, patience: Patience, sent: Sent | None
    ) -> None:
        """Upload the blob.

        Args:
            descriptor: Digest and size.
            content: Returns the bytes from an offset on.
            patience: How many attempts in a row may fail.
            sent: Told how many bytes the registry took.

        Raises:
            PinnaceError: The registry refuses or keeps failing, or `content` does.
        """
        retries = Retries(patience)
        while True:
            before = self._received
            source = _Source(content, descriptor.size, sent)
            try:
                await self._attempt(descriptor, source)
            except PinnaceError as exc:
                if source.failure is not None:
                    raise source.failure from exc
                await retries.failed(exc)
                await self._find_out()
                if self._received > before:
                    retries.progressed()
                continue
            return

    async def mount(self, digest: str, source: str) -> bool:
        """Take a blob over from another repository; return whether the registry did."""
        query = f"mount={digest}&from={source}"
        ask = Ask("POST", f"/v2/{self._path}/blobs/uploads/?{query}", self._scopes, follow=False)
        async with await self._server.open(ask) as response:
            if response.status == 201:
                return True
            if response.status != 202:
                raise await failed(response, self._subject)
            self._take_location(response)
        await self._cancel()
        return False

    async def _attempt(self, descriptor: Descriptor, source: "_Source") -> None:
        if not self._location:
            await self._begin()
        if self._received == 0 and descriptor.size <= _SMALL:
            await self._finish(descriptor, source)
            return
        if self._received < descriptor.size:
            await self._append(descriptor, source)
        await self._finish(descriptor, None)

    async def _begin(self) -> None:
        ask = Ask("POST", f"/v2/{self._path}/blobs/uploads/", self._scopes, follow=False)
        async with await self._server.open(ask) as response:
            if response.status != 202:
                raise await failed(response, self._subject)
            self._take_location(response)
        self._received = 0

    async def _append(self, descriptor: Descriptor, source: "_Source") -> None:
        begin, size = self._received, descriptor.size
        headers = {"Content-Type": _OCTETS, "Content-Length": str(size - begin)}
        if begin:
            headers["Content-Range"] = f"{begin}-{size - 1}"
        ask = self._to_location("PATCH", headers, lambda pace: source.chunks(begin, pace))
        async with await self._server.open(ask) as response:
            if response.status not in (201, 202, 204):
                raise await failed(response, self._subject)
            self._take_location(response)
        self._received = size

    async def _finish(self, descriptor: Descriptor, source: "_Source | None") -> None:
        size = descriptor.size if source else 0
        headers = {"Content-Type": _OCTETS, "Content-Length": str(size)}
        separator = "&" if urlsplit(self._location).query else "?"
        url = f"{self._location}{separator}digest={descriptor.digest}"
        body = (lambda pace: source.chunks(0, pace)) if source and size else b""
        ask = Ask("PUT", url, self._scopes, headers, body, follow=False, patient=True)
        async with await self._server.open(ask) as response:
            if response.status not in (201, 204):
                raise await failed(response, self._subject)

    async def _find_out(self) -> None:
        """Learn what the registry has of the blob; begin anew when it does not tell."""
        if not self._location:
            return
        try:
            async with await self._server.open(self._to_location("GET", {})) as response:
                match = _RANGE.fullmatch(response.headers.get("Range", "").strip())
                if response.status in (200, 204) and match:
                    self._received = _received(match[1], match[2])
                    self._take_location(response)
                    return
        except PinnaceError:
            pass  # the next attempt tells why
        self._location, self._received = "", 0

    async def _cancel(self) -> None:
        try:
            async with await self._server.open(self._to_location("DELETE", {})):
                pass
        except PinnaceError:
            pass  # registries remove abandoned uploads by themselves
        self._location = ""

    def _take_location(self, response: Response) -> None:
        location = response.headers.get("Location", "")
        if not location:
            if not self._location:
                raise InvalidParameter("the registry names no place for an upload")
            return
        target = joined(response.url, location)
        Origin.of(target)
        self._location = target

    def _to_location(
        self,
        method: str,
        headers: dict[str, str],
        body: bytes | Callable[[Pace], AsyncIterator[bytes]] = b"",
    ) -> Ask:
        return Ask(method, self._location, self._scopes, headers, body, follow=False, patient=True)


class _Source:
    """The content on its way; remembers its own failure, which is not the registry's."""

    def __init__(self, content: Content, size: int, sent: Sent | None) -> None:
        self._content = content
        self._size = size
        self._sent = sent
        self.failure: Exception | None = None

    async def chunks(self, begin: int, pace: Pace) -> AsyncIterator[bytes]:
        """Yield the content from `begin` on, keeping the server awake to its deadline."""
        try:
            async for chunk in self._checked(begin):
                yield chunk
                begin += len(chunk)
                pace.sent(_COMMIT_S if begin >= self._size else None)
                if self._sent is not None:
                    self._sent(begin)
        except Exception as exc:
            self.failure = exc
            raise

    async def _checked(self, begin: int) -> AsyncIterator[bytes]:
        position = begin
        async for chunk in self._content(begin):
            position += len(chunk)
            if position > self._size:
                break
            yield chunk
        if position != self._size:
            raise InvalidParameter(
                f"a blob to upload has not the {self._size} bytes its descriptor says"
            )


def _received(first: str, last: str) -> int:
    """Return the bytes a range stands for; `0-0` is what registries say of none."""
    return int(last) + 1 if first == "0" and last != "0" else 0
