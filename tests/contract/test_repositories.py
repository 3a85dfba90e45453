"""What every implementation of `contracts.repositories.Repositories` promises."""

import io
import tarfile

import pytest
from tests.support import git_server

from pinnace.contracts.repositories import RepositorySource
from pinnace.errors import InvalidParameter, NotFound, Unavailable
from pinnace.host.repositories import GitRepositories
from pinnace.testing.repositories import FakeRepositories

FILES = {"Dockerfile": b"FROM busybox\n", "sub/f": b"below", "sub/deep/g": b"deeper"}


@pytest.fixture(params=["fake", "git"])
def served(request, tmp_path):
    """Yields the implementation and the URL of a repository with FILES, tagged v1."""
    if request.param == "fake":
        fake = FakeRepositories()
        fake.trees["git://h/plain"] = {"": FILES, "v1": FILES}
        yield fake, "git://h/plain"
        return
    (tmp_path / "served").mkdir()
    with git_server.serve(tmp_path / "served") as server:
        url = server.commit("plain", FILES)
        server.git("-C", str(server.root / "plain"), "tag", "v1")
        yield GitRepositories(tmp_path / "checkouts"), url


async def files(repositories, *source):
    async with repositories.archive(RepositorySource(*source)) as chunks:
        packed = b"".join([chunk async for chunk in chunks])
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}


async def test_the_head_a_ref_and_a_directory_come_as_tars(served):
    repositories, url = served
    assert await files(repositories, url) == FILES
    assert await files(repositories, url, "v1") == FILES
    assert await files(repositories, url, "v1", "sub") == {"f": b"below", "deep/g": b"deeper"}


async def test_what_is_not_there_is_told(served):
    repositories, url = served
    with pytest.raises(NotFound):
        await files(repositories, url, "nosuch")
    with pytest.raises(NotFound):
        await files(repositories, url, "", "nosuch")
    with pytest.raises(Unavailable):
        await files(repositories, f"{url}-not")


async def test_what_cannot_be_meant_is_refused(served):
    repositories, url = served
    with pytest.raises(InvalidParameter):
        await files(repositories, "file:///etc")
    with pytest.raises(InvalidParameter):
        await files(repositories, url, "", "../up")
