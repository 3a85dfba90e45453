"""Compiles filters of system calls to BPF through libseccomp (seccomp_rule_add(3)).

Compiling takes some 15 ms; runtimes do it again for every container. Done here once, the result
goes to crun in an annotation. A short prologue in front of libseccomp's program decides the
calls that the installed libseccomp is too old to know.
"""

import ctypes
import errno as errnos
import os
import struct
from collections.abc import Sequence
from functools import cache

from pinnace.errors import InvalidParameter, Unavailable
from pinnace.host.security.seccomp_profile import LAST_KNOWN_CALL, YOUNG_CALLS
from pinnace.oci.runtime_spec import Seccomp, SyscallArg, SyscallRule

FORMAT = 1  # of the prologue; part of the cache key

_ACTIONS = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
}
_WITH_DATA = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_ATTRIBUTE_NO_NEW_PRIVILEGES, _ATTRIBUTE_OPTIMIZE = 3, 8
_BINARY_TREE = 2
_UNKNOWN_CALL = -1
_ENOSYS = 38
_MAX_ARGUMENT = 5


class _Comparison(ctypes.Structure):
    _fields_ = [  # type: ignore[mutable-override]  # ctypes declares it so
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("datum", ctypes.c_uint64),
    ]


class _Version(ctypes.Structure):
    _fields_ = [  # type: ignore[mutable-override]  # as above
        ("major", ctypes.c_uint),
        ("minor", ctypes.c_uint),
        ("micro", ctypes.c_uint),
    ]


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise Unavailable(f"libseccomp cannot be loaded: {error}") from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_version.restype = ctypes.POINTER(_Version)
    return library


def version() -> str:
    """Return libseccomp's version, such as "2.5.4".

    Raises:
        Unavailable: libseccomp is not installed.
    """
    found = _library().seccomp_version().contents
    return f"{found.major}.{found.minor}.{found.micro}"


def check(profile: Seccomp) -> None:
    """Refuse actions, operators and argument numbers that do not exist.

    Raises:
        InvalidParameter: With the word in question.
    """
    _action(profile.default_action, profile.default_errno_ret)
    for rule in profile.syscalls:
        _action(rule.action, rule.errno_ret)
        for arg in rule.args:
            if arg.op not in _OPERATORS:
                raise InvalidParameter(f"invalid seccomp operator: {arg.op!r}")
            if not 0 <= arg.index <= _MAX_ARGUMENT:
                raise InvalidParameter(f"invalid seccomp argument index: {arg.index}")


def compile_filter(profile: Seccomp) -> bytes:
    """Return the filter as an array of `struct sock_filter`.

    Raises:
        InvalidParameter: libseccomp refuses a rule.
        Unavailable: libseccomp is not installed.
    """
    library = _library()
    default = _action(profile.default_action, profile.default_errno_ret)
    context = library.seccomp_init(default)
    if not context:
        raise InvalidParameter(f"invalid seccomp action: {profile.default_action!r}")
    try:
        library.seccomp_attr_set(context, _ATTRIBUTE_NO_NEW_PRIVILEGES, 0)
        library.seccomp_attr_set(context, _ATTRIBUTE_OPTIMIZE, _BINARY_TREE)
        for name in profile.architectures:
            _add_architecture(context, name)
        for rule in profile.syscalls:
            action = _action(rule.action, rule.errno_ret)
            if action != default:
                _add_rule(context, rule, action)
        return _prologue(profile) + _export(context)
    finally:
        library.seccomp_release(context)


def _action(name: str, data: int | None) -> int:
    if name not in _ACTIONS:
        raise InvalidParameter(f"invalid seccomp action: {name!r}")
    if name not in _WITH_DATA:
        return _ACTIONS[name]
    return _ACTIONS[name] | (errnos.EPERM if data is None else data & 0xFFFF)


def _add_architecture(context: int, name: str) -> None:
    token = _library().seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
    if token == 0:
        raise InvalidParameter(f"invalid seccomp architecture: {name!r}")
    status = _library().seccomp_arch_add(context, token)
    if status not in (0, -errnos.EEXIST):
        raise InvalidParameter(f"seccomp architecture {name!r}: {os.strerror(-status)}")


def _add_rule(context: int, rule: SyscallRule, action: int) -> None:
    library = _library()
    for name in rule.names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_CALL:
            continue  # not a call of this host; profiles name calls of many kernels
        for group in _groups(rule.args):
            array = (_Comparison * len(group))(
                *(
                    _Comparison(arg.index, _OPERATORS[arg.op], arg.value, arg.value_two)
                    for arg in group
                )
            )
            status = library.seccomp_rule_add_array(context, action, number, len(group), array)
            if status:
                raise InvalidParameter(f"seccomp rule for {name!r}: {os.strerror(-status)}")


def _groups(args: Sequence[SyscallArg]) -> list[Sequence[SyscallArg]]:
    """Comparisons of one argument are alternatives, of several arguments a conjunction.

    libseccomp takes each argument once per rule; all runtimes read profiles this way.
    """
    if len({arg.index for arg in args}) == len(args):
        return [args]
    return [[arg] for arg in args]


def _export(context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        status = _library().seccomp_export_bpf(context, fd)
        if status:
            raise InvalidParameter(f"seccomp filter: {os.strerror(-status)}")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


# struct sock_filter: code, jump if true, jump if false, constant (linux/filter.h).
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_X32_BIT = 0x40000000


def _prologue(profile: Seccomp) -> bytes:
    """Decide calls that libseccomp does not know; everything else falls through.

    A call newer than every profile answers ENOSYS, as an older kernel would, so that C libraries
    fall back; EPERM would break them. Only for filters whose default is an error.
    """
    if profile.default_action != "SCMP_ACT_ERRNO":
        return b""
    verdicts = _young_verdicts(profile)
    body = [_INSTRUCTION.pack(_JUMP_GREATER, 0, 1, LAST_KNOWN_CALL)]
    body.append(_INSTRUCTION.pack(_RETURN, 0, 0, _ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS))
    for number, action in verdicts:
        body.append(_INSTRUCTION.pack(_JUMP_EQUAL, 0, 1, number))
        body.append(_INSTRUCTION.pack(_RETURN, 0, 0, action))
    # x32 calls carry a bit that makes their numbers large; negative numbers are a tracer's.
    head = [
        _INSTRUCTION.pack(_LOAD, 0, 0, 0),
        _INSTRUCTION.pack(_JUMP_BITS, len(body), 0, _X32_BIT | 0x80000000),
    ]
    return b"".join(head + body)


def _young_verdicts(profile: Seccomp) -> list[tuple[int, int]]:
    verdicts: dict[int, int] = {}
    for rule in profile.syscalls:
        for name in rule.names:
            number = YOUNG_CALLS.get(name)
            unknown = _library().seccomp_syscall_resolve_name(name.encode()) == _UNKNOWN_CALL
            if number is not None and unknown and not rule.args:
                verdicts.setdefault(number, _action(rule.action, rule.errno_ret))
    return sorted(verdicts.items())
