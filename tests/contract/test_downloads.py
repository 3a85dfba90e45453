"""What every implementation of `contracts.downloads.Downloads` promises."""

import pytest
from tests.support.remote_images import web_server

from pinnace.errors import InvalidParameter, NotFound, Unavailable
from pinnace.host.downloads import HttpDownloads
from pinnace.testing.downloads import FakeDownloads

BODY = bytes(range(256)) * 40


@pytest.fixture(params=["fake", "http"])
def served(request):
    """Yields the implementation, the URL of BODY, and what cuts connections short."""
    if request.param == "fake":
        fake = FakeDownloads()
        fake.files["http://h/file"] = BODY

        def cut():
            fake.cut = 1024

        yield fake, "http://h/file", cut
        return
    with web_server() as server:
        url = server.put("/file", BODY)

        def cut():
            server.cuts = True

        yield HttpDownloads(), url, cut


async def fetch(downloads, url):
    async with downloads.open(url) as found:
        return found.size, b"".join([chunk async for chunk in found.content])


async def test_a_file_comes_whole_and_tells_its_size(served):
    downloads, url, _ = served
    assert await fetch(downloads, url) == (len(BODY), BODY)


async def test_a_file_that_is_not_there_is_not_found(served):
    downloads, url, _ = served
    with pytest.raises(NotFound, match="404"):
        await fetch(downloads, f"{url}.not")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/f", "http://", "nothing"])
async def test_only_urls_of_http_are_asked_for(served, url):
    with pytest.raises(InvalidParameter):
        await fetch(served[0], url)


async def test_a_file_cut_short_is_an_error(served):
    downloads, url, cut = served
    cut()
    with pytest.raises(Unavailable, match="unexpected EOF"):
        await fetch(downloads, url)


async def test_a_file_need_not_be_read(served):
    downloads, url, _ = served
    async with downloads.open(url) as found:
        assert found.url == url
    assert await fetch(downloads, url) == (len(BODY), BODY)
