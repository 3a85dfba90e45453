"""Network namespaces: the one thread of the daemon that enters them.

Entering a network namespace changes the calling thread only, but a thread that forgot to come back
would poison whoever runs on it next. So everything that must happen inside a namespace, and
everything that must happen in the host's own (netlink, `/proc/sys/net`, sockets that reserve
ports), runs on one thread which owns the way back.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pinnace.errors import Internal

log = logging.getLogger(__name__)

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 2
_OWN_NAMESPACE = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


class NamespaceThread:
    """One thread at home in the host's network namespace, able to visit others.

    Args:
        host_namespace: Path of the namespace which is "the host" for every job; None means the
            namespace of the process. Tests give a namespace of their own.
    """

    def __init__(self, host_namespace: Path | None = None) -> None:
        self._host_namespace = host_namespace
        self._home = -1
        self._executor = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="namespaces", initializer=self._settle
        )

    async def run(self, job: Callable[[], T]) -> T:
        """Run a job on the thread and return its result.

        Jobs run one after another, in the order given. A job may call `visit` and `visit_new`.

        Raises:
            Whatever the job raises.

        Cancelled: the job still runs to its end, and this call waits for it, so that the caller
            knows the state it has to undo.
        """
        future = asyncio.get_running_loop().run_in_executor(self._executor, job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # retrieved: the cancellation goes first
            raise

    def post(self, job: Callable[[], None]) -> None:
        """Run a job nobody waits for, after those given before; a failure is logged."""
        with contextlib.suppress(RuntimeError):  # the thread has been closed
            self._executor.submit(job).add_done_callback(_report)

    @contextlib.contextmanager
    def visit(self, path: Path) -> Iterator[None]:
        """Be in the namespace at `path` for a while; only from within a job.

        Raises:
            OSError: `path` is not a network namespace.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(fd, _CLONE_NEWNET), "setns", str(path))
        finally:
            os.close(fd)
        try:
            yield
        finally:
            self._go_home()

    @contextlib.contextmanager
    def visit_new(self) -> Iterator[int]:
        """Be in a new namespace for a while and yield a descriptor of it; only from within a job.

        The namespace ends with its last holder: the descriptor is closed on the way out, so a
        caller that wants to keep it pins it (`pin`).
        """
        _check(_libc.unshare(_CLONE_NEWNET), "unshare", "CLONE_NEWNET")
        try:
            fd = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
        finally:
            self._go_home()

    def close(self) -> None:
        """End the thread once its jobs are done."""
        self._executor.shutdown(wait=True)
        if self._home >= 0:
            os.close(self._home)
            self._home = -1

    def _settle(self) -> None:
        path = str(self._host_namespace or _OWN_NAMESPACE)
        self._home = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if self._host_namespace is not None:
            self._go_home()

    def _go_home(self) -> None:
        if _libc.setns(self._home, _CLONE_NEWNET) < 0:
            # Nothing on this thread may run in somebody's namespace by mistake.
            self._executor.shutdown(wait=False, cancel_futures=True)
            raise Internal(f"cannot return to the host's network namespace: {_last_error()}")


def pin(path: Path, namespace: int) -> None:
    """Bind a namespace to `path`, creating the file.

    Args:
        path: File to create.
        namespace: Descriptor of the namespace.

    Raises:
        FileExistsError: `path` is taken.
        OSError: The mount failed; no file is left.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        source, target = f"/proc/self/fd/{namespace}".encode(), os.fsencode(path)
        _check(_libc.mount(source, target, None, _MS_BIND, None), "mount", str(path))
    except OSError:
        path.unlink()
        raise


def unpin(path: Path) -> None:
    """Drop what `pin` made; the namespace ends when no process is left in it. Idempotent."""
    while _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        pass  # a daemon that crashed between two mounts may have stacked them
    path.unlink(missing_ok=True)


def _report(done: "Future[None]") -> None:
    failure = None if done.cancelled() else done.exception()
    if failure is not None:
        log.error("a job among namespaces failed", exc_info=failure)


def _last_error() -> str:
    return os.strerror(ctypes.get_errno())


def _check(result: int, call: str, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", what)
