"""The `pinnace` program: global options, and the module of each command loaded when it is used."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.cli.arguments import Parser
from pinnace.version import __version__

if TYPE_CHECKING:
    import argparse

    from pinnace.cli.context import Context
    from pinnace.client.address import Address

# command: module below pinnace.cli, what it does
COMMANDS = {
    "run": ("run", "create a container, start it, and attach to it"),
    "create": ("run", "create a container"),
    "exec": ("exec", "run a command in a running container"),
    "attach": ("exec", "attach to a running container"),
    "ps": ("containers", "list containers"),
    "logs": ("containers", "show what a container wrote"),
    "start": ("containers", "start containers"),
    "stop": ("containers", "stop containers"),
    "restart": ("containers", "restart containers"),
    "kill": ("containers", "send a signal to containers"),
    "pause": ("containers", "freeze containers"),
    "unpause": ("containers", "go on with frozen containers"),
    "rename": ("containers", "rename a container"),
    "rm": ("containers", "remove containers"),
    "wait": ("containers", "wait until containers stop, and print their exit statuses"),
    "port": ("containers", "list published ports of containers"),
    "top": ("containers", "list processes of a container"),
    "cp": ("copy", "copy files from or to a container"),
    "images": ("images", "list images"),
    "pull": ("pull", "pull an image from a registry"),
    "push": ("push", "push an image to a registry"),
    "login": ("login", "log in to a registry"),
    "logout": ("login", "forget the login at a registry"),
    "search": ("search", "search a registry for images"),
    "load": ("images", "load images from an archive"),
    "save": ("images", "save images to an archive"),
    "tag": ("images", "give an image another reference"),
    "rmi": ("images", "remove images"),
    "history": ("images", "show how an image came about"),
    "inspect": ("inspect", "show everything about an object"),
    "events": ("system", "show events as they happen"),
    "info": ("system", "show facts about the engine"),
    "version": ("system", "show versions"),
    "system": ("system", "disk usage, pruning, the first image, waiting for the daemon"),
}
DAEMON = "daemon"


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit status.

    Args:
        argv: Arguments without the program's name; None takes those of the process.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == [DAEMON]:
        from pinnace.daemon.main import main as run_daemon

        return run_daemon(arguments[1:])
    parser = _global_parser()
    options = parser.parse_args(arguments)
    if options.version:
        print(f"pinnace version {__version__}")
        return 0
    if not options.command:
        print(overview(parser))
        return 0
    if options.command == DAEMON:
        parser.error("options come after `daemon`")
    if options.command not in COMMANDS:
        parser.error(f"'{options.command}' is not a pinnace command")
    return _run(parser, options)


def _global_parser() -> Parser:
    parser = Parser("", "A container engine for one Linux host.")
    parser.text("-H", "--host", note="engine: unix:///path or tcp://host:port", meta="ADDRESS")
    parser.flag("--json", note="print JSON lines instead of tables")
    parser.flag("--tls", note="speak TLS")
    parser.flag("--tlsverify", note="speak TLS and check the engine's certificate")
    parser.text("--tlscacert", note="certificates to trust", meta="FILE")
    parser.text("--tlscert", note="own certificate", meta="FILE")
    parser.text("--tlskey", note="its private key", meta="FILE")
    parser.flag("-v", "--version", note="print the program's version")
    parser.add_argument("command", metavar="COMMAND", nargs="?", help="see below")
    parser.add_argument("arguments", metavar="…", nargs="...")
    return parser


def overview(parser: Parser) -> str:
    """Return the help of the program with all commands."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, (_, summary) in COMMANDS.items()]
    lines.append(f"  {DAEMON:<{width}}run the engine itself")
    return f"{parser.format_help()}\ncommands:\n" + "\n".join(lines)


def _run(parser: Parser, options: argparse.Namespace) -> int:
    module_name, summary = COMMANDS[options.command]
    module = importlib.import_module(f"pinnace.cli.{module_name}")
    command_parser = Parser(options.command, summary)
    command_parser.flag("--json", note="print JSON lines instead of tables")
    module.configure(command_parser, options.command)
    args = command_parser.parse_args(options.arguments)
    if args.json:
        options.json = True

    import asyncio

    from pinnace.cli.context import FAILED, CommandError, Context
    from pinnace.client.engine import Engine
    from pinnace.client.errors import ClientError

    context: Context | None = None
    try:
        context = Context(Engine(_address(options)), options.json)
        status: int = asyncio.run(module.main(context, args, options.command))
    except CommandError as exc:
        return _report(str(exc), exc.status)
    except (ClientError, ValueError, OSError) as exc:
        if isinstance(exc, BrokenPipeError):
            return _silence_output()
        return _report(str(exc), FAILED)
    except KeyboardInterrupt:
        return 130
    return _flush(status)


def _flush(status: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _silence_output()
    return status


def _silence_output() -> int:
    """Keep the interpreter from complaining about a reader that left, such as `head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141  # as a shell reports SIGPIPE


def _report(text: str, status: int) -> int:
    from pinnace.cli.output import printable

    print(printable(text), file=sys.stderr)
    return status


def _address(options: argparse.Namespace) -> Address:
    from pinnace.client.address import (
        TlsFiles,
        address_from_environment,
        parse_address,
    )

    tls = None
    if options.tls or options.tlsverify:
        files = (options.tlscacert, options.tlscert, options.tlskey)
        ca, cert, key = (Path(name) if name else None for name in files)
        tls = TlsFiles(verify=options.tlsverify, ca=ca, cert=cert, key=key)
    if options.host is None and tls is None:
        return address_from_environment(os.environ)
    if options.host is None:
        return parse_address(os.environ.get("PINNACE_HOST") or "tcp://localhost:2376", tls)
    return parse_address(options.host, tls)


if __name__ == "__main__":
    sys.exit(main())
