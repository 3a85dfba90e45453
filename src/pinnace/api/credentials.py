"""Credentials for registries as clients send them: `X-Registry-Auth`, or the body of old pushes.

What cannot be read counts as none, as dockerd does: clients send odd things when nobody is
logged in, and a registry that wants credentials says so.
"""

import base64
import binascii
import contextlib
from collections.abc import Mapping

import msgspec

from pinnace.contracts.registry import ANONYMOUS, Credentials
from pinnace.errors import InvalidParameter
from pinnace.oci.registry_address import registry_domain

AUTH_HEADER = "x-registry-auth"
CONFIG_HEADER = "x-registry-config"
_MAX_BYTES = 64 << 10
_MAX_CONFIG_BYTES = 256 << 10


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Docker's `AuthConfig`; the names are those of the wire."""

    username: str = ""
    password: str = ""
    auth: str = ""
    email: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""

    def credentials(self) -> Credentials:
        """Return who asks."""
        username, password = self.username, self.password
        if self.auth and not username:
            username, _, password = _text(self.auth).partition(":")
        return Credentials(username, password, self.identitytoken, self.registrytoken)


def header_credentials(header: str | None) -> Credentials:
    """Return the credentials of an `X-Registry-Auth` header; anonymous when it says none."""
    config = header_auth(header)
    return ANONYMOUS if config is None else config.credentials()


def header_auth(header: str | None) -> AuthConfig | None:
    """Return what an `X-Registry-Auth` header holds; None when it cannot be read.

    The alphabet is that of URLs or the usual one, padding may be left out.
    """
    if not header or len(header) > _MAX_BYTES:
        return None
    return parse_auth(_text(header).encode())


def config_credentials(header: str | None) -> Mapping[str, Credentials]:
    """Return the credentials by registry of an `X-Registry-Config` header, which builds send.

    Registries are named as in images: `docker.io` for the default one. Entries that name none
    are left out; a header that cannot be read says none.
    """
    if not header or len(header) > _MAX_CONFIG_BYTES:
        return {}
    try:
        configs = msgspec.json.decode(_text(header), type=dict[str, AuthConfig])
    except (msgspec.MsgspecError, RecursionError):
        return {}
    found: dict[str, Credentials] = {}
    for address, config in configs.items():
        with contextlib.suppress(InvalidParameter):
            found.setdefault(registry_domain(address), config.credentials())
    return found


def parse_auth(content: bytes) -> AuthConfig | None:
    """Return the JSON object `content`; None when it is none."""
    try:
        return msgspec.json.decode(content, type=AuthConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _text(encoded: str) -> str:
    """Return what base64 stands for; "" for what is none."""
    plain = encoded.strip().rstrip("=").replace("+", "-").replace("/", "_")
    padded = plain + "=" * (-len(plain) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
