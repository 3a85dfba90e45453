"""Exit statuses: of our children, and of processes another supervisor was the parent of."""

from __future__ import annotations

import fcntl
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# linux/pidfd.h: PIDFD_GET_INFO is _IOWR(0xFF, 11, struct pidfd_info); the first 64 bytes are
# version 0.
_PIDFD_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11
_PIDFD_INFO_EXIT = 1 << 3  # Linux 6.15
_EXIT_CODE_OFFSET = 60
_PID_OFFSET = 16

LOST_CODE = 255


def code_of(status: int) -> int:
    """Return the exit code of a wait status: 0..255, 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


class Reaper:
    """Waits for every child, also orphans that came to us as subreaper, and tells who asked.

    A process made by a runtime is ours before we know its number, and may have ended by then.
    While somebody holds the reaper (`hold`), statuses nobody expects are kept for `expect`.
    """

    def __init__(self) -> None:
        self._expected: dict[int, Callable[[int], None]] = {}
        self._unclaimed: dict[int, int] = {}
        self._holders = 0

    def hold(self) -> None:
        """Keep unexpected statuses until the matching `release`."""
        self._holders += 1

    def release(self) -> None:
        """End a `hold`."""
        self._holders -= 1
        if self._holders == 0:
            self._unclaimed.clear()

    def has_ended(self, pid: int) -> bool:
        """Whether the status of a child is kept for `expect`."""
        return pid in self._unclaimed

    def is_ours(self, pid: int) -> bool:
        """Whether `expect` will learn of a process's end: it is our child, or was."""
        if pid in self._unclaimed:
            return True
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def expect(self, pid: int, ended: Callable[[int], None]) -> bool:
        """Have `ended` called with the wait status of a child.

        Returns:
            False when it has ended already; `ended` was called.
        """
        status = self._unclaimed.pop(pid, None)
        if status is None:
            self._expected[pid] = ended
            return True
        ended(status)
        return False

    def reap(self) -> None:
        """Collect every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._expected.pop(pid, None)
            if ended is not None:
                ended(status)
            elif self._holders:
                self._unclaimed[pid] = status


def status_by_pidfd(pidfd: int) -> int | None:
    """Return the wait status of an ended process that is not our child; None: cannot be learnt.

    The kernel keeps it with the pidfd once the parent has waited (Linux 6.15); before that the
    process is a zombie and /proc shows the status.
    """
    info = bytearray(64)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    if struct.unpack_from("=Q", info)[0] & _PIDFD_INFO_EXIT:
        return int(struct.unpack_from("=i", info, _EXIT_CODE_OFFSET)[0])
    return _zombie_status(struct.unpack_from("=I", info, _PID_OFFSET)[0])


def _zombie_status(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    if len(fields) < 50 or fields[0] != b"Z":
        return None
    return int(fields[49])  # proc_pid_stat(5): exit_code is field 52; state is field 3
