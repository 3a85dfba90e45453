"""`pinnace search`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pinnace.cli.credentials import auth_headers
from pinnace.cli.filters import encode_filters
from pinnace.cli.output import ellipsis, table
from pinnace.client.engine import decode

if TYPE_CHECKING:
    import argparse

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context
    from pinnace.client.engine import JsonValue

_DESCRIPTION_WIDTH = 45


class _Hit(msgspec.Struct, frozen=True):
    """One repository that was found."""

    name: str = ""
    description: str = ""
    star_count: int = 0
    is_official: bool = False


def configure(parser: Parser, command: str) -> None:
    """Add the options."""
    del command
    parser.many("-f", "--filter", note="stars=N, is-official=true", meta="FILTER")
    parser.text("--limit", note="at most so many, 25", meta="N")
    parser.flag("--no-trunc", note="show whole descriptions")
    parser.add_argument("term", metavar="[REGISTRY/]TERM")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    del command
    query = {"term": args.term, "filters": encode_filters(args.filter), "limit": args.limit}
    headers = auth_headers(args.term)
    async with await context.engine.open(
        "GET", "/images/search", query=query, headers=headers
    ) as response:
        answer = await response.read()
    if context.json:
        rows: list[JsonValue] = msgspec.json.decode(answer)
        context.print_rows(rows)
        return 0
    hits = decode(list[_Hit], answer)
    body = [
        [
            hit.name,
            hit.description if args.no_trunc else ellipsis(hit.description, _DESCRIPTION_WIDTH),
            str(hit.star_count),
            "[OK]" if hit.is_official else "",
        ]
        for hit in hits
    ]
    print(table(("NAME", "DESCRIPTION", "STARS", "OFFICIAL"), body))
    return 0
