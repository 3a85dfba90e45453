"""Reading containers' output back: `docker logs`.

The supervisor keeps the output raw beside an index of times (`pinnace.supervisor.logs`), so
without time stamps the bytes pass through untouched in large chunks, and with them one replacement
per chunk inserts the prefix behind each newline. Files are read in a worker, one batch at a time:
a slow client holds back its own reader and nothing else.
"""

import asyncio
import os
import re
import socket
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote_plus

from pinnace.contracts.monitor import Monitor
from pinnace.engine.containers.lookup import ContainerLookup
from pinnace.errors import Conflict, InvalidParameter, NotFound, NotSupported
from pinnace.model.container import Container
from pinnace.model.record import ContainerId
from pinnace.supervisor.logs import STDERR, STDOUT, LogReader

BATCH_BYTES = 1 << 20
_WAKE_BYTES = 4096
_SECOND_NS = 1_000_000_000
_HAS_TASK = frozenset({"running", "paused"})

LogChunk: TypeAlias = tuple[int, bytes]  # stream (1 stdout, 2 stderr) and its bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogParams:
    """What `GET /containers/{id}/logs` asks for.

    Attributes:
        stdout: Send standard output (and the terminal).
        stderr: Send standard error.
        follow: Go on until the container's output is over.
        since_ns: Unix nanoseconds of the oldest output wanted.
        until_ns: Unix nanoseconds of the newest output wanted.
        tail: Lines from the end, of both streams together; None: all.
        timestamps: Begin each line with the time it came.
        details: Begin each line with the attributes that the log options name.
    """

    stdout: bool = False
    stderr: bool = False
    follow: bool = False
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int | None = None
    timestamps: bool = False
    details: bool = False


@dataclass(frozen=True, slots=True)
class LogStream:
    """An opened log.

    Attributes:
        tty: The output is a terminal's: one stream, never framed.
        chunks: Pieces in the order they came. Nothing is opened before the first is asked for.
            Close it (`aclose`) when leaving early.
    """

    tty: bool
    chunks: AsyncGenerator[LogChunk, None]

    def __aiter__(self) -> AsyncGenerator[LogChunk, None]:
        return self.chunks

    async def aclose(self) -> None:
        """Stop reading and close the files."""
        await self.chunks.aclose()


class LogService:
    """Opens containers' logs, whether they run or not."""

    def __init__(
        self,
        containers: ContainerLookup,
        monitor: Monitor,
        log_directory: Callable[[ContainerId], Path],
        *,
        executor: Executor | None = None,
    ) -> None:
        """Read logs below `log_directory(id)` in threads of `executor` (None: the loop's own)."""
        self._containers = containers
        self._monitor = monitor
        self._log_directory = log_directory
        self._executor = executor

    async def open(self, ref: str, params: LogParams) -> LogStream:
        """Check the request and return the stream; reading starts with its first chunk.

        Raises:
            ContainerNotFound: No such container.
            InvalidParameter: Neither stream was asked for.
            Conflict: The container is going away.
            NotSupported: Its log driver keeps nothing.
        """
        if not (params.stdout or params.stderr):
            raise InvalidParameter("Bad parameters: you must choose at least one stream")
        container = self._containers.get(ref)
        if container.state.status in ("removing", "dead"):
            raise Conflict("can not get logs from container which is dead or marked for removal")
        if container.host_config.log_config.type == "none":
            raise NotSupported("configured logging driver does not support reading")
        return LogStream(container.config.tty, self._chunks(container, params))

    async def _chunks(
        self, container: Container, params: LogParams
    ) -> AsyncGenerator[LogChunk, None]:
        loop = asyncio.get_running_loop()
        growth = await self._watch(container) if params.follow else None
        directory = str(self._log_directory(container.id))
        batches = _Batches(directory, params, _details(container) if params.details else b"")
        reading: asyncio.Future[list[LogChunk]] | None = None
        try:
            while True:
                reading = loop.run_in_executor(self._executor, batches.next)
                batch = await asyncio.shield(reading)
                for chunk in batch:
                    yield chunk
                if batch and not batches.is_over:
                    continue
                if growth is None or batches.is_over:
                    return
                if not await _grown(growth, params.until_ns):
                    growth.close()
                    growth = None  # once more, for what came last
        finally:
            if growth is not None:
                growth.close()
            if reading is not None and not reading.done():
                await asyncio.wait([reading])
            batches.close()

    async def _watch(self, container: Container) -> socket.socket | None:
        if container.state.status not in _HAS_TASK:
            return None
        try:
            growth = socket.socket(fileno=await self._monitor.watch(container.id))
        except NotFound:  # it ended meanwhile
            return None
        growth.settimeout(0)
        return growth


async def _grown(growth: socket.socket, until_ns: int | None) -> bool:
    """Wait for more output; return False when there will be none that is wanted."""
    left = None if until_ns is None else max(0.0, (until_ns - time.time_ns()) / _SECOND_NS)
    try:
        async with asyncio.timeout(left):
            return bool(await asyncio.get_running_loop().sock_recv(growth, _WAKE_BYTES))
    except (TimeoutError, OSError):
        return False


class _Batches:
    """Reads a log batch by batch; blocking, used by one worker at a time."""

    def __init__(self, directory: str, params: LogParams, details: bytes) -> None:
        self._directory = directory
        self._params = params
        self._details = details
        self._reader: LogReader | None = None
        self._plain = not (params.timestamps or params.details)
        self._at_line_start = {STDOUT: True, STDERR: True}
        self._stamp = _Stamp()
        self.is_over = False  # past `until`

    def next(self) -> list[LogChunk]:
        """Return about `BATCH_BYTES` of the log; nothing when no more is written yet."""
        if self._reader is None:
            self._reader = self._open()
        pieces: list[LogChunk] = []
        size = 0
        for stream, data in self._pieces(self._reader):
            pieces.append((stream, data))
            size += len(data)
            if size >= BATCH_BYTES:
                break
        return _joined(pieces)

    def close(self) -> None:
        """Close the files."""
        if self._reader is not None:
            self._reader.close()

    def _open(self) -> LogReader:
        params = self._params
        reader = LogReader(self._directory)
        if params.tail is not None:
            # Docker counts the lines of both streams and leaves out the unwanted ones afterwards.
            reader.seek_tail(params.tail)
        if params.since_ns is not None:
            first = reader.run(1)
            if first is not None and first.time_ns < params.since_ns:
                reader.seek_time(params.since_ns)
        reader.streams = frozenset(
            ({STDOUT} if params.stdout else set()) | ({STDERR} if params.stderr else set())
        )
        return reader

    def _pieces(self, reader: LogReader) -> Iterator[LogChunk]:
        until_ns = self._params.until_ns
        merge = self._plain and until_ns is None
        while (run := reader.run(BATCH_BYTES, merge=merge)) is not None:
            if until_ns is not None and run.time_ns > until_ns:
                self.is_over = True
                return
            data = os.pread(run.fd, run.length, run.offset)
            reader.advance(run.length)
            if data:
                yield (
                    run.stream,
                    data if self._plain else self._prefixed(run.stream, run.time_ns, data),
                )

    def _prefixed(self, stream: int, time_ns: int, data: bytes) -> bytes:
        prefix = self._stamp.text(time_ns) if self._params.timestamps else b""
        prefix += self._details
        text = data.replace(b"\n", b"\n" + prefix)
        ends_line = data.endswith(b"\n")
        if ends_line:
            text = text[: len(text) - len(prefix)]
        if self._at_line_start[stream]:
            text = prefix + text
        self._at_line_start[stream] = ends_line
        return text


class _Stamp:
    """Formats times as RFC 3339 with nine digits, remembering the last second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, time_ns: int) -> bytes:
        """Return `2006-01-02T15:04:05.000000000Z ` for Unix nanoseconds."""
        second, nanos = divmod(time_ns, _SECOND_NS)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{nanos:09d}Z ".encode()


def _joined(pieces: list[LogChunk]) -> list[LogChunk]:
    """Join neighbours of the same stream."""
    joined: list[LogChunk] = []
    parts: list[bytes] = []
    for index, (stream, data) in enumerate(pieces):
        parts.append(data)
        if index + 1 == len(pieces) or pieces[index + 1][0] != stream:
            joined.append((stream, parts[0] if len(parts) == 1 else b"".join(parts)))
            parts = []
    return joined


def _details(container: Container) -> bytes:
    """Return the line prefix of `details`: what the options labels, env and their regexes select.

    Sorted `key=value` pairs, each side escaped as in a URL query, joined by commas, then a space
    (Docker's form).
    """
    options = container.host_config.log_config.config or {}
    labels = container.config.labels or {}
    env = {
        key: value
        for key, _, value in (item.partition("=") for item in container.config.env or ())
    }
    chosen = _chosen(labels, options.get("labels", ""), options.get("labels-regex", ""))
    chosen |= _chosen(env, options.get("env", ""), options.get("env-regex", ""))
    if "tag" in options:
        chosen["tag"] = options["tag"]
    pairs = (f"{quote_plus(key)}={quote_plus(value)}" for key, value in sorted(chosen.items()))
    return f"{','.join(pairs)} ".encode()


def _chosen(values: dict[str, str], names: str, pattern: str) -> dict[str, str]:
    chosen = {name: values[name] for name in names.split(",") if name in values}
    if pattern:
        try:
            wanted = re.compile(pattern)
        except re.error:
            return chosen
        chosen |= {name: value for name, value in values.items() if wanted.search(name)}
    return chosen
