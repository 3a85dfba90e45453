"""`pinnace inspect`: the engine's own record of a container, image, network or volume."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from pinnace.cli.context import FAILED
from pinnace.client.errors import ApiError

if TYPE_CHECKING:
    import argparse

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context
    from pinnace.client.engine import JsonValue

PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}


def configure(parser: Parser, command: str) -> None:
    """Add the options."""
    del command
    parser.add_argument("--type", choices=PATHS, help="look for nothing else")
    parser.flag("-s", "--size", note="with the sizes of a container")
    parser.add_argument("objects", metavar="NAME", nargs="+")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    del command
    status = 0
    found: list[JsonValue] = []
    for name in args.objects:
        record = await _find(context, args, name)
        if record is None:
            context.print_error(f"Error: No such {args.type or 'object'}: {name}")
            status = FAILED
        else:
            found.append(record)
    if context.json:
        context.print_rows(found)
    else:
        print(json.dumps(found, indent=4))  # escapes what a terminal would act upon
    return status


async def _find(context: Context, args: argparse.Namespace, name: str) -> JsonValue:
    for kind in [args.type] if args.type else PATHS:
        path = PATHS[kind].format(quote(name, safe="/:@" if kind == "image" else ""))
        query = {"size": args.size or None} if kind == "container" else {}
        try:
            answer = await context.engine.call("GET", path, query=query)
        except ApiError as exc:
            # 400: the name cannot be one of this kind; 501: the engine has none of this kind.
            if exc.status not in (400, 404, 501):
                raise
        else:
            record: JsonValue = msgspec.json.decode(answer)
            return record
    return None
