"""Starts Debian's docker-registry on this machine: plain, with TLS, with passwords, with tokens.

    with registry.start(tmp_path / "registry") as server:
        server.put_image("team/app", "1", layers=[gzip_layer])
        engine.cli("pull", f"{server.address}/team/app:1")
        assert server.count("GET", "/blobs/") == 2

`kind` is one of:

- `plain`: HTTP, nobody is asked;
- `tls`: HTTPS with a certificate of `server.ca`; nobody is asked;
- `basic`: HTTP, `USERNAME` and `PASSWORD` are asked for;
- `token`: HTTP, tokens of `server.tokens` (a `tests.support.token_server.TokenServer`), which
  asks for `USERNAME` and `PASSWORD` unless it is told otherwise.

Docker trusts loopback without TLS, so a test of certificates wants another address:
`with own_address() as address: registry.start(root, kind="tls", address=address)`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from tests.support.token_server import PASSWORD, USERNAME, TokenServer, make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["PASSWORD", "USERNAME", "Registry", "Request", "own_address", "start"]

START_DEADLINE_S = 30.0
# bcrypt of PASSWORD
_HTPASSWD = f"{USERNAME}:$2y$05$Pinnace.registry.test.Ybd8z0do4j9CLgYurFaGahp3TXoB7hu\n"
_ACCESS = re.compile(r'^\S+ - - \[[^]]*\] "(\S+) (\S+) [^"]*" (\d+) (\d+)', re.MULTILINE)

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Request(NamedTuple):
    """A line of the access log."""

    method: str
    path: str
    status: int
    size: int


@dataclass(slots=True)
class Registry:
    """A running docker-registry.

    Attributes:
        kind: See the module.
        address: `host:port`, the domain of its images' names.
        root: Directory with its storage and its log.
        ca: Certificate that signed the server's, with `kind="tls"`.
        tokens: The token server, with `kind="token"`.
    """

    kind: str
    address: str
    root: Path
    ca: Path | None = None
    tokens: TokenServer | None = None
    process: subprocess.Popen[bytes] | None = None
    _marks: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """`http://host:port` or `https://host:port`."""
        return f"{'https' if self.kind == 'tls' else 'http'}://{self.address}"

    @property
    def certs_d(self) -> Path:
        """A directory as `/etc/docker/certs.d`, which makes clients trust `ca`."""
        return self.root / "certs.d"

    @property
    def log(self) -> Path:
        """What it prints; the access log among it."""
        return self.root / "registry.log"

    # --- what was asked ---------------------------------------------------------------------

    def requests(self) -> list[Request]:
        """Return the requests answered since the start, or since `forget_requests`."""
        text = self.log.read_text(errors="replace")[self._marks.get("log", 0) :]
        return [
            Request(method, path, int(status), int(size))
            for method, path, status, size in _ACCESS.findall(text)
        ]

    def forget_requests(self) -> None:
        """Count from here on."""
        self._marks["log"] = len(self.log.read_text(errors="replace"))

    def count(self, method: str, part: str, *, status: int = 0) -> int:
        """Return how many requests of a method had `part` in their path."""
        return sum(
            one.method == method and part in one.path and status in (0, one.status)
            for one in self.requests()
        )

    # --- content ----------------------------------------------------------------------------

    def put_blob(self, repository: str, content: bytes) -> str:
        """Upload a blob; return its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        status, headers, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, status
        place = urlsplit(headers["location"])
        target = f"{place.path}?{place.query}&digest={digest}"
        kind = {"Content-Type": "application/octet-stream"}
        status, _, body = self.request("PUT", target, content, headers=kind)
        assert status == 201, (status, body)
        return digest

    def put_manifest(self, repository: str, reference: str, content: bytes, kind: str) -> str:
        """Upload a manifest; return its digest."""
        target = f"/v2/{repository}/manifests/{reference}"
        status, _, body = self.request("PUT", target, content, headers={"Content-Type": kind})
        assert status == 201, (status, body)
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    def put_image(
        self,
        repository: str,
        tag: str,
        *,
        layers: Sequence[bytes],
        diff_ids: Sequence[str] = (),
        config: Mapping[str, object] | None = None,
        manifest_type: str = DOCKER_MANIFEST,
        config_type: str = DOCKER_CONFIG,
        layer_type: str = DOCKER_LAYER,
        architecture: str = "amd64",
    ) -> str:
        """Upload an image of gzip layers; return the digest of its manifest.

        Args:
            repository: Its name without the registry.
            tag: Or a digest.
            layers: Blobs, lowest first.
            diff_ids: Digests of the layers' tars; computed from gzip layers when left out.
            config: The `config` member of the image config.
            manifest_type: Media type of the manifest.
            config_type: Media type of the image config.
            layer_type: Media type of every layer.
            architecture: Of the image config.
        """
        document = {
            "architecture": architecture,
            "os": "linux",
            "config": dict(config or {"Cmd": ["sh"]}),
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids) or diff_ids_of(layers)},
        }
        encoded = json.dumps(document, sort_keys=True).encode()
        described = [(config_type, encoded), *((layer_type, layer) for layer in layers)]
        descriptors = []
        for media_type, content in described:
            digest = self.put_blob(repository, content)
            descriptors.append({"mediaType": media_type, "digest": digest, "size": len(content)})
        manifest = {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": descriptors[0],
            "layers": descriptors[1:],
        }
        return self.put_manifest(repository, tag, json.dumps(manifest).encode(), manifest_type)

    def get_manifest(self, repository: str, reference: str) -> tuple[bytes, str]:
        """Return a manifest or index as stored, and its media type."""
        accept = (
            f"{DOCKER_MANIFEST}, application/vnd.docker.distribution.manifest.list.v2+json,"
            " application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
        )
        target = f"/v2/{repository}/manifests/{reference}"
        status, headers, body = self.request("GET", target, headers={"Accept": accept})
        assert status == 200, (status, body)
        return body, headers["content-type"]

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request with whatever the registry wants to see first."""
        sent = {"Host": self.address, "Content-Length": str(len(body)), **(headers or {})}
        sent |= self._authorization(target)
        if self.ca is not None:
            context = ssl.create_default_context(cafile=str(self.ca))
            connection = http.client.HTTPSConnection(self.address, context=context, timeout=30)
        else:
            connection = http.client.HTTPConnection(self.address, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, target, body=body, headers=sent)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content

    def _authorization(self, target: str) -> dict[str, str]:
        if self.kind == "basic":
            encoded = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
            return {"Authorization": f"Basic {encoded}"}
        if self.tokens is not None:
            match = re.match(r"/v2/(.+)/(?:manifests|blobs|tags)/", target)
            scopes = [f"repository:{match[1]}:pull,push"] if match else []
            return {"Authorization": f"Bearer {self.tokens.issue(scopes)}"}
        return {}

    # --- life -------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the process on the storage it has, and wait until it listens.

        Raises:
            RuntimeError: It does not.
        """
        assert self.process is None, "the registry runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(self.root / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        host, _, port = self.address.rpartition(":")
        end = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 5):
                return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"the registry does not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        """End the process; its content stays."""
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """End everything."""
        self.stop()
        if self.tokens is not None:
            self.tokens.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start(root: Path, *, kind: str = "plain", address: str = "127.0.0.1") -> Registry:
    """Start a registry below `root` on a free port of `address`.

    Args:
        root: Directory for its storage; made if it is missing.
        kind: `plain`, `tls`, `basic` or `token`; see the module.
        address: IPv4 address of this machine.
    """
    assert kind in ("plain", "tls", "basic", "token"), kind
    root.mkdir(parents=True, exist_ok=True)
    registry = Registry(kind, f"{address}:{free_port(address)}", root)
    config = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": False}, "level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": str(root / "storage")},
            "delete": {"enabled": True},
        },
        "http": {"addr": registry.address},
    }
    if kind == "tls":
        files = make_certificate(root / "tls", address)
        trusted = registry.certs_d / registry.address
        trusted.mkdir(parents=True)
        registry.ca = trusted / "ca.crt"
        registry.ca.write_bytes(files.ca.read_bytes())
        config["http"]["tls"] = {"certificate": str(files.certificate), "key": str(files.key)}
    elif kind == "basic":
        (root / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "registry", "path": str(root / "htpasswd")}}
    elif kind == "token":
        registry.tokens = TokenServer.start(root / "tokens", address=address)
        config["auth"] = {"token": registry.tokens.registry_config()}
    (root / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    try:
        registry.launch()
    except RuntimeError:
        registry.close()
        raise
    return registry


@contextlib.contextmanager
def own_address(address: str = "10.223.0.253") -> Iterator[str]:
    """Give this machine an address which is not loopback, for the time of a `with` block."""
    change = ["ip", "address", "replace", f"{address}/32", "dev", "lo"]
    subprocess.run(change, check=True, capture_output=True)
    try:
        yield address
    finally:
        change[2] = "delete"
        subprocess.run(change, check=False, capture_output=True)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def diff_ids_of(layers: Sequence[bytes]) -> list[str]:
    """Return the digests of the tars in gzip layers."""
    import gzip

    return [f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}" for layer in layers]
