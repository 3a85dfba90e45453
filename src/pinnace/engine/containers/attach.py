"""Attaching clients to containers: the socket goes to the supervisor, which serves it."""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Protocol

from pinnace.contracts.monitor import Attachment, Monitor, Sink
from pinnace.engine.containers.hijacked import HijackedClient
from pinnace.engine.containers.lifecycle import check
from pinnace.engine.containers.logs import LogParams, LogStream
from pinnace.engine.containers.lookup import ContainerLookup, Publish, container_attributes
from pinnace.errors import InvalidParameter, NotFound
from pinnace.model.container import Container
from pinnace.model.record import ContainerId

log = logging.getLogger(__name__)

DEFAULT_DETACH_KEYS = b"\x10\x11"  # ctrl-p,ctrl-q
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}
_HAS_TASK = frozenset({"running", "paused"})


class LogReading(Protocol):
    """The part of the log service that replays the log of a stopped container."""

    async def open(self, ref: str, params: LogParams) -> LogStream:
        """Open the container's log."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachParams:
    """What `POST /containers/{id}/attach` asks for.

    Attributes:
        stdin: Send the client's bytes to the container.
        stdout: Send its standard output.
        stderr: Send its standard error.
        logs: Replay what was written so far, first.
        stream: Go on live.
        detach_keys: "ctrl-p,ctrl-q" notation; None or "": the default.
        framed: The client understands stdcopy frames (without a terminal).
        wait_for_start: A client of a stopped container waits for its next start; otherwise the
            stream ends.
        stream_by_stream: The replay is all of standard output, then all of standard error.
    """

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    logs: bool = False
    stream: bool = False
    detach_keys: str | None = None
    framed: bool = True
    wait_for_start: bool = True
    stream_by_stream: bool = False


def parse_detach_keys(keys: str | None, *, called: str = "detach") -> bytes:
    """Return the byte sequence of "ctrl-p,q" notation; `called` is for the failure's text.

    Raises:
        InvalidParameter: A part is neither one character nor `ctrl-` with a letter or one of
            `@`, `[`, backslash, `]`, `^` and `_`.
    """
    if not keys:
        return DEFAULT_DETACH_KEYS
    return bytes(_key_byte(part, keys, called) for part in keys.split(","))


def _key_byte(part: str, keys: str, called: str) -> int:
    if len(part) == 1 and part.isascii():
        return ord(part)
    name = part.removeprefix("ctrl-")
    if name != part and len(name) == 1:
        if "a" <= name.lower() <= "z":
            return ord(name.lower()) - ord("a") + 1
        if name in _CONTROL:
            return _CONTROL[name]
    raise InvalidParameter(f"Invalid {called} keys ({keys}) provided")


class AttachPlan:
    """A checked attach request, ready to serve its connection.

    Attributes:
        content_framed: The stream carries stdcopy frames; False with a terminal.
        is_running: The container ran when the request was checked.
    """

    def __init__(
        self, service: "AttachService", container: Container, params: AttachParams, sink: Sink
    ) -> None:
        self._service = service
        self._container = container
        self._params = params
        self._sink = sink
        self.content_framed = sink.framed
        self.is_running = container.state.status in _HAS_TASK

    async def run(self, client_fd: int, early: bytes = b"") -> None:
        """Serve the hijacked socket until the output is over, the keys came, or the client left.

        Args:
            client_fd: Stream socket; stays the caller's, who closes it afterwards.
            early: Bytes that the client sent before the hand-over.

        Cancelled: the client is detached; the socket is no longer used.
        """
        await self._service.serve(
            self._container.id, client_fd, self._params, replace(self._sink, early=early)
        )


class AttachService:
    """Connects clients with containers' terminals and pipes."""

    def __init__(
        self,
        containers: ContainerLookup,
        monitor: Monitor,
        logs: LogReading,
        publish: Publish,
    ) -> None:
        self._containers = containers
        self._monitor = monitor
        self._logs = logs
        self._publish = publish

    async def attach(self, ref: str, params: AttachParams) -> AttachPlan:
        """Check the request; nothing happens to the container yet.

        Raises:
            ContainerNotFound: No such container.
            InvalidParameter: Bad detach keys.
            Conflict: The container is paused or restarting.
            NotSupported: A replay was asked for and its log driver cannot be read.
        """
        keys = parse_detach_keys(params.detach_keys)
        container = self._containers.get(ref)
        check(container.state.status, "attach", id=ref, name=container.name)
        if params.logs:
            # Checks that the log can be read; opening does no work before the first chunk.
            await self._logs.open(container.id, _replay_params(params))
        sink = Sink(
            stdin=params.stdin and container.config.open_stdin and params.stream,
            stdout=params.stdout,
            stderr=params.stderr,
            framed=params.framed and not container.config.tty,
            replay=params.logs,
            stream_by_stream=params.stream_by_stream,
            stream=params.stream,
            detach_keys=keys,
        )
        return AttachPlan(self, container, params, sink)

    async def serve(
        self, container_id: ContainerId, client_fd: int, params: AttachParams, sink: Sink
    ) -> None:
        """Serve one client; see `AttachPlan.run`."""
        container = self._containers.by_id(container_id)
        if params.stream:
            self._publish("container", "attach", container.id, container_attributes(container))
        if params.logs and container.state.status not in _HAS_TASK:
            # The supervisor has forgotten the task: its log is replayed from here.
            if not await self._replay(container, client_fd, params, framed=sink.framed):
                return
            if not params.wait_for_start:
                return
            sink = replace(sink, replay=False)
        elif params.logs and not params.stream:
            await self._attached(container, client_fd, sink)
            return
        if not params.stream:
            return
        if params.wait_for_start:
            # `docker run` attaches before start: the sink waits for the task.
            await self._attached(container, client_fd, sink)
            return
        try:
            await self._attached(container, client_fd, sink, pending=False)
        except NotFound:  # it ended since
            if params.logs:
                await self._replay(container, client_fd, params, framed=sink.framed)

    async def _attached(
        self, container: Container, client_fd: int, sink: Sink, *, pending: bool = True
    ) -> None:
        attachment = await self._monitor.attach(container.id, client_fd, sink, pending=pending)
        how = await until_ended(attachment)
        if how == "detached":
            self._publish("container", "detach", container.id, container_attributes(container))

    async def _replay(
        self, container: Container, client_fd: int, params: AttachParams, *, framed: bool
    ) -> bool:
        """Send the log of a stopped container; return False when the client is gone."""
        with HijackedClient(client_fd, framed=framed) as client:
            for part in _replay_parts(params):
                stream = await self._logs.open(container.id, part)
                try:
                    async for number, chunk in stream:
                        await client.send(number, chunk)
                except OSError as exc:
                    log.debug("attached client left during replay: %s", exc)
                    return False
                finally:
                    await stream.aclose()
        return True


async def until_ended(attachment: Attachment) -> str:
    """Wait for an attachment's end; when cancelled, detach the client first."""
    try:
        return await attachment.ended()
    except asyncio.CancelledError:
        await asyncio.shield(attachment.cancel())
        raise


def _replay_parts(params: AttachParams) -> list[LogParams]:
    """Return what is replayed, in order."""
    if params.stream_by_stream and params.stdout and params.stderr:
        return [LogParams(stdout=True), LogParams(stderr=True)]
    return [_replay_params(params)]


def _replay_params(params: AttachParams) -> LogParams:
    return LogParams(stdout=params.stdout or not params.stderr, stderr=params.stderr)
