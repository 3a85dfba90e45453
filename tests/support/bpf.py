"""Runs a compiled filter of system calls on made-up calls (the subset libseccomp emits)."""

from __future__ import annotations

import struct

X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
ALLOW = 0x7FFF0000
ERRNO = 0x00050000


def verdict(code: bytes, number: int, *args: int, arch: int = X86_64) -> int:
    """What the filter answers; instruction numbers from linux/bpf_common.h."""
    padded = [*args, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=iIQ6Q", number, arch, 0, *(arg & 2**64 - 1 for arg in padded))
    program = list(struct.iter_unpack("=HBBI", code))
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, constant = program[at]
        at += 1
        match operation:
            case 0x20:  # ld [k]
                accumulator = struct.unpack_from("=I", data, constant)[0]
            case 0x54:  # and k
                accumulator &= constant
            case 0x05:  # ja k
                at += constant
            case 0x15:  # jeq
                at += if_true if accumulator == constant else if_false
            case 0x25:  # jgt
                at += if_true if accumulator > constant else if_false
            case 0x35:  # jge
                at += if_true if accumulator >= constant else if_false
            case 0x45:  # jset
                at += if_true if accumulator & constant else if_false
            case 0x06:  # ret k
                return constant
            case _:
                raise AssertionError(f"instruction {operation:#x} at {at - 1}")
