"""Credentials for registries as clients send them: `X-Registry-Auth`, or the body of old pushes.

What cannot be read counts as none, as dockerd does: clients send odd things when nobody is
logged in, and a registry that wants credentials says so.
"""

import base64
import binascii

import msgspec

from pinnace.contracts.registry import ANONYMOUS, Credentials

AUTH_HEADER = "x-registry-auth"
_MAX_BYTES = 64 << 10


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Docker's `AuthConfig`; the names are those of the wire."""

    username: str = ""
    password: str = ""
    auth: str = ""
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


def parse_auth(content: bytes) -> AuthConfig | None:
    """Return the JSON object `content`; None when it is none."""
    try:
        return msgspec.json.decode(content, type=AuthConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _text(encoded: str) -> str:
    """Return what base64 stands for; "" for what is none."""
    plain = encoded.strip().rstrip("=").replace("+", "-").replace("/", "_")
    padded = plain + "=" * (-len(plain) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
