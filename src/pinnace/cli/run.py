"""`pinnace run` and `pinnace create`."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pinnace.cli import terminal
from pinnace.cli.attached import Wishes, run_session
from pinnace.cli.container_options import add_container_options, create_body
from pinnace.cli.context import DAEMON_FAILED, NOT_EXECUTABLE, NOT_FOUND, CommandError
from pinnace.cli.pull import pull_image
from pinnace.client.engine import decode
from pinnace.client.errors import ApiError, ClientError
from pinnace.client.records import Created, Waited

if TYPE_CHECKING:
    import argparse

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context
    from pinnace.client.engine import JsonValue

# Parts of the engine's text by which the Docker CLI chooses its exit status.
NOT_FOUND_TEXTS = ("executable file not found", "no such file or directory")
# From here on engines look for a hardware address in the endpoint's settings alone.
ENDPOINT_MAC_API = (1, 44)
NOT_EXECUTABLE_TEXTS = ("permission denied", "is a directory")


def configure(parser: Parser, command: str) -> None:
    """Add the options."""
    if command == "run":
        parser.flag("-d", "--detach", note="print the id and leave it in the background")
        parser.text("--detach-keys", note="keys which detach", default=None, meta="KEYS")
        parser.add_argument("--sig-proxy", default="true", metavar="BOOL", help="pass signals on")
        parser.add_argument("--no-sig-proxy", action="store_const", dest="sig_proxy", const="no")
    add_container_options(parser)


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    try:
        if command == "create":
            attach = True
            print(await create(context, args, attach=attach))
            return 0
        return await run(context, args)
    except ClientError as exc:
        raise CommandError(f"pinnace: {exc}", DAEMON_FAILED) from exc
    except (ValueError, OSError) as exc:
        raise CommandError(f"pinnace: {exc}", DAEMON_FAILED) from exc


async def create(context: Context, args: argparse.Namespace, *, attach: bool) -> str:
    """Create the container, pulling its image when that is wanted, and return its id."""
    body = create_body(args, os.environ, attach=attach)
    host, size = body["HostConfig"], terminal.window_size() if args.tty else None
    if size is not None and isinstance(host, dict):
        host["ConsoleSize"] = list(size)
    _check_cidfile(args.cidfile)
    if args.pull == "always":
        await pull_image(context, args.image, platform=args.platform, to_stderr=True)
    try:
        created = await _post_create(context, args, body)
    except ApiError as exc:
        if exc.status != 404 or args.pull == "never" or "image" not in exc.message.lower():
            raise
        context.print_error(f"Unable to find image '{args.image}' locally")
        await pull_image(context, args.image, platform=args.platform, to_stderr=True)
        created = await _post_create(context, args, body)
    for warning in created.warnings or ():
        context.print_error(f"WARNING: {warning}")
    _write_cidfile(args.cidfile, created.id)
    return created.id


def _check_cidfile(name: str | None) -> None:
    if name and Path(name).exists():
        raise ValueError(
            f"container ID file found, "
            f"make sure the other container isn't running or delete {name}"
        )


def _write_cidfile(name: str | None, container: str) -> None:
    if name:
        Path(name).write_text(container)


async def _post_create(
    context: Context, args: argparse.Namespace, body: dict[str, JsonValue]
) -> Created:
    query = {"name": args.name, "platform": args.platform}
    if args.mac_address and _parse_api(await context.engine.ping()) < ENDPOINT_MAC_API:
        body = {**body, "MacAddress": args.mac_address}
    return await context.engine.post(Created, "/containers/create", query=query, body=body)


def _parse_api(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


async def run(context: Context, args: argparse.Namespace) -> int:
    """Create, attach, start and wait, in the order which loses no output and no status."""
    parse_keys(args.detach_keys)
    if args.tty and args.interactive and not args.detach and not sys.stdin.isatty():
        raise ValueError("the input device is not a TTY")
    container = await create(context, args, attach=not args.detach)
    if args.detach:
        await _start(context, container)
        print(container)
        return 0
    session = Session(
        container=container,
        tty=args.tty,
        stdin=args.interactive,
        condition="removed" if args.rm else "next-exit",
        sig_proxy=str(args.sig_proxy),
        detach_keys=args.detach_keys,
    )
    return await start_attached(context, session)


@dataclass(frozen=True, slots=True)
class Session:
    """How to start a container and stay with it.

    Attributes:
        container: Its id or name.
        tty: It has a terminal.
        stdin: Send our standard input.
        condition: What to wait for: `next-exit` or `removed`.
        sig_proxy: Pass signals on: `true`, or anything else for no.
        detach_keys: As the user wrote them; None: the usual ones.
    """

    container: str
    tty: bool
    stdin: bool
    condition: str = "next-exit"
    sig_proxy: str = "true"
    detach_keys: str | None = None


async def start_attached(context: Context, session: Session) -> int:
    """Attach, start and wait, in the order which loses no output and no status."""
    path = f"/containers/{quote(session.container, safe='')}"
    query = {
        "stream": True,
        "stdin": session.stdin or None,
        "stdout": True,
        "stderr": True,
        "detachKeys": session.detach_keys,
    }
    connection = await context.engine.hijack(f"{path}/attach", query=query)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(connection.close)
        # Its head comes at once and says that waiting has begun; the exit cannot be missed then.
        waiting = await context.engine.open(
            "POST", f"{path}/wait", query={"condition": session.condition}
        )
        stack.push_async_callback(waiting.close)
        await _start(context, session.container)
        wishes = Wishes(
            tty=session.tty,
            stdin=session.stdin,
            detach_keys=parse_keys(session.detach_keys) if session.tty else b"",
            resize=f"{path}/resize" if session.tty and terminal.window_size() else None,
            signals=session.container
            if session.sig_proxy.lower() in ("true", "1", "yes")
            else None,
        )
        if await run_session(context.engine, connection, wishes):
            context.print_error("read escape sequence")
            return 0
        return _exit_status(decode(Waited, await waiting.read()))


def parse_keys(text: str | None) -> bytes:
    """Return the detach sequence; an empty text turns it off, None means the usual one."""
    if text == "":
        return b""
    return terminal.parse_detach_keys(text or terminal.DEFAULT_DETACH_KEYS)


async def _start(context: Context, container: str) -> None:
    try:
        await context.engine.call("POST", f"/containers/{quote(container)}/start")
    except ApiError as exc:
        raise CommandError(f"pinnace: {exc}", start_failure_status(exc.message)) from exc


def start_failure_status(message: str) -> int:
    """Return the status of a container that could not start: 127, 126 or 125, as a shell's."""
    if any(text in message for text in NOT_FOUND_TEXTS):
        return NOT_FOUND
    if any(text in message for text in NOT_EXECUTABLE_TEXTS):
        return NOT_EXECUTABLE
    return DAEMON_FAILED


def _exit_status(waited: Waited) -> int:
    if waited.error is not None and waited.error.message:
        raise CommandError(f"pinnace: {waited.error.message}", DAEMON_FAILED)
    return waited.status_code
