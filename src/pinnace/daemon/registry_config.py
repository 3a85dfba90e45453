"""The configuration of registries: flags, their defaults and their checks, as dockerd's."""

import argparse
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from pinnace.errors import InvalidParameter

DEFAULT_CERTS_DIRS = ("/etc/pinnace/certs.d", "/etc/docker/certs.d")


class ProxyConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True
):
    """The proxies of `proxies`; what is empty comes from the environment."""

    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""


def add_registry_arguments(made: argparse.ArgumentParser) -> None:
    """Add the flags about registries."""
    add = made.add_argument
    add("--registry-mirror", dest="registry_mirrors", action="append", metavar="URL",
        help="pull images of docker.io from here first (repeatable)")  # fmt: skip
    add("--insecure-registry", dest="insecure_registries", action="append", metavar="HOST",
        help="HOST[:PORT] or network that needs no valid certificate (repeatable)")  # fmt: skip
    add("--registry-certs-dir", dest="registry_certs_dirs", action="append", metavar="DIR",
        help="holds HOST[:PORT]/*.crt and client certificates (repeatable)")  # fmt: skip
    add("--default-registry-url", metavar="URL", help="stands in for Docker's registry")
    add("--http-proxy", metavar="URL")
    add("--https-proxy", metavar="URL")
    add("--no-proxy", metavar="HOSTS")
    add("--max-concurrent-downloads", type=int, metavar="N", help="of layers")
    add("--max-concurrent-uploads", type=int, metavar="N", help="of layers")
    add("--max-download-attempts", type=int, metavar="N")


def take_proxies(given: dict[str, object]) -> None:
    """Gather the flags of proxies under the key that the configuration file has."""
    keys = ("http_proxy", "https_proxy", "no_proxy")
    found = {key.replace("_", "-"): given.pop(key) for key in keys if key in given}
    if found:
        given["proxies"] = found


def check_registries(
    *,
    mirrors: Sequence[str],
    insecure: Sequence[str],
    certs_dirs: Sequence[str],
    default_url: str,
    proxies: ProxyConfig,
) -> None:
    """Check what the types of the settings cannot.

    Raises:
        InvalidParameter: A URL, host or network is none; the texts are dockerd's where it has one.
    """
    for mirror in mirrors:
        _check_mirror(mirror)
    for registry in insecure:
        _check_insecure(registry)
    for directory in certs_dirs:
        if not Path(directory).is_absolute():
            raise InvalidParameter(f"registry-certs-dirs must be absolute paths: {directory}")
    if default_url:
        _check_mirror(default_url)
    for proxy in (proxies.http_proxy, proxies.https_proxy):
        _check_proxy(proxy)


def check_transfers(*, downloads: int, uploads: int, attempts: int) -> None:
    """Check the numbers.

    Raises:
        InvalidParameter: One of them is impossible.
    """
    if downloads < 0:
        raise InvalidParameter(f"invalid max concurrent downloads: {downloads}")
    if uploads < 0:
        raise InvalidParameter(f"invalid max concurrent uploads: {uploads}")
    if attempts <= 0:
        raise InvalidParameter(f"invalid max download attempts: {attempts}")


def _check_mirror(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise InvalidParameter(
            f'invalid mirror: unsupported scheme "{parts.scheme}" in "{parts.geturl()}"'
        )
    if not _has_host(url):
        raise InvalidParameter(f'invalid mirror: "{url}" is not a valid URI')
    if parts.username is not None or parts.password is not None:
        raise InvalidParameter("invalid mirror: username/password not allowed in the URI")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidParameter(
            f'invalid mirror: path, query, or fragment at end of the URI "{url}"'
        )


def _check_insecure(registry: str) -> None:
    if "://" in registry:
        raise InvalidParameter(f"insecure registry {registry} should not contain '://'")
    if "/" in registry:
        try:
            ip_network(registry, strict=False)
        except ValueError as exc:
            raise InvalidParameter(
                f"insecure registry {registry} is not valid: invalid CIDR address"
            ) from exc
        return
    if registry.startswith("-") or registry.endswith("-"):
        raise InvalidParameter(
            f"invalid index name ({registry}). Cannot begin or end with a hyphen"
        )
    if not _has_host(f"http://{registry}"):
        raise InvalidParameter(
            f'insecure registry {registry} is not valid: invalid host "{registry}"'
        )


def _check_proxy(url: str) -> None:
    if url and not _has_host(url if "://" in url else f"http://{url}"):
        raise InvalidParameter("invalid proxy: it is not a valid URL")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
