"""Addresses of engines: `unix:///path` and `tcp://host:port`, the latter with or without TLS."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pinnace.client.errors import ClientError

DEFAULT_HOST = "unix:///run/pinnace/pinnace.sock"
DEFAULT_PORT = 4243
DEFAULT_TLS_PORT = 2376


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """How to speak TLS.

    Attributes:
        verify: Check the engine's certificate against `ca` and its name.
        ca: Certificates to trust; None means those of the system.
        cert: Own certificate; None sends none.
        key: Its private key.
    """

    verify: bool
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens.

    Attributes:
        text: The address as given, for messages.
        path: Unix socket; None for TCP.
        host: Name or IP address for TCP.
        port: TCP port.
        tls: TLS settings; None speaks plain HTTP.
    """

    text: str
    path: Path | None = None
    host: str = "localhost"
    port: int = 0
    tls: TlsFiles | None = None


def parse_address(text: str, tls: TlsFiles | None = None) -> Address:
    """Parse the value of `--host`, `PINNACE_HOST` or `DOCKER_HOST`.

    Raises:
        ClientError: Neither `unix://` with an absolute path nor `tcp://`.
    """
    if text.startswith("unix://"):
        path = Path(text.removeprefix("unix://"))
        if not path.is_absolute():
            raise ClientError(f"the path of a unix socket must be absolute: {text}")
        return Address(text, path)
    if text.startswith(("tcp://", "http://", "https://")):
        return _parse_tcp(text, tls)
    raise ClientError(f"unable to parse host `{text}`: use unix:///path or tcp://host:port")


def _parse_tcp(text: str, tls: TlsFiles | None) -> Address:
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError as exc:
        raise ClientError(f"unable to parse host `{text}`: {exc}") from exc
    if not parts.hostname or parts.path not in ("", "/"):
        raise ClientError(f"unable to parse host `{text}`: use tcp://host:port")
    if tls is None and parts.scheme == "https":
        tls = TlsFiles(verify=True)
    default = DEFAULT_PORT if tls is None else DEFAULT_TLS_PORT
    return Address(text, None, parts.hostname, default if port is None else port, tls)


def address_from_environment(environment: Mapping[str, str]) -> Address:
    """Return the address that `PINNACE_HOST`, or else the default, names.

    `PINNACE_TLS_VERIFY` (any text but the empty one) turns TLS on; `PINNACE_CERT_PATH` is the
    directory which holds `ca.pem`, `cert.pem` and `key.pem`.
    """
    tls = None
    if environment.get("PINNACE_TLS_VERIFY"):
        tls = tls_from_directory(Path(environment.get("PINNACE_CERT_PATH") or "."))
    return parse_address(environment.get("PINNACE_HOST") or DEFAULT_HOST, tls)


def tls_from_directory(directory: Path) -> TlsFiles:
    """Return verifying TLS with the usual file names of a directory."""
    return TlsFiles(
        verify=True,
        ca=directory / "ca.pem",
        cert=directory / "cert.pem",
        key=directory / "key.pem",
    )
