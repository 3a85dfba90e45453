"""`pinnace cp`: copy a file or directory out of a container, or into one."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

import msgspec

from pinnace.cli.context import CommandError
from pinnace.client.errors import ApiError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from pinnace.cli.arguments import Parser
    from pinnace.cli.context import Context
    from pinnace.client.engine import Query

SPOOL_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
# os.ModeDir of Go's FileMode, which X-Docker-Container-Path-Stat carries.
GO_MODE_DIR = 1 << 31


class PathStat(msgspec.Struct, rename={"link_target": "linkTarget"}):
    """What `HEAD /containers/{id}/archive` says about a path."""

    name: str = ""
    mode: int = 0
    link_target: str = ""


def configure(parser: Parser, command: str) -> None:
    """Add the options."""
    del command
    parser.flag("-a", "--archive", note="keep user and group ids")
    parser.flag("-q", "--quiet", note="accepted; nothing is printed anyway")
    parser.add_argument("source", metavar="[CONTAINER:]SOURCE", help="- reads a tar")
    parser.add_argument("target", metavar="[CONTAINER:]TARGET", help="- writes a tar")


async def main(context: Context, args: argparse.Namespace, command: str) -> int:
    """Run the command and return the exit status."""
    del command
    source, target = split_path(args.source), split_path(args.target)
    if (source[0] is None) == (target[0] is None):
        raise CommandError("must specify one container and one local path")
    if source[0] is not None:
        await _copy_out(context, source[0], source[1], target[1])
    elif target[0] is not None:
        await _copy_in(context, source[1], target[0], target[1], keep_ids=args.archive)
    return 0


def split_path(text: str) -> tuple[str | None, str]:
    """Split `container:path`; a text that starts with `/` or `.` is always local."""
    name, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return None, text
    return name, path


def _path(container: str) -> str:
    return f"/containers/{quote(container, safe='')}/archive"


async def _copy_out(context: Context, container: str, source: str, target: str) -> None:
    query = {"path": source}
    async with await context.engine.open("GET", _path(container), query=query) as response:
        if target == "-":
            async for data in response.chunks():
                sys.stdout.buffer.write(data)
            return
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
            async for data in response.chunks():
                spool.write(data)
            spool.seek(0)
            await asyncio.get_running_loop().run_in_executor(
                None, extract_renamed, spool, source, Path(target)
            )


def extract_renamed(archive: IO[bytes], source: str, target: Path) -> None:
    """Unpack an archive whose first member is the copied object, as `cp -r` would place it.

    Below an existing directory it keeps its name (`source/.` copies what is in it); else it
    gets the target's name.

    Raises:
        CommandError: The target's parent does not exist, or a member would leave the target.
    """
    into = target.is_dir()
    base = Path(os.path.realpath(target if into else target.parent))
    if not base.is_dir():
        raise CommandError(f"no such directory: {base}")

    def renamed(name: str) -> str:
        _, _, rest = name.strip("/").partition("/")
        if not into:
            return str(PurePosixPath(target.name) / rest)
        return rest if source.endswith("/.") else name

    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            if name := renamed(member.name):
                place_member(tar, member, base, name, renamed(member.linkname))


def place_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, base: Path, name: str, hard_target: str
) -> None:
    """Create one member below `base` without ever following a link out of it.

    Files belong to the caller. Devices, FIFOs and sockets are passed over.

    Args:
        tar: Open archive.
        member: The member.
        base: Existing directory, itself free of links.
        name: Where to place it below `base`.
        hard_target: For a hard link, the name of the file it is another name of.

    Raises:
        CommandError: The name, or the file that a hard link names, is outside.
    """
    path = _inside(base, name)
    if member.isdir():
        if path.is_symlink() or not path.is_dir():
            path.mkdir()
        path.chmod(member.mode & 0o777)
        return
    if not (member.isreg() or member.issym() or member.islnk()):
        return
    if path.is_symlink() or path.exists():
        path.unlink()
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        path.hardlink_to(_inside(base, hard_target))
    elif (content := tar.extractfile(member)) is not None:
        with path.open("xb") as out:
            shutil.copyfileobj(content, out)
        path.chmod(member.mode & 0o777)
        os.utime(path, (member.mtime, member.mtime))


def _inside(base: Path, name: str) -> Path:
    """Return the path of a name below `base` whose parents, links resolved, are below it too."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/"):
        raise CommandError(f"refusing a member outside of the target: {name}")
    parent = Path(os.path.realpath(base.joinpath(*parts[:-1])))
    if not parent.is_relative_to(base):
        raise CommandError(f"refusing a member outside of the target: {name}")
    return parent / parts[-1]


async def _copy_in(
    context: Context, source: str, container: str, target: str, *, keep_ids: bool
) -> None:
    query: dict[str, str | bool | None] = {"path": target, "copyUIDGID": keep_ids or None}
    if source == "-":
        body: bytes | AsyncIterator[bytes] = _blocks(sys.stdin.buffer)
        await _put(context, container, query, body)
        return
    name = local_name(source)
    if not await _is_directory(context, container, target):
        parent, _, last = target.rstrip("/").rpartition("/")
        query["path"] = parent or "/"
        name = last
    elif source.endswith("/."):
        name = "."
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        await asyncio.get_running_loop().run_in_executor(None, pack, spool, Path(source), name)
        spool.seek(0)
        await _put(context, container, query, _blocks(spool))


def local_name(source: str) -> str:
    """Return the last part of a local path, also of "." and "dir/"."""
    return Path(source).name or Path(source).resolve().name


def pack(out: IO[bytes], source: Path, name: str) -> None:
    """Write a tar of a file or directory under another name; user and group become root's."""

    def owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        return info

    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(source, arcname=name, filter=owned_by_root)


async def _is_directory(context: Context, container: str, path: str) -> bool:
    query = {"path": path}
    try:
        async with await context.engine.open("HEAD", _path(container), query=query) as response:
            encoded = response.headers.get("x-docker-container-path-stat", "")
    except ApiError as exc:
        if exc.status == 404:
            return False
        raise
    stat = msgspec.json.decode(base64.b64decode(encoded), type=PathStat)
    return bool(stat.mode & GO_MODE_DIR) or bool(stat.link_target)


async def _put(
    context: Context,
    container: str,
    query: Query,
    body: bytes | AsyncIterator[bytes],
) -> None:
    async with await context.engine.open(
        "PUT", _path(container), query=query, body=body, content_type="application/x-tar"
    ) as response:
        await response.read()


async def _blocks(source: IO[bytes]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    while data := await loop.run_in_executor(None, source.read, CHUNK_BYTES):
        yield data
