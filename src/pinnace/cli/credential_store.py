"""Keeps and forgets credentials, in the file and with the helpers of the Docker CLI."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

from pinnace.cli.context import CommandError
from pinnace.cli.credentials import file_path, read_file

JsonObject = dict[str, object]

_TOKEN_USER = "<token>"  # noqa: S105  what helpers call the user of an identity token
_HELPER_S = 60


def keep(server: str, username: str, password: str, identity_token: str = "") -> None:
    """Keep credentials for a registry; an identity token in place of the password.

    Raises:
        CommandError: The file or a helper refuses.
    """
    helper = _helper_of(server)
    if helper:
        user, secret = (_TOKEN_USER, identity_token) if identity_token else (username, password)
        entry = {"ServerURL": server, "Username": user, "Secret": secret}
        _run_helper(helper, "store", json.dumps(entry))
        return
    secret = "" if identity_token else password
    stored: JsonObject = {"auth": base64.b64encode(f"{username}:{secret}".encode()).decode()}
    if identity_token:
        stored["identitytoken"] = identity_token
    document = _document()
    _auths(document)[server] = stored
    _write(document)


def forget(server: str) -> bool:
    """Forget the credentials for a registry; return whether there were any.

    Raises:
        CommandError: The file or a helper refuses.
    """
    helper = _helper_of(server)
    if helper:
        _run_helper(helper, "erase", server)
        return True
    document = _document()
    auths = _auths(document)
    found = [name for name in (server, f"https://{server}") if name in auths]
    for name in found:
        del auths[name]
    if found:
        _write(document)
    return bool(found)


def _helper_of(server: str) -> str:
    file = read_file()
    return file.cred_helpers.get(server) or file.creds_store


def _run_helper(name: str, action: str, given: str) -> None:
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, action], input=given.encode(), capture_output=True, timeout=_HELPER_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CommandError(f"cannot run {program}: {exc}") from exc
    if done.returncode:
        text = (done.stdout or done.stderr).decode(errors="replace").strip()
        raise CommandError(f"{program}: {text}")


def _document() -> JsonObject:
    """Return the whole file: what others keep in it stays."""
    path = file_path()
    try:
        document: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise CommandError(f"cannot read {path}: {exc}") from exc
    if not isinstance(document, dict):
        raise CommandError(f"cannot read {path}: not an object")
    return document


def _auths(document: JsonObject) -> JsonObject:
    auths = document.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise CommandError(f"cannot read {file_path()}: auths is no object")
    return auths


def _write(document: JsonObject) -> None:
    """Replace the file as a whole, readable by its owner alone; a link to it stays one."""
    path = file_path().resolve()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".config.json-")
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(document, file, indent="\t")
                file.flush()
                os.fsync(file.fileno())
            Path(draft).rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(draft).unlink()
            raise
    except OSError as exc:
        raise CommandError(f"cannot write {path}: {exc.strerror}") from exc
