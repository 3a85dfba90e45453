"""Credentials for registries, from the file where the Docker CLI keeps them.

`config.json` in `$DOCKER_CONFIG` or `~/.docker`: `auths` holds them in base64, `credHelpers` and
`credsStore` name programs `docker-credential-NAME` which know them.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from pathlib import Path

import msgspec

from pinnace.cli.context import CommandError

DEFAULT_SERVER = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105  what helpers call the user of an identity token
_HELPER_S = 60


class Stored(msgspec.Struct, frozen=True):
    """One entry of `auths`."""

    auth: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class CredentialFile(msgspec.Struct, frozen=True, rename="camel"):
    """What of the file matters here."""

    auths: dict[str, Stored] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


class _Helped(msgspec.Struct, frozen=True, rename="pascal"):
    username: str = ""
    secret: str = ""


def auth_headers(reference: str) -> dict[str, str]:
    """Return the header with the credentials for the registry of an image; `{}` encoded if none.

    Raises:
        CommandError: The file or a helper's answer cannot be read.
    """
    found = find_credentials(registry_of(reference))
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(found).encode()).decode()}


def find_credentials(server: str) -> dict[str, str]:
    """Return the credentials for a registry as the API takes them; empty if there are none.

    Raises:
        CommandError: See `auth_headers`.
    """
    file = read_file()
    helper = file.cred_helpers.get(server) or file.creds_store
    if helper:
        return _from_helper(helper, server)
    stored = file.auths.get(server) or file.auths.get(f"https://{server}")
    if stored is None:
        return {}
    found = {"serveraddress": server, **_decoded(stored.auth)}
    if stored.identitytoken:
        found["identitytoken"] = stored.identitytoken
        found.pop("password", None)
    if stored.registrytoken:
        found["registrytoken"] = stored.registrytoken
    return found


def registry_of(reference: str) -> str:
    """Return the key under which the registry of an image is found in the file."""
    first, slash, _ = reference.partition("/")
    is_domain = "." in first or ":" in first or first == "localhost"
    if not slash or not is_domain or first in ("docker.io", "index.docker.io"):
        return DEFAULT_SERVER
    return first


def file_path() -> Path:
    """Return where the file is, or would be."""
    directory = os.environ.get("DOCKER_CONFIG")
    return Path(directory) / "config.json" if directory else Path.home() / ".docker/config.json"


def read_file() -> CredentialFile:
    """Return what the file holds; nothing when there is none.

    Raises:
        CommandError: It cannot be read.
    """
    path = file_path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=CredentialFile)
    except FileNotFoundError:
        return CredentialFile()
    except (OSError, msgspec.MsgspecError) as exc:
        raise CommandError(f"cannot read {path}: {exc}") from exc


def _decoded(auth: str) -> dict[str, str]:
    if not auth:
        return {}
    try:
        text = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise CommandError(f"invalid credentials in {file_path()}") from exc
    username, _, password = text.partition(":")
    return {"username": username, "password": password.rstrip("\0")}


def _from_helper(name: str, server: str) -> dict[str, str]:
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            check=False,
            timeout=_HELPER_S,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CommandError(f"cannot run {program}: {exc}") from exc
    if done.returncode:
        text = (done.stdout or done.stderr).decode(errors="replace").strip()
        if "credentials not found" in text:
            return {}
        raise CommandError(f"{program}: {text}")
    try:
        helped = msgspec.json.decode(done.stdout, type=_Helped)
    except msgspec.MsgspecError as exc:
        raise CommandError(f"{program}: {exc}") from exc
    if helped.username == _TOKEN_USER:
        return {"serveraddress": server, "identitytoken": helped.secret}
    return {"serveraddress": server, "username": helped.username, "password": helped.secret}
