"""Git repositories, in memory."""

import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from pinnace.contracts.repositories import RepositorySource
from pinnace.errors import InvalidParameter, NotFound, Unavailable


class FakeRepositories:
    """Implements `contracts.repositories.Repositories`.

    Attributes:
        trees: Files by path, by URL and ref; the ref "" is the HEAD.
    """

    def __init__(self) -> None:
        self.trees: dict[str, dict[str, Mapping[str, bytes]]] = {}

    @asynccontextmanager
    async def archive(self, source: RepositorySource) -> AsyncIterator[AsyncIterator[bytes]]:
        """See the contract."""
        if urlsplit(source.url).scheme not in ("git", "http", "https"):
            raise InvalidParameter(f"invalid repository URL {source.url!r}")
        if ".." in source.directory.split("/"):
            raise InvalidParameter(f"invalid directory in a repository: {source.directory!r}")
        refs = self.trees.get(source.url)
        if refs is None:
            raise Unavailable(f"unable to fetch {source.url}")
        tree = refs.get(source.ref)
        if tree is None:
            raise NotFound(f"unable to fetch {source.url}: couldn't find remote ref {source.ref}")
        prefix = f"{source.directory.strip('/')}/" if source.directory.strip("/") else ""
        files = {
            path.removeprefix(prefix): content
            for path, content in tree.items()
            if path.startswith(prefix)
        }
        if not files:
            raise NotFound(f"{source.url}: no directory {source.directory!r}")
        yield _once(_tar(files))


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
