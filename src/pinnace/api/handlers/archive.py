"""Handlers of files in containers: `docker cp` and `docker export`."""

import base64

import msgspec

from pinnace.api.call import Answer, Call
from pinnace.api.handlers.sending import send_chunks
from pinnace.engine.containers.archive import PathStat
from pinnace.errors import InvalidParameter
from pinnace.wire.containers import CopyRequest

TAR = "application/x-tar"
_STAT = "X-Docker-Container-Path-Stat"


async def stat(call: Call) -> Answer:
    """`HEAD /containers/{id}/archive`."""
    found = await call.engine.archive.stat(call.name, _path(call))
    return Answer(headers=[_stat_field(found)])


async def get(call: Call) -> Answer | None:
    """`GET /containers/{id}/archive`."""
    found, chunks = await call.engine.archive.get(call.name, _path(call))
    await send_chunks(call, chunks, TAR, headers=[_stat_field(found)])
    return None


async def put(call: Call) -> Answer:
    """`PUT /containers/{id}/archive`."""
    query = call.query
    await call.engine.archive.put(
        call.name,
        _path(call),
        aiter(call.exchange.body),
        no_overwrite_dir_non_dir=query.flag("noOverwriteDirNonDir"),
        copy_uidgid=query.flag("copyUIDGID"),
    )
    return Answer(b"", content_type="text/plain; charset=utf-8")


async def copy(call: Call) -> Answer | None:
    """`POST /containers/{id}/copy`, API 1.4 to 1.23."""
    request = await call.decode(CopyRequest)
    if not request.resource:
        raise InvalidParameter("Path cannot be empty")
    _, chunks = await call.engine.archive.get(call.name, request.resource)
    await send_chunks(call, chunks, TAR)
    return None


async def export(call: Call) -> Answer | None:
    """`GET /containers/{id}/export`."""
    await send_chunks(
        call, await call.engine.archive.export(call.name), "application/octet-stream"
    )
    return None


def _path(call: Call) -> str:
    path = call.query.text("path")
    if not path:
        raise InvalidParameter("bad parameter: 'path' cannot be empty")
    return path


def _stat_field(found: PathStat) -> tuple[str, str]:
    return _STAT, base64.b64encode(msgspec.json.encode(found)).decode("ascii")
