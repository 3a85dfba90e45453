"""Starts the resident process: detached, alone on its directory, with nothing inherited.

`start(directory)` returns, in the process that called it, when the socket is ready; the resident
process is a grandchild in a session of its own. The daemon runs it as a short-lived program.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import sys
import time

from pinnace.supervisor.loop import READ, Loop
from pinnace.supervisor.protocol import LOCK_NAME, LOG_NAME, SOCKET_NAME
from pinnace.supervisor.reaper import Reaper
from pinnace.supervisor.runtime import raise_limit
from pinnace.supervisor.server import Server

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LOG_LIMIT = 1 << 20
_READY = b"ready"


def start(directory: str) -> int:
    """Start the resident process unless one runs; return an exit status for `sys.exit`.

    Args:
        directory: The exec root; exists. Socket, lock and log go there.
    """
    os.chdir(directory)
    ready, theirs = os.pipe()
    if os.fork() == 0:
        _resident(theirs)
    os.close(theirs)
    said = os.read(ready, 4096)
    if said == _READY:
        return 0
    sys.stderr.write(said.decode("utf-8", "replace") or "the supervisor ended at once\n")
    return 1


def _resident(ready: int) -> None:
    """Be the resident process; never returns."""
    status = 1
    try:
        directory = os.getcwd()  # noqa: PTH109
        null = _detach(ready)
        if _lock(directory):
            _serve(directory, ready, null)
        else:
            os.write(ready, _READY)  # another one serves this directory
        status = 0
    except OSError as exc:
        with contextlib.suppress(OSError):
            os.write(ready, f"supervisor: {exc}\n".encode())
    finally:
        os._exit(status)


def _detach(ready: int) -> int:
    """Leave session, directory, descriptors and signals of the caller; return /dev/null."""
    os.setsid()
    os.umask(0o022)  # the runtime inherits it
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        os.dup2(null, fd)
    keep = sorted((null, ready))
    os.closerange(3, keep[0])
    os.closerange(keep[0] + 1, keep[1])
    os.closerange(keep[1] + 1, 1 << 16)
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    # all five arguments: the kernel checks that the rest is zero, and varargs would leave garbage
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("cannot become a subreaper")
    return null


def _lock(directory: str) -> bool:
    """Become the only supervisor of the directory; the lock ends with the process."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(f"{directory}/{LOCK_NAME}", flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return False
    return True


def _serve(directory: str, ready: int, null: int) -> None:
    _remove_consoles(directory)
    report = _Reporter(f"{directory}/{LOG_NAME}")
    loop = Loop(report)
    reaper = Reaper()
    _watch_children(loop, reaper)
    raise_limit()
    listener = _listen(directory)
    Server(loop, reaper, listener, directory=directory, null=null, report=report)
    os.chdir("/")
    os.write(ready, _READY)
    os.close(ready)
    loop.run()
    os.unlink(f"{directory}/{SOCKET_NAME}")  # noqa: PTH108 - still ours: we hold the lock


def _remove_consoles(directory: str) -> None:
    """Remove the console sockets of a supervisor that was killed during a start."""
    for name in os.listdir(directory):  # noqa: PTH208
        if name[:1] == "c" and name[1:].isdigit():
            os.unlink(f"{directory}/{name}")  # noqa: PTH108


def _watch_children(loop: Loop, reaper: Reaper) -> None:
    """Have the reaper called after SIGCHLD."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def ready(_events: int) -> None:
        try:
            os.read(reading, 4096)
        except BlockingIOError:
            return
        reaper.reap()

    loop.watch(reading, READ, ready)


def _listen(directory: str) -> socket.socket:
    """Return the listening socket, in place of one that a dead supervisor left."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    temporary = f"{SOCKET_NAME}.new"
    path = f"{directory}/{SOCKET_NAME}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # noqa: PTH108
    listener.bind(temporary)  # relative: the directory's path may be too long for an address
    os.chmod(temporary, 0o600)  # noqa: PTH101
    listener.listen(16)
    listener.settimeout(0)
    os.rename(temporary, path)  # noqa: PTH104
    return listener


class _Reporter:
    """Appends lines to a file that never grows over a limit."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, what: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self._path, flags, 0o600)
            try:
                if os.fstat(fd).st_size > _LOG_LIMIT:
                    os.ftruncate(fd, 0)
                os.write(fd, f"{stamp} {what}\n".encode())
            finally:
                os.close(fd)
        except OSError:
            return  # a supervisor that cannot write its log still has containers to serve
