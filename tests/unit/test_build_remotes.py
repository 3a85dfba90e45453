"""Addresses of contexts and of sources of ADD."""

import asyncio

import pytest

from pinnace.contracts.repositories import RepositorySource
from pinnace.engine.builds.fetching import limited
from pinnace.engine.builds.remotes import git_source
from pinnace.engine.images.transfer import with_upload
from pinnace.errors import InvalidParameter


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("git://a/b", RepositorySource("git://a/b")),
        ("https://a/b.git", RepositorySource("https://a/b.git")),
        ("http://a/b.git#main", RepositorySource("http://a/b.git", "main")),
        ("https://a/b.git#v1:c/d", RepositorySource("https://a/b.git", "v1", "c/d")),
        ("https://a/b.git#:c", RepositorySource("https://a/b.git", "", "c")),
        ("https://a/b.git#x:c:d", RepositorySource("https://a/b.git", "x", "c:d")),
        ("github.com/a/b", RepositorySource("https://github.com/a/b")),
        ("github.com/a/b.git#x", RepositorySource("https://github.com/a/b.git", "x")),
        ("https://a/b", None),
        ("https://a/b.git/c", None),
        ("https://a/b.gitx", None),
        ("https://a/b.tar#x.git", None),
        ("a/b.git", None),
        ("file:///a/b.git", None),
        ("ext::sh -c x.git", None),
        ("--upload-pack=x.git", None),
    ],
)
def test_addresses_of_repositories_are_recognised(address, source):
    assert git_source(address) == source


@pytest.mark.parametrize("address", ["git@a:b.git", "ssh://git@a/b.git", "ssh://-oProxyCommand=x"])
def test_secure_shell_is_refused(address):
    with pytest.raises(InvalidParameter, match="SSH is not supported"):
        git_source(address)


def test_a_download_over_its_limit_is_told_as_such():
    """And not as what it does to the worker that reads it."""

    async def download():
        for _ in range(3):
            yield b"1234"

    def read_all(inlet):
        while inlet.read():
            pass

    async def fetch(limit):
        await with_upload(asyncio.to_thread, limited(download(), limit), read_all)

    asyncio.run(fetch(12))
    with pytest.raises(InvalidParameter, match="larger than 11 bytes"):
        asyncio.run(fetch(11))
