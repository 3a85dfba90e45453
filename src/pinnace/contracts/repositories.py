"""Git repositories as sources of files: for builds from a repository."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RepositorySource:
    """Part of a repository.

    Attributes:
        url: Of `git`, `http` or `https`.
        ref: Branch, tag or full commit id; "": what the repository's HEAD is.
        directory: Below the top; "": the top.
    """

    url: str
    ref: str = ""
    directory: str = ""


class Repositories(Protocol):
    """Fetches trees out of repositories. Nothing of what is fetched is ever run."""

    def archive(
        self, source: RepositorySource
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Fetch one commit; yield its files as a tar, for the time of an `async with` block.

        Links are in it as they are. Submodules are not fetched, attributes of the repository
        that would leave files out or change them do not count.

        Raises:
            InvalidParameter: The URL, ref or directory cannot be.
            NotFound: The repository has no such ref or directory.
            Unavailable: It cannot be fetched, or git is not installed.
        """
        ...
