"""Images made through API 1.0 to 1.2, and a web server for what is imported from elsewhere."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import http.server
import itertools
import lzma
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.archives import file, tar_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.remote import Remote, Reply

PACKED = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
GATE_S = 60
_numbers = itertools.count(1)


def root_tar(text: str = "") -> bytes:
    """Return a root filesystem that no other call has made; `text` goes into /etc/issue."""
    return tar_of(
        file("etc/issue", text.encode()), file("etc/number", str(next(_numbers)).encode())
    )


@dataclass(slots=True)
class Images:
    """Makes images through the API under test, and removes everything that is new at the end."""

    api: Remote
    newest: Remote
    _before: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._before = self._ids()

    def name(self) -> str:
        """Return a repository that does not exist yet."""
        return f"made/image{next(_numbers)}"

    def imported(self, repo: str = "", tag: str = "", content: bytes | None = None) -> str:
        """Import a root filesystem; return the image's short id."""
        query = {"fromSrc": "-"} | ({"repo": repo} if repo else {}) | ({"tag": tag} if tag else {})
        body = root_tar() if content is None else content
        reply = self.api.post("/images/create", body, query=query)
        assert reply.status == 200, reply.sent
        return self.last_status(reply)

    def last_status(self, reply: Reply) -> str:
        """Return the last word of a stream."""
        if self.api.version == "1.0":
            return reply.text.splitlines()[-1]
        return reply.values()[-1]["status"]

    def commit(self, container: str, config: Any = None, **query: str) -> str:
        """Commit a container; return the image's short id."""
        reply = self.api.post("/commit", config, query={"container": container, **query})
        assert reply.status == 201, reply.sent
        return reply.json()["Id"]

    def inspect(self, image: str) -> dict[str, Any]:
        """Return what the API under test says of an image."""
        reply = self.api.get(f"/images/{image}/json")
        assert reply.status == 200, reply.sent
        return reply.json()

    def full(self, image: str) -> str:
        """Return the full id of an image."""
        return self.inspect(image)["id"]

    def history(self, image: str) -> list[dict[str, Any]]:
        reply = self.api.get(f"/images/{image}/history")
        assert reply.status == 200, reply.sent
        return reply.json()

    def list(self, **query: object) -> list[dict[str, Any]]:
        reply = self.api.get("/images/json", query=query)
        assert reply.status == 200, reply.sent
        return reply.json()

    def exists(self, image: str) -> bool:
        return self.api.get(f"/images/{image}/json").status == 200

    def tag(self, image: str, repo: str, tag: str = "latest") -> None:
        reply = self.api.post(
            f"/images/{image}/tag", query={"repo": repo, "tag": tag, "force": "1"}
        )
        assert reply.status == 201, reply.sent

    def remove(self) -> None:
        """Remove what was made, children first."""
        while left := self._ids() - self._before:
            gone = [
                self.newest.delete(f"/images/{image}", query={"force": 1}).status == 200
                for image in left
            ]
            assert any(gone), f"cannot be removed: {left}"

    def _ids(self) -> set[str]:
        reply = self.newest.get("/images/json", query={"all": 1})
        return {image["Id"] for image in reply.json()}


@dataclass(slots=True)
class WebServer:
    """Files on loopback; below /unsized/ their length is not told.

    Attributes:
        files: By path.
        asked: Paths that were asked for.
        gate: While it is closed, files stop after 1024 bytes.
        cuts: Connections break after 1024 bytes.
    """

    port: int
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    cuts: bool = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let files stop after 1024 bytes until the end of the block."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    @contextlib.contextmanager
    def cut_short(self) -> Iterator[None]:
        """Break connections after 1024 bytes until the end of the block."""
        self.cuts = True
        try:
            yield
        finally:
            self.cuts = False

    def put(self, path: str, content: bytes) -> str:
        """Serve a file; return its URL."""
        self.files[path] = content
        return f"http://{self.address}{path}"


@contextlib.contextmanager
def web_server() -> Iterator[WebServer]:
    """Serve files until the end of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            content = found.files.get(self.path)
            self.send_response(200 if content is not None else 404)
            if not self.path.startswith("/unsized/"):
                self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write((content or b"")[:1024])
                found.gate.wait(GATE_S)
                if not found.cuts:
                    self.wfile.write((content or b"")[1024:])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = WebServer(server.server_port)
        found.gate.set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
