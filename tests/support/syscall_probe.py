"""Tells which system calls a container may make; run inside it, with the standard library alone.

    python3 syscall_probe.py NUMBER...

Calls each number with arguments that no call can use, in a child of its own, and prints the number
and the errno (0: it succeeded, `signal`: the child was killed, as calls are that wait).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

AF_ALG, AF_VSOCK = 38, 40
NOTHING = ctypes.c_long(-1)
libc = ctypes.CDLL(None, use_errno=True)


def errno_of(number: int) -> str:
    """Make one call in a child and return its errno as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        failed = libc.syscall(ctypes.c_long(number), *[NOTHING] * 6) == -1
        os.write(writing, str(ctypes.get_errno() if failed else 0).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    answer = os.read(reading, 16).decode()
    os.close(reading)
    return answer or "signal"


def errno_of_socket(family: int) -> int:
    """Open a socket of a family and return the errno."""
    return ctypes.get_errno() if libc.socket(family, 2, 0) == -1 else 0


if __name__ == "__main__":
    for text in sys.argv[1:]:
        print(text, errno_of(int(text)))
    print("AF_ALG", errno_of_socket(AF_ALG))
    print("AF_VSOCK", errno_of_socket(AF_VSOCK))
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 0x0400000, 0x0040000):
        failed = libc.personality(ctypes.c_ulong(value)) == -1
        print(f"personality:{value:#x}", ctypes.get_errno() if failed else 0)
