"""Blobs by digest, and archives in transit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from pinnace.contracts.snapshots import ByteSink, ByteSource
from pinnace.oci.digest import Digest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


@dataclass(frozen=True, slots=True)
class Spooled:
    """Bytes that are kept for a while only.

    Attributes:
        digest: Of all of them.
        size: Their count.
        file: Open for reading, one reader at a time.
    """

    digest: Digest
    size: int
    file: BinaryIO


class Content(Protocol):
    """Bytes held by digest. All methods block: call them in a worker."""

    def ingest(
        self, source: ByteSource, *, expected: Digest | None = None, limit: int | None = None
    ) -> tuple[Digest, int]:
        """Store what `source` yields; return its digest and size in bytes.

        Atomic: the blob is there complete, or not at all.

        Raises:
            InvalidParameter: The digest is not `expected`, or there are more than `limit` bytes.
        """
        ...

    def spool(self, produce: Callable[[ByteSink], None]) -> "AbstractContextManager[Spooled]":
        """Keep what `produce` writes for a `with` block; no crash leaves anything of it.

        Raises:
            Internal: It cannot be stored.
        """
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; the caller closes it.

        Raises:
            NotFound: It is not held.
        """
        ...

    def size(self, digest: Digest) -> int:
        """Return the bytes of a blob.

        Raises:
            NotFound: It is not held.
        """
        ...

    def delete(self, digest: Digest) -> None:
        """Remove a blob; no error when it is not held."""
        ...

    def digests(self) -> Iterator[tuple[Digest, int]]:
        """Yield every blob with its size."""
        ...

    def receive_archive(self, source: ByteSource) -> "AbstractContextManager[ReceivedArchive]":
        """Read a tar (plain or compressed) to its end and keep its files for a `with` block.

        Raises:
            InvalidParameter: The tar is broken or over a limit.
        """
        ...

    def repair(self) -> list[str]:
        """Remove what an earlier process left unfinished; say what was done."""
        ...


class ReceivedArchive(Protocol):
    """The files of an archive, by their cleaned names. Links lead to what they name inside it."""

    def names(self) -> list[str]:
        """Return the names of files and links."""
        ...

    def has(self, name: str) -> bool:
        """Whether `name`, or what it links to, is a file of the archive."""
        ...

    def size(self, name: str) -> int:
        """Return the bytes of a file.

        Raises:
            NotFound: The archive has no such file.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; the caller closes it.

        Raises:
            NotFound: The archive has no such file.
        """
        ...

    def diff_id(self, source: ByteSource) -> Digest:
        """Return the digest of what `source` holds, uncompressed.

        Raises:
            InvalidParameter: It is damaged or over a limit.
        """
        ...
