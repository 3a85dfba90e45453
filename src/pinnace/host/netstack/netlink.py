"""Netlink messages, packed by hand.

A netlink library costs ten times the work it wraps (see docs/adr/0004), and what the engine says
to the kernel is a handful of messages: links, addresses, one route. Sources: rtnetlink(7) and the
kernel's include/uapi/linux/{netlink,rtnetlink,if_link}.h.
"""

import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLA_F_NESTED = 0x8000

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_TYPE_MASK = 0x3FFF
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE_BYTES = 1 << 17

Attributes = Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Message:
    """A message to the kernel.

    Attributes:
        kind: Message type.
        flags: Beyond REQUEST and ACK, which `NetlinkSocket` adds.
        body: Fixed header of the family and attributes.
        ignore: Error numbers that mean "already so".
        what: For error texts, for example "add address 10.0.0.1/24".
    """

    kind: int
    flags: int
    body: bytes
    ignore: frozenset[int] = frozenset()
    what: str = ""


def attribute(kind: int, data: bytes) -> bytes:
    """Pack one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + b"\0" * (-len(data) & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Pack an attribute made of attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Pack a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """Pack an unsigned 32-bit number."""
    return attribute(kind, struct.pack("=I", value))


def byte(kind: int, value: int) -> bytes:
    """Pack an unsigned 8-bit number."""
    return attribute(kind, struct.pack("=B", value))


def attributes_of(data: bytes) -> Attributes:
    """Unpack attributes; the last of a kind wins."""
    return dict(iterate_attributes(data))


def iterate_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (kind, data) of packed attributes, in order, flags removed from the kind."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


class NetlinkSocket:
    """A netlink socket in the network namespace of the thread that makes it.

    Blocking; the kernel answers within the call, so nothing is waited for.
    """

    def __init__(self, protocol: int = 0) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> "NetlinkSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def talk(self, messages: Sequence[Message]) -> None:
        """Send messages in one batch and wait until the kernel has answered each.

        rtnetlink has no transactions: messages after a failed one are still carried out.

        Raises:
            OSError: The first error that its message does not ignore; the text names it.
        """
        if not messages:
            return
        first = self._sequence + 1
        self._send(messages)
        by_sequence = {first + index: message for index, message in enumerate(messages)}
        failures: list[OSError] = []
        while by_sequence:
            for kind, sequence, payload in self._receive():
                if kind != _NLMSG_ERROR:
                    continue
                message = by_sequence.pop(sequence, None)
                error = -int(struct.unpack_from("=i", payload)[0])
                if message and error and error not in message.ignore:
                    failures.append(OSError(error, f"{message.what}: {os.strerror(error)}"))
        if failures:
            raise failures[0]

    def batch(self, messages: Sequence[Message]) -> int:
        """Send messages of which only the kernel's first complaint matters (nfnetlink batches).

        Exactly one message, the last of those that ask for an acknowledgement, ends the wait.

        Returns:
            0 or the error number of the first failed message.
        """
        first = self._sequence + 1
        self._send(messages, acknowledge=False)
        acknowledged = {
            first + index for index, message in enumerate(messages) if message.flags & NLM_F_ACK
        }
        failed = 0
        while acknowledged:
            for kind, sequence, payload in self._receive():
                if kind != _NLMSG_ERROR:
                    continue
                error = -int(struct.unpack_from("=i", payload)[0])
                failed = failed or error
                if error and sequence not in acknowledged:
                    return failed  # the batch as a whole was refused
                acknowledged.discard(sequence)
        return failed

    def ask(self, message: Message) -> bytes:
        """Ask for one object; return the body of the answer.

        Raises:
            OSError: The kernel refused.
        """
        self._sequence += 1
        self._socket.send(self._pack(message, NLM_F_REQUEST, self._sequence))
        while True:
            for kind, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if kind == _NLMSG_ERROR:
                    error = -int(struct.unpack_from("=i", payload)[0])
                    raise OSError(error, f"{message.what}: {os.strerror(error)}")
                return payload

    def dump(self, message: Message) -> list[tuple[int, bytes]]:
        """Ask for a list of objects; return (message type, body) of each.

        Raises:
            OSError: The kernel refused.
        """
        self._sequence += 1
        flags = NLM_F_REQUEST | NLM_F_DUMP
        self._socket.send(self._pack(message, flags, self._sequence))
        found: list[tuple[int, bytes]] = []
        while True:
            for kind, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    error = -int(struct.unpack_from("=i", payload)[0])
                    raise OSError(error, f"{message.what}: {os.strerror(error)}")
                found.append((kind, payload))

    def _send(self, messages: Sequence[Message], *, acknowledge: bool = True) -> None:
        packed: list[bytes] = []
        for message in messages:
            self._sequence += 1
            flags = message.flags | NLM_F_REQUEST | (NLM_F_ACK if acknowledge else 0)
            packed.append(self._pack(message, flags, self._sequence))
        self._socket.send(b"".join(packed))

    def _pack(self, message: Message, flags: int, sequence: int) -> bytes:
        length = _HEADER.size + len(message.body)
        return _HEADER.pack(length, message.kind, flags, sequence, 0) + message.body

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(_RECEIVE_BYTES)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
            yield kind, sequence, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3
