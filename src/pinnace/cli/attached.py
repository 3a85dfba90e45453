"""A session with a process in a container: its output, our input, signals, window size."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinnace.cli import terminal
from pinnace.client.errors import ClientError
from pinnace.client.streams import STDERR, SYSTEM_ERROR, demultiplex

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator

    from pinnace.client.engine import Engine
    from pinnace.client.http import Hijacked

READ_BYTES = 64 * 1024
PROXIED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to attach.

    Attributes:
        tty: The process has a terminal; its output is not framed.
        stdin: Send our standard input.
        detach_keys: Sequence which ends the session and leaves the process; empty for none.
        resize: Path to POST the window's size to; None without a terminal.
        signals: Container to send our signals to; None sends none.
    """

    tty: bool
    stdin: bool
    detach_keys: bytes = b""
    resize: str | None = None
    signals: str | None = None


async def run_session(engine: Engine, connection: Hijacked, wishes: Wishes) -> bool:
    """Copy in both directions until the output ends; return whether the user detached.

    Raises:
        ClientError: The connection broke off.
    """
    detached = asyncio.Event()
    with contextlib.ExitStack() as stack:
        if wishes.tty and wishes.stdin and sys.stdin.isatty():
            stack.enter_context(terminal.raw_mode(sys.stdin.fileno()))
        if wishes.resize is not None:
            stack.enter_context(_follow_window(engine, wishes.resize))
        if wishes.signals is not None:
            stack.enter_context(_forward_signals(engine, wishes.signals))
        sending = asyncio.create_task(_send_input(connection, wishes, detached), name="input")
        stack.callback(sending.cancel)
        output = asyncio.create_task(show_output(connection.chunks(), tty=wishes.tty))
        stack.callback(output.cancel)
        leaving = asyncio.create_task(detached.wait())
        stack.callback(leaving.cancel)
        await asyncio.wait((output, leaving), return_when=asyncio.FIRST_COMPLETED)
        if output.done():
            output.result()
    return detached.is_set()


async def show_output(chunks: AsyncIterable[bytes], *, tty: bool) -> None:
    """Write a container's output to our standard output and error as it arrives.

    Output of a closed pipe is dropped, so that the container's exit status is still seen.
    """
    targets = {1: sys.stdout.fileno(), 2: sys.stderr.fileno()}
    if tty:
        async for data in chunks:
            await _write(targets, 1, data)
        return
    async for stream, data in demultiplex(chunks):
        await _write(targets, 2 if stream in (STDERR, SYSTEM_ERROR) else 1, data)


async def _write(targets: dict[int, int], stream: int, data: bytes) -> None:
    """Write in a thread: whoever reads our output may be slow, and input must go on."""
    if stream not in targets:
        return
    try:
        await asyncio.get_running_loop().run_in_executor(None, _write_all, targets[stream], data)
    except BrokenPipeError:
        del targets[stream]


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


async def _send_input(connection: Hijacked, wishes: Wishes, detached: asyncio.Event) -> None:
    """Send our standard input, then close that direction."""
    if not wishes.stdin:
        return
    detector = terminal.DetachDetector(wishes.detach_keys) if wishes.detach_keys else None
    with contextlib.suppress(OSError):  # the process is gone; its output tells the rest
        async for data in read_input(sys.stdin.fileno()):
            if detector is not None:
                data, leave = detector.feed(data)
                if leave:
                    detached.set()
                    return
            if data:
                await connection.write(data)
        await connection.write_eof()


async def read_input(fd: int) -> AsyncIterator[bytes]:
    """Iterate over what can be read from a descriptor of any kind until its end.

    Nothing is read ahead, and the descriptor's own flags stay as they are: it may be shared.
    """
    loop = asyncio.get_running_loop()
    while True:
        readable = loop.create_future()
        try:
            loop.add_reader(fd, _resolve, readable)
        except PermissionError:
            # Regular files cannot be polled (epoll_ctl(2), EPERM), and never make one wait long.
            pass
        else:
            try:
                await readable
            finally:
                loop.remove_reader(fd)
        try:
            data = os.read(fd, READ_BYTES)
        except OSError:  # EIO: the terminal is gone
            return
        if not data:
            return
        yield data


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@contextlib.contextmanager
def _follow_window(engine: Engine, path: str) -> Iterator[None]:
    """Tell the engine the window's size now and whenever it changes."""

    async def resize() -> None:
        if (size := terminal.window_size()) is not None:
            await engine.call("POST", path, query={"h": size[0], "w": size[1]})

    with _on_signals({signal.SIGWINCH: resize}, now=resize):
        yield


@contextlib.contextmanager
def _forward_signals(engine: Engine, container: str) -> Iterator[None]:
    """Send the signals we get to the container's process instead of dying of them."""

    def kill(number: signal.Signals) -> Callable[[], Awaitable[None]]:
        async def send() -> None:
            query = {"signal": str(int(number))}
            await engine.call("POST", f"/containers/{container}/kill", query=query)

        return send

    with _on_signals({number: kill(number) for number in PROXIED}):
        yield


@contextlib.contextmanager
def _on_signals(
    actions: dict[signal.Signals, Callable[[], Awaitable[None]]],
    now: Callable[[], Awaitable[None]] | None = None,
) -> Iterator[None]:
    """Run an action for each arriving signal, one at a time and in order.

    Failures are dropped: the process may have ended just before.
    """
    wanted: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()

    async def serve() -> None:
        while True:
            action = await wanted.get()
            with contextlib.suppress(ClientError, OSError):
                await action()

    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(serve(), name="signals")
    if now is not None:
        wanted.put_nowait(now)
    for number, action in actions.items():
        loop.add_signal_handler(number, wanted.put_nowait, action)
    try:
        yield
    finally:
        serving.cancel()
        for number in actions:
            loop.remove_signal_handler(number)
