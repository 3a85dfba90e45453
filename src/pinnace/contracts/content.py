"""Blobs by digest, and archives in transit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from pinnace.contracts.snapshots import ByteSink, ByteSource
from pinnace.oci.digest import Digest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


# Is offered a file of an archive: its name, its bytes and their count. False: nothing was read.
TakeFile: TypeAlias = Callable[[str, int, ByteSource], bool]


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


@dataclass(frozen=True, slots=True)
class UnfinishedBlob:
    """A blob of which a part is here.

    Attributes:
        digest: What it is to have.
        size: Bytes here.
        changed_s: When bytes came last, Unix seconds.
    """

    digest: Digest
    size: int
    changed_s: float


class PartialBlob(Protocol):
    """A blob on its way in; what came of it outlives the daemon. All methods block.

    Attributes:
        size: Bytes held.
    """

    size: int

    def held(self) -> BinaryIO:
        """Open what is held for reading; the caller closes it."""
        ...

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            Internal: They cannot be stored.
        """
        ...

    def complete(self) -> None:
        """Make it a blob under its digest, which the caller has checked.

        It is not synchronised to disk: after a power cut it may be shorter than it should.

        Raises:
            Internal: It cannot be stored.
        """
        ...

    def discard(self) -> None:
        """Forget what is held."""
        ...

    def close(self) -> None:
        """Leave it as it is, to be continued later."""
        ...


class Content(Protocol):
    """Bytes held by digest. All methods block: call them in a worker."""

    def ingest(
        self, source: ByteSource, *, expected: Digest | None = None, limit: int | None = None
    ) -> tuple[Digest, int]:
        """Store what `source` yields; return its digest and size in bytes.

        Atomic: the blob is there complete, or not at all.

        Raises:
            InvalidParameter: The digest is not `expected`, or there are more than `limit` bytes.
            Internal: It cannot be stored.
        """
        ...

    def spool(self, produce: Callable[[ByteSink], None]) -> "AbstractContextManager[Spooled]":
        """Keep what `produce` writes for a `with` block; no crash leaves anything of it.

        Raises:
            Internal: It cannot be stored.
        """
        ...

    def receive(self, digest: Digest) -> PartialBlob:
        """Open a blob that comes piece by piece, with what came of it before.

        Raises:
            Conflict: Somebody receives it already.
            InvalidParameter: The digest is none that is held here.
            Internal: It cannot be stored.
        """
        ...

    def unfinished(self) -> Sequence[UnfinishedBlob]:
        """Return what was begun with `receive` and is not complete."""
        ...

    def drop_unfinished(self, digest: Digest) -> None:
        """Forget a part; no error when there is none."""
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

    def receive_archive(
        self, source: ByteSource, *, take: TakeFile | None = None
    ) -> "AbstractContextManager[ReceivedArchive]":
        """Read a tar (plain or compressed) to its end and keep its files for a `with` block.

        Args:
            source: The tar.
            take: Is offered each file that begins as a tar does. What it takes is not kept, but
                the archive goes on knowing its name and size.

        Raises:
            InvalidParameter: The tar is broken or over a limit.
        """
        ...

    def repair(self) -> list[str]:
        """Remove what an earlier process left and cannot be continued; say what was done."""
        ...


class ReceivedArchive(Protocol):
    """The files of an archive, by their cleaned names. Links lead to what they name inside it."""

    def names(self) -> list[str]:
        """Return the names of files and links."""
        ...

    def has(self, name: str) -> bool:
        """Whether `name`, or what it links to, is a file of the archive."""
        ...

    def file_name(self, name: str) -> str:
        """Return the name of the file that `name` is, or links to.

        Raises:
            NotFound: The archive has no such file.
        """
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
            NotFound: The archive has no such file, or it was taken.
        """
        ...

    def keep(self, name: str, digest: Digest) -> None:
        """Keep a file as a blob under its digest, which the caller has checked.

        Nothing is copied. A blob of that digest which is here already stays.

        Raises:
            NotFound: The archive has no such file.
            InvalidParameter: The digest is none that blobs are held by.
        """
        ...

    def diff_id(self, source: ByteSource) -> Digest:
        """Return the digest of what `source` holds, uncompressed.

        Raises:
            InvalidParameter: It is damaged or over a limit.
        """
        ...
