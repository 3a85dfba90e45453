"""`pinnace pull`, and the pulling that `run` does by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pinnace.cli.credentials import auth_headers
from pinnace.cli.progress import show_progress

if TYPE_CHECKING:
    import argparse

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context


def configure(parser: Parser, command: str) -> None:
    """Add the options."""
    del command
    parser.flag("-q", "--quiet", note="print nothing but the reference")
    parser.flag("-a", "--all-tags", note="pull every tag of the repository")
    parser.text("--platform", note="platform", meta="OS/ARCH")
    parser.add_argument("reference", metavar="NAME[:TAG|@DIGEST]")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    del command
    name, tag = split_reference(args.reference)
    if not tag and not args.all_tags and not context.json:
        tag = "latest"
        if not args.quiet:
            print("Using default tag: latest")
    reference = args.reference if args.all_tags else join_reference(name, tag or "latest")
    await pull_image(
        context, reference, platform=args.platform, quiet=args.quiet, all_tags=args.all_tags
    )
    if not context.json:
        print(reference)
    return 0


async def pull_image(
    context: Context,
    reference: str,
    *,
    platform: str | None = None,
    quiet: bool = False,
    all_tags: bool = False,
    to_stderr: bool = False,
) -> None:
    """Pull an image and show the progress.

    Raises:
        CommandError: The pull failed on the way.
    """
    name, tag = split_reference(reference)
    query = {
        "fromImage": name,
        "tag": None if all_tags else tag or "latest",
        "platform": platform,
    }
    out = sys.stderr if to_stderr else sys.stdout
    async with await context.engine.open(
        "POST", "/images/create", query=query, headers=auth_headers(name)
    ) as response:
        json = context.json and not to_stderr
        await show_progress(response.lines(), out, json=json, quiet=quiet)


def split_reference(reference: str) -> tuple[str, str]:
    """Split into (name, tag or digest); the second is empty when none is given."""
    name, at, digest = reference.partition("@")
    if at:
        return name, digest
    head, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, ""
    return head, tag


def join_reference(name: str, tag: str) -> str:
    """Join what `split_reference` split."""
    return f"{name}{'@' if ':' in tag else ':'}{tag}"
