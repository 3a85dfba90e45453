"""`pinnace version`, `info`, `events`, and `system df|prune|seed|wait`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pinnace.cli.context import FAILED, CommandError
from pinnace.cli.filters import encode_filters, moment
from pinnace.cli.output import moment as show_moment
from pinnace.cli.output import printable, size, table
from pinnace.client.engine import decode
from pinnace.client.errors import ApiError, BadAnswer, ClientError
from pinnace.client.records import DiskUsage, Event, Pruned, UsageItem, Version
from pinnace.version import __version__

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context
    from pinnace.client.engine import JsonValue

POLL_S = 0.05


def configure(parser: Parser, command: str) -> None:
    """Add the options of one of the commands."""
    if command == "events":
        parser.text("--since", note="from then on: a time, or a duration back", meta="TIME")
        parser.text("--until", note="up to then", meta="TIME")
        parser.many("-f", "--filter", note="only those that match", meta="KEY=VALUE")
    elif command == "system":
        parser.add_argument("action", choices=ACTIONS, help="what to do")
        parser.flag("-q", "--quiet", note="print nothing")
        parser.flag("-f", "--force", note="prune: do not ask")
        parser.flag("-a", "--all", note="prune: also images that no container uses")
        parser.flag("--volumes", note="prune: also volumes that no container uses")
        parser.many("--filter", note="prune: only what matches", meta="KEY=VALUE")
        parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS")
        parser.add_argument("--busybox", type=Path, default=Path("/bin/busybox"), metavar="FILE")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    match command:
        case "version":
            return await _version(context)
        case "info":
            return await _info(context)
        case "events":
            return await _events(context, args)
        case _:
            return await ACTIONS[args.action](context, args)


async def _version(context: Context) -> int:
    client = {"Version": __version__, "Os": sys.platform}
    try:
        agreed = await context.engine.ping()
        answer = await context.engine.call("GET", "/version")
    except ClientError:
        print(json.dumps({"Client": client}) if context.json else _lines("Client", client))
        raise
    if context.json:
        context.print_rows([{"Client": {**client, "ApiVersion": agreed}, "Server": _json(answer)}])
        return 0
    server = decode(Version, answer)
    print(_lines("Client", {**client, "API version": agreed}))
    newest = f"{server.api_version} (minimum version {server.min_api_version})"
    shown = {
        "Version": server.version,
        "API version": newest,
        "OS/Arch": f"{server.os}/{server.arch}",
        "Kernel": server.kernel_version,
    }
    print(_lines("Server", shown))
    return 0


def _lines(title: str, values: dict[str, str]) -> str:
    width = max(map(len, values)) + 2
    rows = [f" {name + ':':<{width}}{printable(value)}" for name, value in values.items()]
    return "\n".join([f"{title}:", *rows])


def _json(answer: bytes) -> JsonValue:
    value: JsonValue = msgspec.json.decode(answer)
    return value


async def _info(context: Context) -> int:
    answer = _json(await context.engine.call("GET", "/info"))
    if context.json:
        context.print_rows([answer])
        return 0
    if not isinstance(answer, dict):
        raise BadAnswer("the engine's answer is not an object")
    for name, value in answer.items():
        if isinstance(value, str | int | float) and value != "":
            print(f"{name}: {printable(str(value))}")
    for name in ("Driver", "SecurityOptions", "Warnings"):
        value = answer.get(name)
        if isinstance(value, list):
            for item in value:
                print(f"{name}: {printable(str(item))}")
    return 0


async def _events(context: Context, args: argparse.Namespace) -> int:
    query = {
        "since": moment(args.since, time.time()),
        "until": moment(args.until, time.time()),
        "filters": encode_filters(args.filter),
    }
    async with await context.engine.open("GET", "/events", query=query) as response:
        async for line in response.lines():
            if context.json:
                print(line.decode(errors="replace").strip(), flush=True)
            else:
                print(printable(show_event(decode(Event, line))), flush=True)
    return 0


def show_event(event: Event) -> str:
    """Return one line: time, type, action, object and its attributes."""
    attributes = ", ".join(f"{k}={v}" for k, v in sorted((event.actor.attributes or {}).items()))
    suffix = f" ({attributes})" if attributes else ""
    return f"{show_moment(event.time_nano)} {event.type} {event.action} {event.actor.id}{suffix}"


async def _usage(context: Context, args: argparse.Namespace) -> int:
    del args
    answer = await context.engine.call("GET", "/system/df")
    if context.json:
        context.print_rows([_json(answer)])
        return 0
    usage = decode(DiskUsage, answer)
    rows = [
        _usage_row("Images", usage.images, usage.layers_size, lambda i: i.containers > 0),
        _usage_row("Containers", usage.containers, None, lambda i: i.state == "running"),
        _usage_row("Local Volumes", usage.volumes, None, _is_used_volume),
        _usage_row("Build Cache", usage.build_cache, None, lambda _: False),
    ]
    print(table(["TYPE", "TOTAL", "ACTIVE", "SIZE"], rows))
    return 0


def _usage_row(
    title: str,
    items: Sequence[UsageItem] | None,
    total_bytes: int | None,
    is_active: Callable[[UsageItem], bool],
) -> list[str]:
    found = items or ()
    active = sum(map(is_active, found))
    if total_bytes is None:
        total_bytes = sum(_own_bytes(item) for item in found)
    return [title, str(len(found)), str(active), size(total_bytes)]


def _own_bytes(item: UsageItem) -> int:
    if item.usage_data is not None:
        return max(0, item.usage_data.get("Size", 0))
    return (item.size_rw or 0) + item.size


def _is_used_volume(item: UsageItem) -> bool:
    return (item.usage_data or {}).get("RefCount", 0) > 0


async def _prune(context: Context, args: argparse.Namespace) -> int:
    kinds = ["containers", "networks", "images", *(["volumes"] if args.volumes else [])]
    if not args.force and not _agreed(kinds):
        return FAILED
    reclaimed = 0
    for kind in kinds:
        filters = [*args.filter]
        if kind == "images":
            filters.append(f"dangling={'false' if args.all else 'true'}")
        query = {"filters": encode_filters(filters)}
        try:
            pruned = await context.engine.post(Pruned, f"/{kind}/prune", query=query)
        except ApiError as exc:
            if exc.status != 501:
                raise
            continue
        reclaimed += pruned.space_reclaimed
        if not args.quiet:
            _print_pruned(pruned)
    print(f"Total reclaimed space: {size(reclaimed)}")
    return 0


def _agreed(kinds: list[str]) -> bool:
    print(f"WARNING! This will remove all unused {', '.join(kinds)}.")
    return input("Are you sure you want to continue? [y/N] ").strip().lower() in ("y", "yes")


def _print_pruned(pruned: Pruned) -> None:
    names = [*(pruned.containers_deleted or ()), *(pruned.networks_deleted or ())]
    names += pruned.volumes_deleted or ()
    names += [item.deleted or item.untagged for item in pruned.images_deleted or ()]
    for name in names:
        print(f"Deleted: {name}")


async def _seed(context: Context, args: argparse.Namespace) -> int:
    """Make sure that busybox:latest exists: load it, made from the host's static busybox."""
    from pinnace.client.busybox import REFERENCE, UnusableBusybox, build_busybox_archive

    try:
        await context.engine.call("GET", f"/images/{REFERENCE}/json")
    except ApiError as exc:
        if exc.status != 404:
            raise
    else:
        return 0
    from pinnace.cli.progress import show_progress

    try:
        archive = build_busybox_archive(args.busybox)
    except (UnusableBusybox, OSError) as exc:
        raise CommandError(f"cannot make {REFERENCE}: {exc}") from exc
    async with await context.engine.open(
        "POST", "/images/load", body=archive, content_type="application/x-tar"
    ) as response:
        await show_progress(response.lines(), sys.stdout, json=context.json, quiet=args.quiet)
    return 0


async def _wait(context: Context, args: argparse.Namespace) -> int:
    """Wait until the engine answers, or fail after --timeout seconds."""
    end = time.monotonic() + args.timeout
    while True:
        try:
            await context.engine.ping()
        except ClientError:
            if time.monotonic() >= end:
                raise
            await asyncio.sleep(POLL_S)
        else:
            return 0


ACTIONS = {"df": _usage, "prune": _prune, "seed": _seed, "wait": _wait}
