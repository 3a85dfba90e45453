"""Files fetched from a server on loopback."""

import contextlib
import http.server
import threading

import pytest

from pinnace.errors import InvalidParameter, NotFound, Unavailable
from pinnace.host.downloads import HttpDownloads

BODY = bytes(range(256)) * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        where = {"/moved": "/file", "/to-file": "file:///etc/passwd", "/round": "/round"}
        if self.path in where:
            self.send_response(302)
            self.send_header("Location", where[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status = {"/none": 404, "/broken": 500}.get(self.path, 200)
        self.send_response(status)
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Last-Modified", "Fri, 14 Jun 2013 09:12:44 GMT")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(BODY[:1000] if self.path == "/short" else BODY)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture
def downloads():
    return HttpDownloads()


async def fetch(downloads, url):
    async with downloads.open(url) as found:
        return b"".join([chunk async for chunk in found.content])


async def test_a_file_comes_whole_with_its_size_and_time(downloads, server):
    async with downloads.open(f"{server}/moved") as found:
        assert found.url == f"{server}/file"
        assert (found.size, found.media_type) == (len(BODY), "text/plain")
        assert found.modified_ns == 1371201164 * 10**9
        assert b"".join([chunk async for chunk in found.content]) == BODY


async def test_a_missing_file_is_told_with_its_status(downloads, server):
    with pytest.raises(NotFound, match=f"failed to GET {server}/none with status 404 Not Found"):
        await fetch(downloads, f"{server}/none")


async def test_a_failing_server_is_unavailable(downloads, server):
    with pytest.raises(Unavailable, match="with status 500"):
        await fetch(downloads, f"{server}/broken")


async def test_a_file_cut_short_is_no_file(downloads, server):
    with pytest.raises(Unavailable, match="unexpected EOF"):
        await fetch(downloads, f"{server}/short")


@pytest.mark.parametrize("path", ["/to-file", "/round"])
async def test_redirects_lead_nowhere_else(downloads, server, path):
    with pytest.raises(Unavailable):
        await fetch(downloads, server + path)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/f", "http://", "//h/f", "http://[::1/f", "http://h:x/"]
)
async def test_only_urls_of_http_are_fetched(downloads, url):
    with pytest.raises(InvalidParameter):
        await fetch(downloads, url)


async def test_a_server_that_does_not_listen_is_told_as_docker_tells_it(downloads):
    with pytest.raises(Unavailable, match=r"dial tcp 127\.0\.0\.1:9: connect: connection refused"):
        await fetch(downloads, "http://127.0.0.1:9/x")
