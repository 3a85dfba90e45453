"""`pinnace login` and `pinnace logout`."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

import msgspec

from pinnace.cli.context import CommandError
from pinnace.cli.credential_store import forget, keep
from pinnace.cli.credentials import DEFAULT_SERVER

if TYPE_CHECKING:
    import argparse

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context

_DEFAULT_NAMES = ("", "docker.io", "index.docker.io", "registry-1.docker.io")


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    """What the engine says to a login."""

    status: str = ""
    identity_token: str = ""


def configure(parser: Parser, command: str) -> None:
    """Add the options."""
    if command == "login":
        parser.text("-u", "--username", note="asked for when not given", meta="NAME")
        parser.flag("--password-stdin", note="read the password from standard input")
    parser.add_argument("server", metavar="SERVER", nargs="?", default="")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    server = server_key(args.server)
    if command == "logout":
        found = forget(server)
        shown = args.server or server
        print(f"Removing login credentials for {shown}" if found else f"Not logged in to {shown}")
        return 0
    username = args.username or _ask_name(from_stdin=args.password_stdin)
    password = _read_password() if args.password_stdin else _ask_password()
    body = {"username": username, "password": password, "serveraddress": server}
    answer = await context.engine.post(_Answer, "/auth", body=body)
    keep(server, username, password, answer.identity_token)
    print(answer.status.rstrip("\n"))
    return 0


def server_key(server: str) -> str:
    """Return the name under which a registry's credentials are kept."""
    host = server.partition("://")[2] or server
    host = host.partition("/")[0]
    return DEFAULT_SERVER if host in _DEFAULT_NAMES else host


def _ask_name(*, from_stdin: bool) -> str:
    if from_stdin or not sys.stdin.isatty():
        raise CommandError("give the name with --username")
    name = input("Username: ").strip()
    if not name:
        raise CommandError("a username is needed")
    return name


def _read_password() -> str:
    password = sys.stdin.read().rstrip("\r\n")
    if not password:
        raise CommandError("standard input has no password")
    return password


def _ask_password() -> str:
    if not sys.stdin.isatty():
        raise CommandError("give the password with --password-stdin")
    return getpass.getpass()
