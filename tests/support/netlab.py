"""A small internet of network namespaces: a "host", and a peer on its only wire.

The stack under test runs with the lab's host as its host, so the machine's own network is not
touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import socket
import subprocess
import threading
import time
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pinnace.contracts.netstack import BridgeSpec, EndpointSpec
from pinnace.host.kernel.namespaces import pin, unpin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

HOST_ADDRESS = "10.99.0.1"
OUTSIDE_ADDRESS = "10.99.0.2"
TIMEOUT_S = 5.0  # for what must arrive
SILENCE_S = 1.0  # for what must not
_CLONE_NEWNET = 0x40000000
_ETH_P_ARP = 0x806
_ARP_SENDER = slice(14, 18)  # RFC 826, with addresses of 6 and 4 bytes
_libc = ctypes.CDLL(None, use_errno=True)


def in_namespace(path: Path | None, job: Callable[[], T]) -> T:
    """Run a job in a thread of its own inside the namespace (None: in a new one)."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            if path is None:
                entered = _libc.unshare(_CLONE_NEWNET)
            else:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                entered = _libc.setns(fd, _CLONE_NEWNET)
                os.close(fd)
            if entered < 0:
                raise OSError(ctypes.get_errno(), "enter namespace", str(path))
            result.append(job())
        except BaseException as exc:
            failure.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


class Server:
    """Answers each TCP connection, or UDP packet, with the peer's address as it sees it."""

    def __init__(self, namespace: Path, address: str, port: int, *, udp: bool = False) -> None:
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        self.socket = in_namespace(namespace, lambda: socket.socket(socket.AF_INET, kind))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((address, port))
        self.port = self.socket.getsockname()[1]
        self.seen: list[str] = []
        self._udp = udp
        if not udp:
            self.socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                if self._udp:
                    data, peer = self.socket.recvfrom(100)
                    if not data:
                        return
                    self.seen.append(peer[0])
                    self.socket.sendto(peer[0].encode(), peer)
                else:
                    connection, peer = self.socket.accept()
                    self.seen.append(peer[0])
                    with connection:
                        connection.sendall(peer[0].encode())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self.socket.close()


def _pin_own(path: Path) -> None:
    """Keep the calling thread's network namespace at a path."""
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pin(path, namespace)
    finally:
        os.close(namespace)


class Lab:
    """Two namespaces and the tools to act in them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = directory / "host"
        self.outside = directory / "outside"
        self._servers: list[Server] = []

    def build(self) -> None:
        for path in (self.host, self.outside):
            in_namespace(None, lambda path=path: _pin_own(path))
            self.run(path, "ip", "link", "set", "lo", "up")
        # A link moves by descriptor only; a process in the other namespace stands for it.
        holder = subprocess.Popen(
            ["nsenter", f"--net={self.outside}", "sh", "-c", "echo; read _"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            holder.stdout.readline()
            peer = ["peer", "name", "wire", "netns", str(holder.pid)]
            self.run(self.host, "ip", "link", "add", "wire", "type", "veth", *peer)
        finally:
            holder.communicate(b"\n")
        for path, address in ((self.host, HOST_ADDRESS), (self.outside, OUTSIDE_ADDRESS)):
            self.run(path, "ip", "address", "add", f"{address}/24", "dev", "wire")
            self.run(path, "ip", "link", "set", "wire", "up")
        for path in (self.host, self.outside):
            deadline = time.monotonic() + 10
            while "state UP" not in self.run(path, "ip", "link", "show", "dev", "wire"):
                assert time.monotonic() < deadline, "the wire does not come up"
        self.run(self.host, "ip", "route", "add", "default", "via", OUTSIDE_ADDRESS)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for path in (self.host, self.outside):
            unpin(path)

    def run(self, namespace: Path, *argv: str, check: bool = True) -> str:
        command = ["nsenter", f"--net={namespace}", *argv]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, (argv, done.stderr)
        return done.stdout

    def serve(
        self, namespace: Path | str, port: int, *, address: str = "", udp: bool = False
    ) -> Server:
        server = Server(Path(namespace), address, port, udp=udp)
        self._servers.append(server)
        return server

    def ask(
        self,
        namespace: Path | str,
        address: str,
        port: int,
        *,
        udp: bool = False,
        source: tuple[str, int] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> str:
        """Connect and return the address which the server saw; OSError if refused or silent."""
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        made = in_namespace(Path(namespace), lambda: socket.socket(socket.AF_INET, kind))
        with made as client:
            client.settimeout(timeout_s)
            if source is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind(source)
            client.connect((address, port))
            if udp:
                client.send(b"?")
            return client.recv(100).decode()

    def cannot_reach(self, namespace: Path | str, address: str, port: int, **how: object) -> bool:
        try:
            self.ask(namespace, address, port, timeout_s=SILENCE_S, **how)  # type: ignore[arg-type]
        except OSError:
            return True
        return False

    def sysctl(self, namespace: Path | str, name: str) -> str:
        path = Path("/proc/sys") / name
        return in_namespace(Path(namespace), lambda: path.read_text().strip())

    def link_names(self, namespace: Path | str) -> set[str]:
        found = in_namespace(Path(namespace), socket.if_nameindex)
        return {name for _, name in found}

    @contextlib.contextmanager
    def listening_for_arp(self, namespace: Path | str) -> Iterator[Iterator[str]]:
        """Yield the addresses that ARP packets arriving in a namespace come from, in order."""
        listener = in_namespace(
            Path(namespace),
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ARP)),
        )
        with listener:
            listener.settimeout(TIMEOUT_S)
            yield (socket.inet_ntoa(listener.recv(100)[_ARP_SENDER]) for _ in itertools.count())


@contextlib.contextmanager
def lab(directory: Path) -> Iterator[Lab]:
    made = Lab(directory)
    try:
        made.build()
        yield made
    finally:
        made.close()


BRIDGE = BridgeSpec("pnt0", IPv4Interface("172.29.0.1/24"))


def an_endpoint(number: int = 2, *, bridge: BridgeSpec = BRIDGE, link: str = "") -> EndpointSpec:
    """Build the endpoint with the subnet's n-th address."""
    address = bridge.gateway.network.network_address + number
    mac = ":".join(f"{part:02x}" for part in b"\x02\x42" + address.packed)
    return EndpointSpec(
        bridge=bridge.name,
        host_link=link or f"pn{int(address):09x}",
        name="eth0",
        address=IPv4Interface((address, bridge.gateway.network.prefixlen)),
        gateway=None if bridge.internal else bridge.gateway.ip,
        mac=mac,
        mtu=bridge.mtu,
        isolated=not bridge.icc,
    )


def address_of(number: int, bridge: BridgeSpec = BRIDGE) -> IPv4Address:
    return bridge.gateway.network.network_address + number
