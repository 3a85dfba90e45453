"""Handlers of the calls about the engine itself."""

from collections.abc import Mapping

from pinnace.api.call import Answer, Call
from pinnace.errors import InvalidParameter

_TYPES = frozenset({"container", "image", "volume", "build-cache"})
_LISTS = {
    "ImageUsage": "Images",
    "ContainerUsage": "Containers",
    "VolumeUsage": "Volumes",
    "BuildCacheUsage": "BuildCache",
}
# Builder-Version 1: the classic builder; 2 would send clients to BuildKit.
_PING_HEADERS = (
    ("Builder-Version", "1"),
    ("Swarm", "inactive"),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
)
_PONG = Answer(b"OK", headers=_PING_HEADERS, content_type="text/plain; charset=utf-8")
_SILENT_PONG = Answer(b"", headers=_PING_HEADERS, content_type="text/plain; charset=utf-8")


async def ping(call: Call) -> Answer:
    """`GET /_ping` and `HEAD /_ping`."""
    return _SILENT_PONG if call.exchange.request.method == "HEAD" else _PONG


async def info(call: Call) -> Answer:
    """`GET /info`."""
    return Answer(await call.engine.system.info())


async def version(call: Call) -> Answer:
    """`GET /version`."""
    return Answer(await call.engine.system.version())


async def data_usage(call: Call) -> Answer:
    """`GET /system/df`."""
    types = set(call.query.all("type"))
    for unknown in sorted(types - _TYPES):
        raise InvalidParameter(f"unknown object type: {unknown}")
    verbose = call.query.flag("verbose") and not call.behaviour.usage_lists
    usage = await call.engine.system.df(types or None, verbose=True)
    return Answer(usage if verbose else _with_lists(usage))


def _with_lists(usage: Mapping[str, object]) -> dict[str, object]:
    """Return the disk usage with its items as the lists of older versions.

    The newest version still sends them unless `verbose` is asked for.
    """
    answer: dict[str, object] = {}
    for kind, name in _LISTS.items():
        part = usage.get(kind)
        if isinstance(part, Mapping):
            answer[kind] = {key: value for key, value in part.items() if key != "Items"}
            answer[name] = part.get("Items") or []
            if kind == "ImageUsage":
                answer["LayersSize"] = part.get("TotalSize", 0)
    return answer
