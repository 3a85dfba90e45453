"""Addresses of contexts and of sources of ADD."""

import pytest

from pinnace.contracts.repositories import RepositorySource
from pinnace.engine.builds.remotes import git_source
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
