"""`pinnace push`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from pinnace.cli.credentials import auth_headers
from pinnace.cli.progress import show_progress
from pinnace.cli.pull import split_reference

if TYPE_CHECKING:
    import argparse

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context


def configure(parser: Parser, command: str) -> None:
    """Add the options."""
    del command
    parser.flag("-q", "--quiet", note="print nothing but the reference")
    parser.flag("-a", "--all-tags", note="push every tag of the repository")
    parser.text("--platform", note="push only this platform of an index", meta="OS/ARCH")
    parser.add_argument("reference", metavar="NAME[:TAG]")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    del command
    name, tag = split_reference(args.reference)
    if args.all_tags:
        tag = ""
    elif not tag:
        tag = "latest"
        if not args.quiet and not context.json:
            print("Using default tag: latest")
    query = {"tag": tag, "platform": _platform(args.platform)}
    async with await context.engine.open(
        "POST",
        f"/images/{quote(name, safe='/:@')}/push",
        query=query,
        headers=auth_headers(name),
    ) as response:
        await show_progress(response.lines(), sys.stdout, json=context.json, quiet=args.quiet)
    if args.quiet and not context.json:
        print(f"{name}:{tag}" if tag else name)
    return 0


def _platform(text: str | None) -> str | None:
    """Return a platform as the API takes it: JSON."""
    if not text:
        return None
    parts = text.split("/")
    names = ("os", "architecture", "variant")
    return json.dumps(dict(zip(names, parts, strict=False)))
