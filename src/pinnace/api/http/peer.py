"""Who owns the socket at the other end: peer credentials, sock_diag, and the user database."""

import asyncio
import grp
import ipaddress
import logging
import os
import pwd
import select
import socket
import struct
from typing import Final

from pinnace.api.http.head import Peer

_log = logging.getLogger(__name__)

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
_ADDRESSES: Final = struct.Struct("!HH16s16s")  # source port, destination port, addresses
_SOCKET_TAIL: Final = struct.Struct("=III")  # interface, cookie
_ANSWER_HEAD: Final = struct.Struct("=BBBB")  # family, state, timer, retransmits
_ANSWER_TAIL: Final = struct.Struct("=IIIII")  # expires, rqueue, wqueue, uid, inode
_NO_COOKIE: Final = 0xFFFFFFFF
_ALL_STATES: Final = 0xFFFFFFFF
_TCP_LISTEN: Final = 10
_ANSWER_TIMEOUT_S: Final = 1.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def identify_unix(transport: asyncio.BaseTransport) -> Peer:
    """Return the user who connected to a unix socket (SO_PEERCRED)."""
    connection = transport.get_extra_info("socket")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _pid, uid, _gid = struct.unpack("=iII", raw)
    return Peer(uid=uid, cert_cn=None)


def identify_tcp(transport: asyncio.BaseTransport) -> Peer:
    """Return the address of a TCP client and, for a local one, the user who owns its socket."""
    remote = transport.get_extra_info("peername")
    local = transport.get_extra_info("sockname")
    if not remote or not local:
        # The client left between its connect and our accept.
        return Peer(uid=None, cert_cn=None)
    uid = find_socket_uid((remote[0], remote[1]), (local[0], local[1]))
    return Peer(uid=uid, cert_cn=None, address=remote[0].partition("%")[0])


def find_socket_uid(source: tuple[str, int], destination: tuple[str, int]) -> int | None:
    """Ask the kernel whose TCP socket is bound to `source` and connected to `destination`.

    Only sockets of our own network namespace are found, so a connection from a container has no
    user. Nor has a socket its process closed already: what the kernel still keeps of it carries
    user 0, which must not be taken for root; its inode is 0 (sock_i_uid, inet_twsk_diag_fill).

    Returns:
        The user id in our user namespace; None when there is no such open socket.
    """
    for family, request in _requests(source, destination):
        answer = _ask(family, request)
        if answer is not None:
            uid = _read_answer(answer, request)
            if uid is not None:
                return uid
    return None


def is_hung_up(descriptor: int) -> bool:
    """Tell whether the client of a unix socket closed both directions: nobody reads an answer.

    A TCP client that closed looks like one that only ended its side; the answer is False.
    """
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def groups_of(uid: int) -> frozenset[int]:
    """Return every group of a user by the user database; none for an unknown user."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))


def find_gid(group: str | int) -> int | None:
    """Return the id of a group given by name or number; None when there is no such group."""
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return int(group) if group.isascii() and group.isdecimal() else None


def _requests(source: tuple[str, int], destination: tuple[str, int]) -> list[tuple[int, bytes]]:
    """Return the (family, addresses) under which the client's socket may be known.

    A client may have opened an IPv6 socket for an IPv4 connection and the other way round is not
    possible; the kernel's table is keyed by both, so an IPv4 pair is asked for in IPv4 first.
    """
    pair = [_plain(source[0]), _plain(destination[0])]
    ports = source[1], destination[1]
    if all(isinstance(address, ipaddress.IPv4Address) for address in pair):
        padded = [address.packed.ljust(16, b"\0") for address in pair]
        mapped = [b"\0" * 10 + b"\xff\xff" + address.packed for address in pair]
        return [
            (socket.AF_INET, _ADDRESSES.pack(*ports, *padded)),
            (socket.AF_INET6, _ADDRESSES.pack(*ports, *mapped)),
        ]
    if all(isinstance(address, ipaddress.IPv6Address) for address in pair):
        return [(socket.AF_INET6, _ADDRESSES.pack(*ports, pair[0].packed, pair[1].packed))]
    return []


def _plain(text: str) -> Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _ask(family: int, addresses: bytes) -> bytes | None:
    """Send one exact look-up; return inet_diag_msg or None when there is no such socket."""
    payload = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + addresses
    payload += _SOCKET_TAIL.pack(0, _NO_COOKIE, _NO_COOKIE)
    size = _NLMSG.size + len(payload)
    message = _NLMSG.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + payload
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
            netlink.settimeout(_ANSWER_TIMEOUT_S)
            netlink.sendto(message, (0, 0))
            answer = netlink.recv(8192)
    except OSError:
        # Nobody known is nobody admitted.
        _log.warning("the kernel does not tell who owns a socket", exc_info=True)
        return None
    if len(answer) < _NLMSG.size:
        return None
    _size, kind, _flags, _sequence, _port = _NLMSG.unpack_from(answer)
    return answer[_NLMSG.size :] if kind == _SOCK_DIAG_BY_FAMILY else None


def _read_answer(answer: bytes, wanted: bytes) -> int | None:
    """Return the uid of an inet_diag_msg if it describes exactly the socket asked for."""
    tail = _ANSWER_HEAD.size + _ADDRESSES.size + _SOCKET_TAIL.size
    if len(answer) < tail + _ANSWER_TAIL.size:
        return None
    family, state, _timer, _retransmits = _ANSWER_HEAD.unpack_from(answer)
    found = answer[_ANSWER_HEAD.size : _ANSWER_HEAD.size + _ADDRESSES.size]
    _expires, _rqueue, _wqueue, uid, inode = _ANSWER_TAIL.unpack_from(answer, tail)
    if family == socket.AF_INET:
        # Only the first four bytes of each address are defined.
        found = _ADDRESSES.pack(*(_ipv4_only(found)))
    # A look-up falls back to listening sockets: those are not the client.
    if state == _TCP_LISTEN or found != wanted or inode == 0:
        return None
    return int(uid)


def _ipv4_only(addresses: bytes) -> tuple[int, int, bytes, bytes]:
    source_port, destination_port, source, destination = _ADDRESSES.unpack(addresses)
    return (
        source_port,
        destination_port,
        source[:4].ljust(16, b"\0"),
        destination[:4].ljust(16, b"\0"),
    )
