"""A small command-line client of May and June 2013, as far as the wire tells.

It does what `docker run`, `ps`, `build`, … of 0.3.x, 0.4.x and of the first client of 1.2 did:
their paths, their odd headers, their order of calls, and no more than they understood of the
answers. Source: contract of API 1.0 to 1.2, section 7.
"""

from __future__ import annotations

import bz2
import contextlib
import http.client
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEADLINE_S = 60
_BOUNDARY = "3e4c5f0a"


class Failed(Exception):
    """The daemon refused, or said in a stream that something failed."""


@dataclass(slots=True)
class Output:
    """What a container wrote, by connection."""

    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(slots=True)
class Client2013:
    """One client.

    Attributes:
        listens: Port of the daemon on loopback.
        prefix: Of every path but that of builds: `/v1.0`, …, or "".
        keeps_login: The client keeps the login and sends it with pushes (1.2); else the daemon
            keeps it, and is asked for it first.
        login_object: What it keeps.
    """

    listens: int
    prefix: str
    keeps_login: bool
    login_object: dict[str, str] = field(default_factory=dict)

    # --- requests -----------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request; a POST without a body has an odd content type, a path always a `?`."""
        headers = {"User-Agent": "Docker-Client/0.4.0", "Host": f"127.0.0.1:{self.listens}"}
        content = None
        if body is not None or method == "POST":
            content = b"" if body is None else _encoded(body)
            headers["Content-Type"] = "plain/text" if body is None else "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.listens, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            target = f"{self.prefix}{path}?{urlencode(query or {})}"
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
    ) -> Any:
        """Return the JSON of an answer, or None; anything below 200 or from 400 on is an error."""
        status, _, content = self.call(method, path, body, query)
        if not 200 <= status < 400:
            raise Failed(content.decode())
        return json.loads(content) if content else None

    def stream(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
    ) -> str:
        """Return what a stream shows; only one type is decoded, by the letter."""
        status, headers, content = self.call(method, path, body, query)
        if not 200 <= status < 400:
            raise Failed(content.decode())
        text = content.decode()
        if headers["Content-Type"] != "application/json":
            if "Error: " in text:
                raise Failed(text)
            return text
        shown = []
        for message in _values(text):
            if message.get("error"):
                raise Failed(message["error"])
            words = [message.get("status", ""), message.get("progress", "")]
            shown.append(" ".join(word for word in words if word))
        return "\n".join(shown)

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.listens), timeout=DEADLINE_S)

    @contextlib.contextmanager
    def attached(self, container: str, **query: int) -> Iterator[socket.socket]:
        """Attach, with an empty `Host`; yields the socket behind the head of the answer."""
        target = f"{self.prefix}/containers/{container}/attach?{urlencode(query)}"
        head = f"POST {target} HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\n"
        with socket.create_connection(
            ("127.0.0.1", self.listens), timeout=DEADLINE_S
        ) as connection:
            connection.sendall(head.encode())
            got = b""
            while not got.endswith(b"\r\n\r\n"):
                got += connection.recv(1)
            assert got.startswith(b"HTTP/1.1 200 OK\r\n"), got
            yield connection

    # --- containers ---------------------------------------------------------------------------

    def run(
        self,
        image: str,
        *command: str,
        stdin: bytes | None = None,
        detached: bool = False,
        tty: bool = False,
        **config: Any,
    ) -> tuple[str, Output]:
        """`docker run`: pull if there is no such image; return the id and what was written."""
        body = {
            "Image": image,
            "Cmd": list(command),
            "AttachStdin": stdin is not None,
            "AttachStdout": not detached,
            "AttachStderr": not detached,
            "OpenStdin": stdin is not None,
            "StdinOnce": stdin is not None,
            "Tty": tty,
            "Volumes": {},
            "PortSpecs": None,
            "Env": None,
            "Dns": None,
            **config,
        }
        status, _, content = self.call("POST", "/containers/create", body)
        if status == 404:
            self.stream("POST", "/images/create", None, {"fromImage": image})
            status, _, content = self.call("POST", "/containers/create", body)
        if not 200 <= status < 400:
            raise Failed(content.decode())
        container = json.loads(content)["Id"]
        self.ask("POST", f"/containers/{container}/start")
        if detached:
            return container, Output()
        if tty:
            # 24 rows and 80 columns, the wrong way round.
            self.call("POST", f"/containers/{container}/resize", query={"h": 80, "w": 24})
            return container, Output(self._follow(container, stdin, stdout=1, stderr=1))
        return container, self._two_attaches(container, stdin)

    def _two_attaches(self, container: str, stdin: bytes | None) -> Output:
        """Attach twice at once: to stderr, and to stdin and stdout."""
        output = Output()

        def errors() -> None:
            output.stderr = self._follow(container, b"", stderr=1)

        beside = threading.Thread(target=errors)
        beside.start()
        wants = {"stdin": 1} if stdin is not None else {}
        output.stdout = self._follow(container, stdin, stdout=1, **wants)
        beside.join()
        return output

    def _follow(self, container: str, sent: bytes | None, /, **query: int) -> bytes:
        """Read to the end of the stream; the own side is closed as soon as stdin ends."""
        with self.attached(container, logs=1, stream=1, **query) as connection:
            if sent:
                connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return _rest(connection)

    def ps(self, *, everything: bool = False) -> list[list[str]]:
        """`docker ps`: the columns of its table."""
        query = {"all": 1} if everything else {}
        return [
            [
                one["Id"][:12],
                one["Image"],
                one["Command"],
                str(one["Created"] + 0),
                one["Status"],
                one["Ports"] + "",
            ]
            for one in self.ask("GET", "/containers/json", query=query)
        ]

    def port(self, container: str, private: str) -> str:
        """`docker port`."""
        seen = self.ask("GET", f"/containers/{container}/json")
        return seen["NetworkSettings"]["PortMapping"][private]

    def logs(self, container: str) -> Output:
        """`docker logs`: two attaches, one after the other."""
        found = Output()
        with self.attached(container, logs=1, stdout=1) as connection:
            found.stdout = _rest(connection)
        with self.attached(container, logs=1, stderr=1) as connection:
            found.stderr = _rest(connection)
        return found

    def wait(self, container: str) -> int:
        return self.ask("POST", f"/containers/{container}/wait")["StatusCode"]

    def stop(self, container: str) -> None:
        self.ask("POST", f"/containers/{container}/stop", query={"t": 1})

    def rm(self, container: str) -> None:
        self.ask("DELETE", f"/containers/{container}")

    # --- images -------------------------------------------------------------------------------

    def images(self, repository: str = "") -> list[tuple[str, str, str]]:
        """`docker images`: repository, tag and short id."""
        query = {"all": 1, "filter": repository} if repository else {"all": 1}
        return [
            (one.get("Repository", "<none>"), one.get("Tag", "<none>"), one["Id"][:12])
            for one in self.ask("GET", "/images/json", query=query)
        ]

    def inspect_image(self, image: str) -> dict[str, Any]:
        return self.ask("GET", f"/images/{image}/json")

    def history(self, image: str) -> list[str]:
        return [one["Id"] for one in self.ask("GET", f"/images/{image}/history")]

    def viz(self) -> str:
        """`docker images -viz`, with the body that means nothing."""
        status, _, content = self.call("GET", "/images/viz", body=False)
        assert status == 200, content
        return content.decode()

    def pull(self, name: str) -> str:
        """`docker pull`: the name split at its last colon, unless that is a port's."""
        repository, tag = _split(name)
        query = {"fromImage": repository} | ({"tag": tag} if tag else {})
        return self.stream("POST", "/images/create", None, query)

    def push(self, name: str) -> str:
        """`docker push`."""
        if self.keeps_login:
            return self.stream("POST", f"/images/{name}/push", self.login_object)
        self.ask("GET", "/auth")
        return self.stream("POST", f"/images/{name}/push")

    def login(self, username: str, password: str, email: str) -> str:
        """`docker login`; returns what it prints."""
        if not self.keeps_login:
            self.ask("GET", "/auth")
        body = {"username": username, "password": password, "email": email}
        status = self.ask("POST", "/auth", body)["Status"]
        if self.keeps_login:
            self.login_object = body
        return status

    def search(self, term: str) -> list[tuple[str, str]]:
        found = self.ask("GET", "/images/search", query={"term": term})
        return [(one["Name"], one["Description"]) for one in found]

    def commit(self, container: str, repository: str, tag: str = "", run: Any = None) -> str:
        """`docker commit`; without a run config its body is `null`."""
        query = {
            "container": container,
            "repo": repository,
            "tag": tag,
            "comment": "",
            "author": "",
        }
        content = b"null" if run is None else run
        return self.ask("POST", "/commit", content, query)["Id"]

    def tag(self, image: str, repository: str, tag: str = "") -> None:
        query = {"repo": repository} | ({"tag": tag} if tag else {})
        status, _, content = self.call("POST", f"/images/{image}/tag", query=query)
        if status != 201:
            raise Failed(content.decode())

    def insert(self, image: str, url: str, path: str) -> str:
        """`docker insert`; returns what it shows."""
        return self.stream("POST", f"/images/{image}/insert", None, {"url": url, "path": path})

    def rmi(self, image: str) -> list[dict[str, str]]:
        """`docker rmi`; a client of 1.2 decodes what was done."""
        done = self.ask("DELETE", f"/images/{image}")
        return list(done) if self.keeps_login else []

    def build(self, dockerfile: str, context: bytes | None, name: str = "") -> str:
        """`docker build`: a chunked form, to the path without prefix; returns the text."""
        parts = []
        if context is not None:
            packed = bz2.compress(context)
            packed += bytes(-len(packed) % 10240)
            parts.append(("Context", "dir.tar.bz2", packed))
        parts.append(("Dockerfile", "Dockerfile", dockerfile.encode()))
        target = f"/build?{urlencode({'t': name} if name else {})}"
        head = (
            f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.listens}\r\n"
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
            "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        with socket.create_connection(
            ("127.0.0.1", self.listens), timeout=DEADLINE_S
        ) as connection:
            connection.sendall(head.encode())
            for piece in _form(parts):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            text = answer.read().decode()
        if not 200 <= answer.status < 400 or "Build successful." not in text:
            raise Failed(text)
        return text

    def build_by_steps(self, base: str, commands: Sequence[str], run: Any) -> str:
        """Build as the client of 0.3.3 did by itself, step by step; returns the image."""
        image = self.inspect_image(base)["id"]
        for command in commands:
            config = {"Image": image, "Cmd": ["/bin/sh", "-c", command]}
            status, _, content = self.call("POST", "/images/getCache", {"Id": image, **config})
            if status == 200:
                image = json.loads(content)["Id"]
                continue
            container = self.ask("POST", "/containers/create", config)["Id"]
            self.ask("POST", f"/containers/{container}/start")
            if self.wait(container) != 0:
                raise Failed(command)
            image = self.inspect_image(self.commit(container, "", run=run))["id"]
            self.rm(container)
        return image


def _encoded(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def _values(text: str) -> Iterator[dict[str, Any]]:
    """Decode value after value; spaces between them are none of a decoder's business."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:]


def _rest(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def _split(name: str) -> tuple[str, str]:
    above, slash, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    return above + slash + base, tag


def _form(parts: Sequence[tuple[str, str, bytes]]) -> Iterator[bytes]:
    for name, filename, content in parts:
        yield (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}";'
            f' filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        ).encode()
        for at in range(0, len(content), 4096):
            yield content[at : at + 4096]
        yield b"\r\n"
    yield f"--{_BOUNDARY}--\r\n".encode()
