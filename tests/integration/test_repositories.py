"""Trees out of Git repositories, fetched from a server on loopback."""

import io
import tarfile

import pytest
from tests.support import git_server

from pinnace.contracts.repositories import RepositorySource
from pinnace.errors import InvalidParameter, NotFound, Unavailable
from pinnace.host.repositories import GitRepositories

FILES = {"Dockerfile": b"FROM busybox\n", "sub/f": b"below", "sub/deep/g": b"deeper"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with git_server.serve(tmp_path_factory.mktemp("git")) as running:
        yield running


@pytest.fixture
def repositories(tmp_path):
    return GitRepositories(tmp_path / "checkouts")


async def files(repositories, *source):
    """Return the files of a source, links as their targets."""
    async with repositories.archive(RepositorySource(*source)) as chunks:
        packed = b"".join([chunk async for chunk in chunks])
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {
            one.name: one.linkname if one.issym() else archive.extractfile(one).read()
            for one in archive
            if one.isfile() or one.issym()
        }


async def test_the_tree_of_the_head_comes_as_a_tar(server, repositories, tmp_path):
    url = server.commit("plain", FILES)
    assert await files(repositories, url) == FILES
    assert not list((tmp_path / "checkouts").iterdir())


async def test_a_branch_a_tag_and_a_commit_can_be_asked_for(server, repositories):
    url = server.commit("refs", {"f": b"first"})
    at = str(server.root / "refs")
    first = server.git("-C", at, "rev-parse", "HEAD").strip()
    server.git("-C", at, "tag", "v1")
    server.git("-C", at, "config", "uploadpack.allowReachableSHA1InWant", "true")
    server.git("-C", at, "branch", "old")
    server.commit("refs", {"f": b"second"})
    for ref in ("v1", "old", "refs/tags/v1", first):
        assert await files(repositories, url, ref) == {"f": b"first"}
    assert await files(repositories, url, "main") == {"f": b"second"}


async def test_a_directory_can_be_asked_for(server, repositories):
    url = server.commit("plain", {"more": b""})
    assert await files(repositories, url, "", "sub") == {"f": b"below", "deep/g": b"deeper"}
    assert await files(repositories, url, "main", "/sub/deep/") == {"g": b"deeper"}


@pytest.mark.parametrize(
    ("name", "ref", "directory", "kind"),
    [
        ("plain", "nosuch", "", NotFound),
        ("plain", "", "nosuch", NotFound),
        ("plain", "", "Dockerfile", NotFound),
        ("nosuch", "", "", Unavailable),
    ],
)
async def test_what_is_not_there_is_told(
    server, repositories, tmp_path, name, ref, directory, kind
):
    server.commit("plain", {"again": name.encode() + ref.encode() + directory.encode()})
    with pytest.raises(kind):
        await files(repositories, server.url(name), ref, directory)
    assert not list((tmp_path / "checkouts").iterdir())


async def test_attributes_and_links_of_a_repository_do_nothing(server, repositories):
    attributes = b"hidden export-ignore\nsubst export-subst\n* text eol=crlf\n"
    contents = {".gitattributes": attributes, "hidden": b"x", "subst": b"$Format:%H$", "n": b"a\n"}
    url = server.commit("odd", contents, links={"out": "/etc/passwd", "up": "../.."})
    seen = await files(repositories, url)
    assert seen == {**contents, "out": "/etc/passwd", "up": "../.."}


async def test_submodules_are_not_fetched(server, repositories):
    server.commit("inner", {"secret": b"x"})
    at = str(server.root / "outer")
    server.commit("outer", {"f": b"x"})
    allowed = ("-c", "protocol.git.allow=always")
    server.git("-C", at, *allowed, "submodule", "--quiet", "add", server.url("inner"), "inner")
    url = server.commit("outer", {"f": b"y"})
    assert set(await files(repositories, url)) == {".gitmodules", "f"}


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "/etc",
        "ext::sh -c touch% /tmp/pwned",
        "ssh://host/x",
        "git@host:x",
        "git://-oProxyCommand=touch/x",
        "--upload-pack=touch /tmp/pwned",
        "git://",
        "http://h:port/x",
        "git://host/x\nY: z",
        "git://host/ space",
        "",
    ],
)
async def test_only_urls_of_harmless_protocols_are_fetched(repositories, url):
    with pytest.raises(InvalidParameter):
        await files(repositories, url)


@pytest.mark.parametrize("ref", ["--upload-pack=x", "-x", "a..b", "a b", "a:b", "x\0y", "@{-1}"])
async def test_refs_are_no_options(server, repositories, ref):
    url = server.commit("plain", {"ref": ref.encode()})
    with pytest.raises(InvalidParameter):
        await files(repositories, url, ref)


@pytest.mark.parametrize("directory", ["../..", "sub/../..", "a\0b"])
async def test_directories_stay_in_the_repository(server, repositories, directory):
    with pytest.raises(InvalidParameter):
        await files(repositories, server.url("plain"), "", directory)


async def test_what_an_earlier_daemon_left_is_removed(tmp_path):
    left = tmp_path / "checkouts" / "git-abc"
    left.mkdir(parents=True)
    (left / "f").write_bytes(b"x")
    GitRepositories(tmp_path / "checkouts")
    assert not left.exists()


async def test_without_git_it_is_told(server, repositories, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="cannot run git"):
        await files(repositories, "git://127.0.0.1:9/x")
