"""Addresses of registries as clients write them: a host, or a URL, of which the host counts."""

import re

from pinnace.errors import InvalidParameter
from pinnace.oci.reference import DEFAULT_DOMAIN

# What clients call the default registry: its index' address of old, or its host.
_DEFAULT_NAMES = ("", "index.docker.io", "registry-1.docker.io", DEFAULT_DOMAIN)
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_SCHEME = re.compile(r"\A[a-zA-Z]+://")


def registry_domain(address: str) -> str:
    """Return `host[:port]` of a registry's address; `docker.io` for the default one.

    Raises:
        InvalidParameter: It is none.
    """
    host = _SCHEME.sub("", address.strip()).partition("/")[0]
    if host in _DEFAULT_NAMES:
        return DEFAULT_DOMAIN
    if not _HOST.fullmatch(host):
        raise InvalidParameter(
            f'unable to parse server address: parse "https://{host[:256]}": invalid host name'
        )
    return host
