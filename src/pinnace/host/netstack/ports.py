"""Claims on host ports, each held by a bound socket.

The socket makes a conflict visible to everyone: a server on the host, another engine, a second
daemon. It is bound, not listening: should the packet rules be flushed, clients are refused at once
rather than left hanging.
"""

import errno
import os
import socket
from ipaddress import IPv4Address

from pinnace.errors import Conflict, InvalidParameter

_FIRST_EPHEMERAL, _LAST_EPHEMERAL = 49153, 65535
_ANY = IPv4Address("0.0.0.0")  # noqa: S104  compared with, not bound
_SOCKET_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}
_UNKNOWN_TO_KERNEL = {errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT}

_Key = tuple[str, IPv4Address, int]


class PortClaims:
    """Host ports claimed in the namespace of the thread that calls; not thread-safe."""

    def __init__(self) -> None:
        self._held: dict[_Key, socket.socket | None] = {}
        self._next_ephemeral = _FIRST_EPHEMERAL

    def reserve(self, proto: str, host_ip: IPv4Address, port: int) -> int:
        """Claim a port, 0 for a free ephemeral one; return it. See `NetStack.reserve`."""
        if proto not in _SOCKET_TYPES:
            raise InvalidParameter(f"invalid proto: {proto}")
        if port:
            self._claim(proto, host_ip, port)
            return port
        span = _LAST_EPHEMERAL - _FIRST_EPHEMERAL + 1
        for _ in range(span):
            candidate = self._next_ephemeral
            self._next_ephemeral += 1
            if self._next_ephemeral > _LAST_EPHEMERAL:
                self._next_ephemeral = _FIRST_EPHEMERAL
            try:
                self._claim(proto, host_ip, candidate)
            except _InUse:
                continue
            return candidate
        raise Conflict("all ports are allocated")

    def release(self, proto: str, host_ip: IPv4Address, port: int) -> None:
        """Give a port back. Idempotent."""
        held = self._held.pop((proto, host_ip, port), None)
        if held is not None:
            held.close()

    def close(self) -> None:
        """Give all ports back."""
        for held in self._held.values():
            if held is not None:
                held.close()
        self._held.clear()

    def _claim(self, proto: str, host_ip: IPv4Address, port: int) -> None:
        for other_proto, other_ip, other_port in self._held:
            overlaps = other_ip == host_ip or _ANY in {other_ip, host_ip}
            if (other_proto, other_port) == (proto, port) and overlaps:
                raise _InUse(f"Bind for {host_ip}:{port} failed: port is already allocated")
        try:
            self._held[proto, host_ip, port] = _bind(proto, host_ip, port)
        except OSError as exc:
            reason = os.strerror(exc.errno or 0)
            text = f"failed to bind host port {host_ip}:{port}/{proto}: {_go_spelling(reason)}"
            raise (_InUse if exc.errno == errno.EADDRINUSE else Conflict)(text) from exc


class _InUse(Conflict):
    """The port is held by somebody."""


def _bind(proto: str, host_ip: IPv4Address, port: int) -> socket.socket | None:
    try:
        return _bound(proto, host_ip, port, over_leftovers=False)
    except OSError as exc:
        if exc.errno in _UNKNOWN_TO_KERNEL:
            return None  # SCTP without its module: nobody else on this host can hold the port
        if exc.errno != errno.EADDRINUSE or proto == "udp":
            raise
    # Connections of a server that has ended linger (TIME_WAIT) and are in nobody's way. Only a
    # listener conflicts with everybody else although it reuses the address.
    return _bound(proto, host_ip, port, over_leftovers=True)


def _bound(proto: str, host_ip: IPv4Address, port: int, *, over_leftovers: bool) -> socket.socket:
    protocol = socket.IPPROTO_SCTP if proto == "sctp" else 0
    claim = socket.socket(socket.AF_INET, _SOCKET_TYPES[proto] | socket.SOCK_CLOEXEC, protocol)
    try:
        if over_leftovers:
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if proto == "udp":
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        claim.bind((str(host_ip), port))
        if over_leftovers:
            claim.listen(0)
    except OSError:
        claim.close()
        raise
    return claim


def _go_spelling(reason: str) -> str:
    # Docker's texts carry Go's lower-case spelling of the same system errors.
    return reason[:1].lower() + reason[1:]
