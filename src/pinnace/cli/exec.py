"""`pinnace exec` and `pinnace attach`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pinnace.cli import terminal, values
from pinnace.cli.attached import Wishes, run_session
from pinnace.cli.context import CommandError
from pinnace.cli.run import parse_keys
from pinnace.client.engine import decode
from pinnace.client.records import Container, Created, Exec, Waited

if TYPE_CHECKING:
    import argparse

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context
    from pinnace.client.engine import JsonValue


def configure(parser: Parser, command: str) -> None:
    """Add the options."""
    parser.text("--detach-keys", note="keys which detach", meta="KEYS")
    if command == "attach":
        parser.flag("--no-stdin", note="do not send standard input")
        parser.add_argument("--sig-proxy", default="true", metavar="BOOL", help="pass signals on")
        parser.add_argument("container", metavar="CONTAINER")
        return
    parser.flag("-d", "--detach", note="do not wait for it")
    parser.flag("-i", "--interactive", note="send standard input")
    parser.flag("-t", "--tty", note="give it a terminal")
    parser.many("-e", "--env", note="set an environment variable", meta="KEY[=VALUE]")
    parser.many("--env-file", note="read environment variables from a file", meta="FILE")
    parser.flag("--privileged", note="give it everything")
    parser.text("-u", "--user", note="user and group", meta="USER[:GROUP]")
    parser.text("-w", "--workdir", note="working directory", meta="DIR")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("program", metavar="COMMAND")
    parser.add_argument("arguments", metavar="ARGS", nargs="...")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    if command == "attach":
        return await _attach(context, args)
    keys = parse_keys(args.detach_keys) if args.tty else b""
    if args.tty and args.interactive and not args.detach and not sys.stdin.isatty():
        raise CommandError("the input device is not a TTY")
    path = f"/containers/{quote(args.container, safe='')}/exec"
    created = await context.engine.post(Created, path, body=exec_body(args))
    start: dict[str, JsonValue] = {"Detach": args.detach, "Tty": args.tty}
    if args.detach:
        await context.engine.call("POST", f"/exec/{created.id}/start", body=start)
        return 0
    connection = await context.engine.hijack(f"/exec/{created.id}/start", body=start)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(connection.close)
        size = args.tty and terminal.window_size()
        wishes = Wishes(
            tty=args.tty,
            stdin=args.interactive,
            detach_keys=keys,
            resize=f"/exec/{created.id}/resize" if size else None,
        )
        if await run_session(context.engine, connection, wishes):
            context.print_error("read escape sequence")
            return 0
    return (await context.engine.get(Exec, f"/exec/{created.id}/json")).exit_code or 0


def exec_body(args: argparse.Namespace) -> dict[str, JsonValue]:
    """Return the body of `POST /containers/{id}/exec`.

    Raises:
        ValueError: A variable is malformed.
        OSError: An environment file cannot be read.
    """
    files = [Path(name).read_text() for name in args.env_file]
    body: dict[str, JsonValue] = {
        "AttachStdin": args.interactive and not args.detach,
        "AttachStdout": not args.detach,
        "AttachStderr": not args.detach,
        "Tty": args.tty,
        "Env": list(values.parse_environment(args.env, files, os.environ)),
        "Cmd": [args.program, *args.arguments],
        "Privileged": args.privileged,
        "User": args.user or "",
        "WorkingDir": args.workdir or "",
    }
    if args.detach_keys is not None:
        body["DetachKeys"] = args.detach_keys
    size = terminal.window_size() if args.tty else None
    if size is not None:
        body["ConsoleSize"] = list(size)
    return body


async def _attach(context: Context, args: argparse.Namespace) -> int:
    path = f"/containers/{quote(args.container, safe='')}"
    container = await context.engine.get(Container, f"{path}/json")
    if not container.state.running:
        raise CommandError("cannot attach to a stopped container, start it first")
    tty, stdin = container.config.tty, container.config.open_stdin and not args.no_stdin
    query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True}
    async with contextlib.AsyncExitStack() as stack:
        wait = {"condition": "not-running"}
        waiting = await context.engine.open("POST", f"{path}/wait", query=wait)
        stack.push_async_callback(waiting.close)
        connection = await context.engine.hijack(
            f"{path}/attach", query={**query, "detachKeys": args.detach_keys}
        )
        stack.push_async_callback(connection.close)
        proxy = args.sig_proxy.lower() in ("true", "1", "yes")
        wishes = Wishes(
            tty=tty,
            stdin=stdin,
            detach_keys=parse_keys(args.detach_keys) if tty else b"",
            resize=f"{path}/resize" if tty and terminal.window_size() else None,
            signals=container.id if proxy and not tty else None,
        )
        if await run_session(context.engine, connection, wishes):
            context.print_error("read escape sequence")
            return 0
        return decode(Waited, await waiting.read()).status_code
