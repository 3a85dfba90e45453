"""A small real token server: what `docker-registry` with `auth: token` sends clients to.

It speaks both ways of the distribution project's token documentation: GET with basic
authorization, and the OAuth2 POST with a password or a refresh token. Tokens are JSON web tokens
signed with RS256, the certificate in `x5c`, so the registry can check them by its own means.
"""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

USERNAME, PASSWORD = "ada", "s3cret"
ISSUER, SERVICE = "pinnace-tests", "registry.tests"


class CertificateFiles(NamedTuple):
    """PEM files of a certificate and of what signed it."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(slots=True)
class TokenRequest:
    """What a client asked for.

    Attributes:
        method: GET, or POST for OAuth2.
        parameters: Of the query or the form.
        authorization: The header as sent.
    """

    method: str
    parameters: dict[str, list[str]]
    authorization: str = ""

    @property
    def scopes(self) -> list[str]:
        """Every scope asked for."""
        return [word for given in self.parameters.get("scope", []) for word in given.split()]


@dataclass(slots=True)
class TokenServer:
    """The running server.

    Attributes:
        root: Directory with its key.
        realm: Its URL.
        anonymous: Whether it gives `pull` tokens to whoever asks.
        lifetime_s: Of tokens, as told to clients and written into them.
        identity_token: The refresh token it gives with `offline_token`, and takes.
        requests: What was asked so far.
        refuse: Status it answers with instead of tokens; 0: none.
    """

    root: Path
    realm: str = ""
    anonymous: bool = False
    lifetime_s: int = 300
    identity_token: str = field(default_factory=lambda: secrets.token_hex(16))
    requests: list[TokenRequest] = field(default_factory=list)
    refuse: int = 0
    _server: ThreadingHTTPServer | None = None
    _files: CertificateFiles | None = None

    @classmethod
    def start(cls, root: Path, *, address: str = "127.0.0.1") -> TokenServer:
        """Start one on a free port."""
        made = cls(root)
        made._files = make_certificate(root, address)
        made._server = ThreadingHTTPServer((address, 0), _handler(made))
        made._server.daemon_threads = True
        made.realm = f"http://{address}:{made._server.server_address[1]}/token"
        threading.Thread(target=made._server.serve_forever, daemon=True).start()
        return made

    def registry_config(self) -> dict[str, object]:
        """Return the `auth: token:` part of the registry's configuration."""
        return {
            "realm": self.realm,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self._files.ca),
        }

    def issue(self, scopes: Sequence[str], *, subject: str = USERNAME) -> str:
        """Return a signed token for scopes such as `repository:team/app:pull,push`."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + self.lifetime_s,
            "jti": secrets.token_hex(8),
            "access": [_access(scope) for scope in scopes],
        }
        body = self._files.certificate.read_text().split("-----")[2]
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(body.split())]}
        signed = f"{_encode(json.dumps(header))}.{_encode(json.dumps(claims))}"
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._files.key)],
            input=signed.encode(),
            capture_output=True,
            check=True,
        ).stdout
        return f"{signed}.{_encode(signature)}"

    def answer(self, asked: TokenRequest) -> tuple[int, dict[str, object]]:
        """Return the status and the body for a request."""
        self.requests.append(asked)
        if self.refuse:
            return self.refuse, _error("refused by the test")
        known = self._knows(asked)
        if not known and (asked.authorization or asked.method == "POST" or not self.anonymous):
            return 401, _error("incorrect username or password")
        scopes = asked.scopes if known else [_only_pull(scope) for scope in asked.scopes]
        token = self.issue(scopes, subject=USERNAME if known else "")
        body: dict[str, object] = {"expires_in": self.lifetime_s, "token": token}
        if asked.method == "POST":
            body = {"access_token": token, "expires_in": self.lifetime_s, "scope": ""}
        wants = asked.parameters
        if wants.get("offline_token") == ["true"] or wants.get("access_type") == ["offline"]:
            body["refresh_token"] = self.identity_token
        return 200, body

    def _knows(self, asked: TokenRequest) -> bool:
        if asked.method == "GET":
            encoded = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
            return asked.authorization == f"Basic {encoded}"
        given = {name: values[0] for name, values in asked.parameters.items()}
        if given.get("grant_type") == "refresh_token":
            return given.get("refresh_token") == self.identity_token
        return (given.get("username"), given.get("password")) == (USERNAME, PASSWORD)

    def close(self) -> None:
        """Stop serving."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


def _handler(tokens: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(parse_qs(urlsplit(self.path).query))

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._reply(parse_qs(form.decode()))

        def _reply(self, parameters: dict[str, list[str]]) -> None:
            authorization = self.headers.get("Authorization", "")
            asked = TokenRequest(self.command, parameters, authorization)
            status, body = tokens.answer(asked)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def make_certificate(root: Path, address: str) -> CertificateFiles:
    """Make an authority and a server certificate for an IP address below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    ca, ca_key = root / "ca.crt", root / "ca.key"
    certificate, key, request = root / "server.crt", root / "server.key", root / "server.csr"
    extensions = root / "server.ext"
    extensions.write_text(f"subjectAltName=IP:{address},DNS:localhost\n")
    common = ["-newkey", "rsa:2048", "-nodes", "-days", "30"]
    for command in (
        ["req", "-x509", *common, "-subj", "/CN=tests-ca", "-keyout", ca_key, "-out", ca],
        ["req", *common[:3], "-subj", f"/CN={address}", "-keyout", key, "-out", request],
        ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
         "-days", "30", "-extfile", extensions, "-out", certificate],
    ):  # fmt: skip
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    return CertificateFiles(ca, certificate, key)


def _access(scope: str) -> dict[str, object]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return {"type": kind, "name": name, "actions": [one for one in actions.split(",") if one]}


def _only_pull(scope: str) -> str:
    head, _, actions = scope.rpartition(":")
    return f"{head}:{'pull' if 'pull' in actions.split(',') else ''}"


def _encode(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _error(message: str) -> dict[str, object]:
    return {"errors": [{"code": "UNAUTHORIZED", "message": message, "detail": None}]}
