"""Runs other programs: the daemon's only place that starts children."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinnace.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TERM_GRACE_S = 5.0
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended.

    Attributes:
        returncode: Exit status; -n when signal n ended it.
        stdout: Standard output, at most the cap.
        stderr: Standard error, at most the cap.
    """

    returncode: int
    stdout: bytes
    stderr: bytes


def use_pidfds() -> None:
    """Make the running process wait for children by pidfd; call before the event loop starts.

    Python 3.11's default child watcher costs a thread per child; from 3.12 on pidfds are the
    default.
    """
    if sys.version_info < (3, 12):
        asyncio.get_event_loop_policy().set_child_watcher(asyncio.PidfdChildWatcher())


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    input: bytes = b"",  # noqa: A002 - the word subprocess uses
    timeout_s: float = 30.0,
    cap_bytes: int = 1 << 20,
) -> Completed:
    """Run a program to its end, in a session of its own, and return what it printed.

    Args:
        argv: Program and arguments; no shell.
        env: Its whole environment; None: only a PATH.
        input: Its standard input.
        timeout_s: Deadline.
        cap_bytes: Most bytes kept of each output; the rest is read and dropped.

    Raises:
        Unavailable: The program cannot be started, or passed its deadline.

    Cancelled: the program is ended (SIGTERM, after 5 s SIGKILL) and waited for.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if input else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env) if env is not None else {"PATH": _DEFAULT_PATH},
            start_new_session=True,
        )
    except OSError as exc:
        raise Unavailable(f"cannot run {argv[0]}: {exc.strerror}") from exc
    try:
        async with asyncio.timeout(timeout_s):
            _, stdout, stderr = await asyncio.gather(
                _feed(process.stdin, input),
                _collect(process.stdout, cap_bytes),
                _collect(process.stderr, cap_bytes),
            )
            returncode = await process.wait()
    except TimeoutError as exc:
        await asyncio.shield(_end(process))
        raise Unavailable(f"{argv[0]} did not end within {timeout_s:g} s") from exc
    except BaseException:
        await asyncio.shield(_end(process))
        raise
    return Completed(returncode, stdout, stderr)


async def _feed(stdin: asyncio.StreamWriter | None, data: bytes) -> None:
    """Write the input; a program that does not read it is no error."""
    if stdin is None:
        return
    try:
        stdin.write(data)
        await stdin.drain()
        stdin.close()
    except ConnectionError:
        return


async def _collect(stream: asyncio.StreamReader | None, cap_bytes: int) -> bytes:
    """Read to the end and return the first `cap_bytes` bytes."""
    kept = bytearray()
    while stream is not None and (data := await stream.read(_READ_BYTES)):
        kept += data[: max(0, cap_bytes - len(kept))]
    return bytes(kept)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program and its session, politely first, and wait for it."""
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_TERM_GRACE_S):
            await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal the process group the program leads."""
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
