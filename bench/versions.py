"""What the versions of the API cost a client of the newest one: list and inspect over a socket.

Counted is the server's processor time, which other work on the machine disturbs little.

Both sides run the same HTTP server over an engine that only remembers. One goes through the whole
edge (routes, plans of changes, headers, encoding), the other asks the engine and encodes its
answer, and knows of no version. The third row is a client of 1.2, for whom answers are rewritten.
The bounds leave room for what any edge does: finding a route, reading a query, naming headers; the
versions themselves are one lookup.

python bench/versions.py [runs] [requests]
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from bench._pair import compare, paired, report, runs_from_arguments
from tests.support.api import CONTAINER, FakeEngine, a_summary

from pinnace.api.dispatch import ApiSettings, make_app
from pinnace.api.http.listeners import ListenSpec, listen
from pinnace.engine.containers.listing import ListParams
from pinnace.engine.filters import parse_filters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pinnace.api.http.exchange import Exchange

CONTAINERS = 20
LIST, INSPECT = "/v1.56/containers/json?all=1", f"/v1.56/containers/{CONTAINER}/json"
HEADERS = [
    ("Date", "Tue, 24 Nov 2026 00:00:00 GMT"),
    ("Server", "Docker/0.1.0 (linux)"),
    ("Api-Version", "1.56"),
    ("Ostype", "linux"),
    ("Docker-Experimental", "false"),
]


def an_engine() -> FakeEngine:
    engine = FakeEngine()
    entries = [a_summary() for _ in range(CONTAINERS)]
    engine.answers["containers.list"] = lambda _params: entries
    engine.asked = _Nothing()
    for name in ("containers", "networks", "images"):
        getattr(engine, name)._asked = engine.asked
    return engine


class _Nothing(list):
    """A list that does not grow."""

    def append(self, _item) -> None:
        pass


def versionless(engine: FakeEngine) -> Callable[[Exchange], Awaitable[None]]:
    """Return a server of the two calls that knows one version."""

    async def app(exchange: Exchange) -> None:
        if exchange.request.path.endswith("/containers/json"):
            params = ListParams(filters=parse_filters(None), all=True)
            found = await engine.containers.list(params)
        else:
            found = await engine.containers.inspect(CONTAINER, size=False)
        content = msgspec.json.encode(found) + b"\n"
        await exchange.respond(200, content, headers=HEADERS, content_type="application/json")

    return app


def serve(directory: str, ready) -> None:
    async def both() -> None:
        engine = an_engine()
        whole = make_app(engine, ApiSettings(engine_version="0.1.0"))
        await listen(ListenSpec(f"unix://{directory}/edge"), whole)
        await listen(ListenSpec(f"unix://{directory}/direct"), versionless(engine))
        ready.set()
        await asyncio.Event().wait()

    asyncio.run(both())


class Asking:
    """One kept connection."""

    def __init__(self, path: Path, target: str, server: int) -> None:
        self._clock = (~server << 3) | 2  # Linux: the processor time of a process as a clock
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def ask(self) -> bytes:
        self._socket.sendall(self._request)
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._socket.recv(1 << 16)
        head, _, body = got.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        while len(body) < length:
            body += self._socket.recv(1 << 16)
        return body

    def microseconds(self, requests: int) -> float:
        """Return the processor time that a request takes in the server, over some."""
        started = time.clock_gettime(self._clock)
        for _ in range(requests):
            self.ask()
        return (time.clock_gettime(self._clock) - started) / requests * 1e6


def main() -> None:
    runs = runs_from_arguments(20)
    requests = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    with tempfile.TemporaryDirectory(prefix="pnb-ver-") as directory:
        context = multiprocessing.get_context("fork")
        ready = context.Event()
        server = context.Process(target=serve, args=(directory, ready), daemon=True)
        server.start()
        try:
            assert ready.wait(20)
            rows = [
                row(Path(directory), server.pid, *asked, runs, requests)
                for asked in (
                    (f"list of {CONTAINERS}, newest version", LIST, 1.4),
                    ("inspect, newest version", INSPECT, 1.6),
                    (f"list of {CONTAINERS}, version 1.2", LIST.replace("1.56", "1.2"), 20),
                )
            ]
        finally:
            server.terminate()
            server.join()
    report("versions", rows)


def row(
    directory: Path, server: int, what: str, target: str, bound: float, runs: int, requests: int
):
    edge, direct = (Asking(directory / name, target, server) for name in ("edge", "direct"))
    if "1.2/" not in target:
        assert edge.ask() == direct.ask()
    sides = {
        "pinnace": lambda: edge.microseconds(requests),
        "versionless": lambda: direct.microseconds(requests),
    }
    samples = paired(sides, runs)
    return compare(what, "us", samples, against="versionless", target=bound)


if __name__ == "__main__":
    main()
