"""Commands on images: images, load, save, rmi, tag, history."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

import msgspec

from pinnace.cli.context import FAILED, CommandError
from pinnace.cli.filters import encode_filters
from pinnace.cli.output import ago, ellipsis, short_id, size, table
from pinnace.cli.progress import show_progress
from pinnace.cli.pull import split_reference
from pinnace.client.engine import decode
from pinnace.client.errors import ApiError
from pinnace.client.records import DeletedImage, HistoryItem, ImageSummary

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context
    from pinnace.client.engine import JsonValue

CHUNK_BYTES = 1024 * 1024


def configure(parser: Parser, command: str) -> None:
    """Add the options of one of the commands."""
    match command:
        case "images":
            parser.flag("-a", "--all", note="also intermediate images")
            parser.flag("-q", "--quiet", note="print ids only")
            parser.flag("--no-trunc", note="do not shorten")
            parser.flag("--digests", note="with digests")
            parser.many("-f", "--filter", note="only those that match", meta="KEY=VALUE")
            parser.add_argument("reference", metavar="REFERENCE", nargs="?")
        case "load":
            parser.text("-i", "--input", note="file to read instead of standard input")
            parser.flag("-q", "--quiet", note="no progress")
        case "save":
            parser.text("-o", "--output", note="file to write instead of standard output")
            parser.add_argument("images", metavar="IMAGE", nargs="+")
        case "rmi":
            parser.flag("-f", "--force", note="also when containers or other tags use it")
            parser.flag("--no-prune", note="keep untagged parents")
            parser.add_argument("images", metavar="IMAGE", nargs="+")
        case "tag":
            parser.add_argument("image", metavar="IMAGE")
            parser.add_argument("reference", metavar="NAME[:TAG]")
        case _:
            parser.flag("--no-trunc", note="do not shorten")
            parser.add_argument("image", metavar="IMAGE")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    match command:
        case "images":
            return await _list(context, args)
        case "load":
            return await _load(context, args)
        case "save":
            return await _save(context, args)
        case "rmi":
            return await _remove(context, args)
        case "tag":
            repo, tag = split_reference(args.reference)
            query = {"repo": repo, "tag": tag or "latest"}
            await context.engine.call("POST", f"{_path(args.image)}/tag", query=query)
            return 0
        case _:
            return await _history(context, args)


def _path(image: str) -> str:
    # Slashes separate the parts of a name in the API's paths.
    return f"/images/{quote(image, safe='/:@')}"


async def _list(context: Context, args: argparse.Namespace) -> int:
    filters = [*args.filter, *([f"reference={args.reference}"] if args.reference else [])]
    query = {"all": args.all, "filters": encode_filters(filters), "digests": args.digests or None}
    answer = await context.engine.call("GET", "/images/json", query=query)
    if context.json:
        rows: list[JsonValue] = msgspec.json.decode(answer)
        context.print_rows(rows)
        return 0
    images = decode(list[ImageSummary], answer)
    if args.quiet:
        ids = [image.id if args.no_trunc else short_id(image.id) for image in images]
        for image_id in dict.fromkeys(ids):
            print(image_id)
        return 0
    head = ["REPOSITORY", "TAG", *(["DIGEST"] if args.digests else [])]
    body = [cells for image in images for cells in _rows(image, args)]
    print(table([*head, "IMAGE ID", "CREATED", "SIZE"], body))
    return 0


def _rows(image: ImageSummary, args: argparse.Namespace) -> list[list[str]]:
    digests = [split_reference(item)[1] for item in image.repo_digests or ()]
    tail = [
        *([digests[0] if digests else "<none>"] if args.digests else []),
        image.id if args.no_trunc else short_id(image.id),
        ago(image.created, time.time()),
        size(image.size),
    ]
    tags = [split_reference(tag) for tag in image.repo_tags or ()] or [("<none>", "<none>")]
    return [[name, tag, *tail] for name, tag in tags]


async def _load(context: Context, args: argparse.Namespace) -> int:
    if args.input is None and sys.stdin.isatty():
        raise CommandError("requested load from stdin, but stdin is empty")
    with _source(args.input) as source:
        quiet = args.quiet or not sys.stdout.isatty()
        async with await context.engine.open(
            "POST",
            "/images/load",
            query={"quiet": quiet},
            body=_blocks(source),
            content_type="application/x-tar",
        ) as response:
            await show_progress(response.lines(), sys.stdout, json=context.json)
    return 0


def _source(name: str | None) -> BinaryIO:
    return Path(name).open("rb") if name else sys.stdin.buffer


async def _blocks(source: BinaryIO) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    while data := await loop.run_in_executor(None, source.read, CHUNK_BYTES):
        yield data


async def _save(context: Context, args: argparse.Namespace) -> int:
    if args.output is None and sys.stdout.isatty():
        raise CommandError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    names = "&".join(f"names={quote(image, safe='')}" for image in args.images)
    loop = asyncio.get_running_loop()
    async with await context.engine.open("GET", f"/images/get?{names}") as response:
        # A temporary name, so that a broken transfer does not leave half a file behind.
        partial = Path(f"{args.output}.partial") if args.output else None
        with _target(partial) as out:
            async for data in response.chunks():
                await loop.run_in_executor(None, out.write, data)
        if partial is not None:
            partial.replace(args.output)
    return 0


def _target(path: Path | None) -> BinaryIO:
    return sys.stdout.buffer if path is None else path.open("wb")


async def _remove(context: Context, args: argparse.Namespace) -> int:
    status = 0
    query = {"force": args.force, "noprune": args.no_prune}
    for image in args.images:
        try:
            answer = await context.engine.call("DELETE", _path(image), query=query)
        except ApiError as exc:
            context.print_error(str(exc))
            status = FAILED
            continue
        for item in decode(list[DeletedImage], answer):
            print(f"Untagged: {item.untagged}" if item.untagged else f"Deleted: {item.deleted}")
    return status


async def _history(context: Context, args: argparse.Namespace) -> int:
    answer = await context.engine.call("GET", f"{_path(args.image)}/history")
    if context.json:
        rows: list[JsonValue] = msgspec.json.decode(answer)
        context.print_rows(rows)
        return 0
    body = [
        [
            item.id if args.no_trunc else short_id(item.id),
            ago(item.created, time.time()),
            item.created_by if args.no_trunc else ellipsis(item.created_by, 45),
            size(item.size),
            item.comment,
        ]
        for item in decode(list[HistoryItem], answer)
    ]
    print(table(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], body))
    return 0
