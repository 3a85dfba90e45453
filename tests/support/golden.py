"""Recorded request/answer pairs, one folder per version: `tests/api/golden/v1.41/Operation.json`.

A pair is recorded only where the answer differs from that of the next newer version; the newest
version has them all. `python -m tests.support.golden` records them again; look at the difference
before you commit it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path

from tests.support.api import CONTAINER, IMAGE, Client, FakeEngine, served

from pinnace.api.versions import SUMMARIES, Version
from pinnace.engine.events import EventLog
from pinnace.model.event import Actor, Event

GOLDEN = Path(__file__).parents[1] / "api" / "golden"
NEWEST_FIRST = sorted(SUMMARIES, reverse=True)
CREATE = {
    "Image": "acme/web",
    "Cmd": ["env"],
    "PortSpecs": ["8080:80"],
    "Memory": 1 << 20,
    "MacAddress": "02:00:00:00:00:07",
}
PAIRS: dict[str, tuple[str, str, dict | None]] = {
    "ContainerAttach": ("POST", "/containers/nosuch/attach?stream=1", None),
    "ContainerChanges": ("GET", "/containers/web/changes", None),
    "ContainerCreate": ("POST", "/containers/create", CREATE),
    "ContainerDelete": ("DELETE", "/containers/web", None),
    "ContainerInspect": ("GET", "/containers/web/json", None),
    "ContainerList": ("GET", "/containers/json?all=1", None),
    "ContainerLogs": ("GET", "/containers/web/logs?stdout=1&stderr=1", None),
    "ContainerStart": ("POST", "/containers/web/start", {"Binds": []}),
    "ContainerStats": ("GET", "/containers/web/stats?stream=0", None),
    "ContainerTop": ("GET", "/containers/web/top", None),
    "ContainerWait": ("POST", "/containers/web/wait", None),
    "ImageDelete": ("DELETE", "/images/acme/web", None),
    "ImageHistory": ("GET", "/images/acme/web/history", None),
    "ImageInspect": ("GET", "/images/acme/web/json", None),
    "ImageList": ("GET", "/images/json", None),
    "NetworkInspect": ("GET", "/networks/bridge", None),
    "NetworkList": ("GET", "/networks", None),
    "SystemDataUsage": ("GET", "/system/df", None),
    "SystemEvents": ("GET", "/events?since=1&until=10", None),
    "SystemInfo": ("GET", "/info", None),
    "SystemPing": ("GET", "/_ping", None),
    "SystemVersion": ("GET", "/version", None),
    "UnknownPath": ("GET", "/nope", None),
    "VolumeList": ("GET", "/volumes", None),
}


def pair_path(version: Version, operation: str) -> Path:
    return GOLDEN / f"v{version.text}" / f"{operation}.json"


def expected(version: Version, operation: str) -> dict:
    """Return the answer recorded for the version, or for the nearest newer one."""
    for newer in reversed(NEWEST_FIRST):
        if newer >= version and pair_path(newer, operation).exists():
            return json.loads(pair_path(newer, operation).read_text())
    raise AssertionError(f"nothing recorded for {operation}")


async def answer(client: Client, version: Version, operation: str) -> dict:
    """Ask for an operation in a version and return what a client sees of the answer."""
    method, target, body = PAIRS[operation]
    reply = await client.ask(method, f"/v{version.text}{target}", body)
    text = reply.body.decode("latin-1")
    try:
        content = json.loads(text) if text else None
    except ValueError:
        content = text
    return {
        "status": reply.status,
        "content-type": reply.headers.get("content-type"),
        "fields": sorted(set(reply.headers) - {"content-length", "connection", "content-type"}),
        "body": content,
    }


def an_engine() -> FakeEngine:
    """Return an engine whose events lie in the past."""
    engine = FakeEngine()
    engine.events = EventLog(
        [
            an_event("container", "start", CONTAINER, {"image": "busybox", "name": "web"}),
            an_event("image", "create", IMAGE, {}),
            an_event("volume", "create", "data", {}),
        ]
    )
    return engine


def an_event(type_: str, action: str, id_: str, attributes: dict[str, str]) -> Event:
    actor = Actor(id=id_, attributes=attributes)
    return Event(type=type_, action=action, actor=actor, time=5, time_nano=5_000_000_000)


async def record() -> None:
    shutil.rmtree(GOLDEN, ignore_errors=True)
    with tempfile.TemporaryDirectory() as directory:
        async with served(an_engine(), Path(directory)) as client:
            for operation in PAIRS:
                before = None
                for version in NEWEST_FIRST:
                    found = await answer(client, version, operation)
                    if found != before:
                        path = pair_path(version, operation)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_text(json.dumps(found, indent=1) + "\n")
                    before = found


if __name__ == "__main__":
    asyncio.run(record())
    print(f"recorded below {GOLDEN}")
