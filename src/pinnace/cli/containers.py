"""Commands on existing containers: ps, logs, stop, start, restart, kill, rm, wait, …."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from pinnace.cli.attached import show_output
from pinnace.cli.context import FAILED, CommandError
from pinnace.cli.filters import encode_filters, moment
from pinnace.cli.output import ago, ellipsis, printable, short_id, size, table
from pinnace.client.engine import decode
from pinnace.client.errors import ApiError
from pinnace.client.records import Container, ContainerSummary, Port, Processes, Waited

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context
    from pinnace.client.engine import JsonValue, Query

# Commands that are one POST for each container.
SIMPLE = ("start", "stop", "restart", "kill", "pause", "unpause")


def configure(parser: Parser, command: str) -> None:
    """Add the options of one of the commands."""
    match command:
        case "ps":
            _configure_ps(parser)
            return
        case "logs":
            _configure_logs(parser)
            return
        case "rename":
            parser.add_argument("container", metavar="CONTAINER")
            parser.add_argument("name", metavar="NAME")
            return
        case "top":
            parser.add_argument("container", metavar="CONTAINER")
            parser.add_argument("arguments", metavar="PS-OPTIONS", nargs="...")
            return
        case "start":
            parser.flag("-a", "--attach", note="show its output and pass signals on")
            parser.flag("-i", "--interactive", note="send standard input, too")
            parser.text("--detach-keys", note="keys which detach", meta="KEYS")
        case "stop" | "restart":
            parser.add_argument("-t", "--time", "--timeout", type=int, metavar="SECONDS")
            parser.text("-s", "--signal", note="signal to send first", meta="SIGNAL")
        case "kill":
            parser.text("-s", "--signal", note="signal to send", meta="SIGNAL", default="KILL")
        case "rm":
            parser.flag("-f", "--force", note="kill it first when it runs")
            parser.flag("-v", "--volumes", note="remove its anonymous volumes")
            parser.flag("-l", "--link", note="remove the link, not the container")
        case _:
            pass
    parser.add_argument("containers", metavar="CONTAINER", nargs="+")


def _configure_ps(parser: Parser) -> None:
    parser.flag("-a", "--all", note="also those that do not run")
    parser.flag("-q", "--quiet", note="print ids only")
    parser.flag("-s", "--size", note="with sizes")
    parser.flag("-l", "--latest", note="only the newest, running or not")
    parser.flag("--no-trunc", note="do not shorten")
    parser.add_argument("-n", "--last", type=int, metavar="COUNT", help="only the newest COUNT")
    parser.many("-f", "--filter", note="only those that match", meta="KEY=VALUE")


def _configure_logs(parser: Parser) -> None:
    parser.flag("-f", "--follow", note="go on as output arrives")
    parser.flag("-t", "--timestamps", note="with times")
    parser.flag("--details", note="with the log driver's attributes")
    parser.text("-n", "--tail", note="only the last lines", meta="COUNT", default="all")
    parser.text("--since", note="from then on: a time, or a duration back", meta="TIME")
    parser.text("--until", note="up to then", meta="TIME")
    parser.add_argument("container", metavar="CONTAINER")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    match command:
        case "ps":
            return await _list(context, args)
        case "logs":
            return await _logs(context, args)
        case "rename":
            query = {"name": args.name}
            await context.engine.call("POST", f"{_path(args.container)}/rename", query=query)
            return 0
        case "top":
            return await _top(context, args)
        case "start" if args.attach or args.interactive:
            return await _start_attached(context, args)
        case _:
            return await _each(context, args, command)


def _path(container: str) -> str:
    return f"/containers/{quote(container, safe='')}"


async def _start_attached(context: Context, args: argparse.Namespace) -> int:
    # Only this form needs the parts which `run` is made of.
    from pinnace.cli.run import Session, start_attached

    if len(args.containers) > 1:
        raise CommandError("you cannot start and attach multiple containers at once")
    found = await context.engine.get(Container, f"{_path(args.containers[0])}/json")
    session = Session(
        container=found.id,
        tty=found.config.tty,
        stdin=args.interactive and found.config.open_stdin,
        detach_keys=args.detach_keys,
    )
    return await start_attached(context, session)


async def _each(context: Context, args: argparse.Namespace, command: str) -> int:
    """Do one thing to each container; a failure of one does not spare the others."""
    status = 0
    for container in args.containers:
        try:
            if text := await _do(context, args, command, container):
                print(text)
        except ApiError as exc:
            context.print_error(str(exc))
            status = FAILED
    return status


async def _do(context: Context, args: argparse.Namespace, command: str, container: str) -> str:
    path = _path(container)
    if command == "rm":
        query: Query = {"force": args.force, "v": args.volumes, "link": args.link or None}
        await context.engine.call("DELETE", path, query=query)
    elif command == "wait":
        answer = await context.engine.call("POST", f"{path}/wait")
        return str(decode(Waited, answer).status_code)
    elif command == "port":
        return await _ports_of(context, path)
    else:
        given = vars(args)
        query = {"t": given.get("time"), "signal": given.get("signal")}
        await context.engine.call("POST", f"{path}/{command}", query=query)
    return container


async def _ports_of(context: Context, path: str) -> str:
    found = await context.engine.get(Container, f"{path}/json")
    ports = found.network_settings.ports or {}
    return "\n".join(
        f"{name} -> {one.get('HostIp', '')}:{one.get('HostPort', '')}"
        for name, bindings in ports.items()
        for one in bindings or ()
    )


async def _list(context: Context, args: argparse.Namespace) -> int:
    limit = 1 if args.latest else args.last
    query: Query = {
        "all": args.all or limit is not None,
        "limit": limit,
        "size": args.size or None,
        "filters": encode_filters(args.filter),
    }
    answer = await context.engine.call("GET", "/containers/json", query=query)
    if context.json:
        context.print_rows(decode(list[dict[str, object]], answer))  # type: ignore[arg-type]  # JSON
        return 0
    rows = decode(list[ContainerSummary], answer)
    if args.quiet:
        for row in rows:
            print(row.id if args.no_trunc else short_id(row.id))
        return 0
    head = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    body = [_row(row, args) for row in rows]
    print(table(head + (["SIZE"] if args.size else []), body))
    return 0


def _row(row: ContainerSummary, args: argparse.Namespace) -> list[str]:
    command = row.command if args.no_trunc else ellipsis(row.command, 20)
    names = [name.lstrip("/") for name in row.names or ()]
    cells = [
        row.id if args.no_trunc else short_id(row.id),
        row.image,
        f'"{command}"',
        ago(row.created, time.time()),
        row.status,
        show_ports(row.ports or ()),
        ",".join(names),
    ]
    if args.size:
        cells.append(f"{size(row.size_rw or 0)} (virtual {size(row.size_root_fs or 0)})")
    return cells


def show_ports(ports: Iterable[Port]) -> str:
    """Return "0.0.0.0:8080->80/tcp, 443/tcp"."""
    texts = []
    for port in sorted(ports, key=lambda p: (p.private_port, p.type, p.ip)):
        inner = f"{port.private_port}/{port.type}"
        host = f"[{port.ip}]" if ":" in port.ip else port.ip
        texts.append(f"{host}:{port.public_port}->{inner}" if port.public_port else inner)
    return ", ".join(dict.fromkeys(texts))


async def _logs(context: Context, args: argparse.Namespace) -> int:
    path = _path(args.container)
    container = await context.engine.get(Container, f"{path}/json")
    query: Query = {
        "stdout": True,
        "stderr": True,
        "follow": args.follow,
        "timestamps": args.timestamps,
        "details": args.details or None,
        "tail": args.tail,
        "since": moment(args.since, time.time()),
        "until": moment(args.until, time.time()),
    }
    async with await context.engine.open("GET", f"{path}/logs", query=query) as response:
        await show_output(response.chunks(), tty=container.config.tty)
    return 0


async def _top(context: Context, args: argparse.Namespace) -> int:
    query = {"ps_args": " ".join(args.arguments) or None}
    answer = await context.engine.call("GET", f"{_path(args.container)}/top", query=query)
    if context.json:
        row: JsonValue = msgspec.json.decode(answer)
        context.print_rows([row])
        return 0
    found = decode(Processes, answer)
    print(table([printable(title) for title in found.titles or ()], found.processes or []))
    return 0
