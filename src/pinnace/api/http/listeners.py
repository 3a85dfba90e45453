"""Listeners: where connections come from, and their common end."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pinnace.api.http import peer as peers
from pinnace.api.http.access import AccessPolicy, is_loopback
from pinnace.api.http.connection import Connection
from pinnace.api.http.exchange import App, KnowsImmediate
from pinnace.api.http.head import ListenerInfo, Peer, Request
from pinnace.api.http.limits import Limits
from pinnace.api.http.tls import TlsProtocol, TlsSpec, common_name, server_context
from pinnace.errors import Conflict, InvalidParameter, Unavailable

_BACKLOG: Final = 1024
_UNIX_PATH_BYTES: Final = 107
_FIRST_PASSED_FD: Final = 3  # sd_listen_fds(3), SD_LISTEN_FDS_START
_DEFAULT_PORT: Final = 2375
_DEFAULT_TLS_PORT: Final = 2376


@dataclass(frozen=True, slots=True)
class ListenSpec:
    """One address to listen on.

    Attributes:
        address: `unix://PATH`, `tcp://HOST:PORT`, or `fd://` with an optional name or number of
            a socket passed by systemd.
        group: Group that owns a unix socket, by name or number; None: root's.
        mode: File mode of a unix socket.
        tls: Encrypt TCP; without mutual verification the rules of plain TCP hold all the same.
        policy: Who is served.
        limits: What one client may ask.
        environment: Where `fd://` finds LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES.
    """

    address: str
    group: str | int | None = None
    mode: int = 0o660
    tls: TlsSpec | None = None
    policy: AccessPolicy = field(default_factory=AccessPolicy)
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=dict)


async def listen(spec: ListenSpec, app: App) -> "Listener":
    """Open the address of a specification and serve `app` on it.

    Raises:
        InvalidParameter: The address is malformed, or plain TCP would be open to the network.
        Conflict: Somebody listens there already.
        Unavailable: The address, the group or the certificates cannot be used.
    """
    sockets = await _open(spec)
    loop = asyncio.get_running_loop()
    listener = Listener(spec, app, loop)
    try:
        context = None if spec.tls is None else server_context(spec.tls)
        for opened in sockets:
            await listener.serve(opened, context)
    except (OSError, ValueError) as exc:
        await listener.close(grace_s=0)
        for opened in sockets:
            opened.close()
        raise Unavailable(f"cannot listen on {spec.address}: {exc}") from exc
    return listener


class Listener:
    """An open address and its connections.

    Attributes:
        name: The address as configured.
        addresses: Where it really listens; differs from `name` for port 0 and `fd://`.
    """

    def __init__(self, spec: ListenSpec, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self.name = spec.address
        self.addresses: list[str | tuple[str, int]] = []
        self._spec = spec
        self._app = app
        self._loop = loop
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._paths: list[tuple[str, int]] = []

    async def serve(self, opened: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept connections from one listening socket, which belongs to the listener now."""
        factory: Callable[[], asyncio.Protocol]
        if opened.family == socket.AF_UNIX:
            factory = self._factory("unix", tls=False)
            path = opened.getsockname()
            self.addresses.append(path)
            self._remember_path(path)
        else:
            factory = self._factory("tcp", tls=context is not None)
            self.addresses.append(opened.getsockname()[:2])
            if context is not None:
                factory = self._tls_factory(context, factory)
        self._servers.append(await self._accept(opened, factory))

    async def _accept(
        self, opened: socket.socket, factory: Callable[[], asyncio.Protocol]
    ) -> asyncio.Server:
        if opened.family != socket.AF_UNIX:
            return await self._loop.create_server(factory, sock=opened, backlog=_BACKLOG)
        if sys.version_info >= (3, 13):
            # From 3.13 on asyncio removes the file at the end, even when it is systemd's.
            return await self._loop.create_unix_server(
                factory, sock=opened, backlog=_BACKLOG, cleanup_socket=False
            )
        return await self._loop.create_unix_server(factory, sock=opened, backlog=_BACKLOG)

    @property
    def connection_count(self) -> int:
        """Connections open now."""
        return len(self._connections)

    async def close(self, *, grace_s: float = 5.0) -> None:
        """Stop accepting, end idle connections, and give running ones `grace_s` to finish."""
        for server in self._servers:
            server.close()
        self._unlink_own_paths()
        for connection in list(self._connections):
            connection.shut_down()
        if self._connections and grace_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wait_until_empty(), grace_s)
        for connection in list(self._connections):
            connection.abort()
        if self._connections:
            # Aborted transports report their end in the next turns of the loop.
            await self._wait_until_empty()

    def _remember_path(self, path: str) -> None:
        # A socket passed by systemd stays systemd's.
        if self._spec.address.startswith("unix://"):
            self._paths.append((path, Path(path).stat().st_ino))

    def _unlink_own_paths(self) -> None:
        """Remove our socket files, unless another daemon has put its own in their place."""
        for path, inode in self._paths:
            with contextlib.suppress(FileNotFoundError):
                if Path(path).stat().st_ino == inode:
                    Path(path).unlink()
        self._paths.clear()

    async def _wait_until_empty(self) -> None:
        while self._connections:
            self._empty.clear()
            await self._empty.wait()

    def _factory(self, kind: Literal["unix", "tcp"], *, tls: bool) -> Callable[[], Connection]:
        port = _Port(self, ListenerInfo(kind, tls, self.name), self._spec, self._app, self._loop)
        return lambda: Connection(port)

    def _tls_factory(
        self, context: ssl.SSLContext, above: Callable[[], asyncio.Protocol]
    ) -> Callable[[], asyncio.Protocol]:
        deadline = self._spec.limits.handshake_deadline_s
        return lambda: TlsProtocol(context, above, self._loop, handshake_deadline_s=deadline)

    def add(self, connection: Connection) -> bool:
        """Count a connection; False when there are too many."""
        if len(self._connections) >= self._spec.limits.connections:
            return False
        self._connections.add(connection)
        return True

    def discard(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()


class _Port:
    """What the connections of one socket have in common (`connection.Owner`)."""

    def __init__(
        self,
        listener: Listener,
        info: ListenerInfo,
        spec: ListenSpec,
        app: App,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.app = app
        self.limits = spec.limits
        self.info = info
        self.policy = spec.policy
        self.loop = loop
        self.admit = listener.add
        self.discard = listener.discard
        self.is_immediate = _immediate_of(app)

    def identify(self, transport: asyncio.Transport) -> Peer:
        """Find out who is at the other end."""
        if self.info.kind == "unix":
            return peers.identify_unix(transport)
        # A client that vanished without a word must not hold a stream for ever.
        connection = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it may be gone already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if not self.info.tls:
            return peers.identify_tcp(transport)
        cert_cn = common_name(transport.get_extra_info("peercert"))
        if cert_cn is None:
            return peers.identify_tcp(transport)
        remote = transport.get_extra_info("peername")
        return Peer(uid=None, cert_cn=cert_cn, address=remote[0] if remote else None)


def _immediate_of(app: object) -> Callable[[Request], bool]:
    return app.is_immediate if isinstance(app, KnowsImmediate) else _never


def _never(_: Request) -> bool:
    return False


async def _open(spec: ListenSpec) -> list[socket.socket]:
    scheme, separator, rest = spec.address.partition("://")
    if not separator:
        raise InvalidParameter(f"invalid listen address {spec.address}: no scheme")
    match scheme:
        case "unix":
            return [_open_unix(spec, rest)]
        case "tcp":
            return await _open_tcp(spec, rest)
        case "fd":
            return _take_passed(spec, rest)
        case _:
            raise InvalidParameter(f"invalid listen address {spec.address}: unknown scheme")


def _open_unix(spec: ListenSpec, path: str) -> socket.socket:
    if not path.startswith("/") or len(os.fsencode(path)) > _UNIX_PATH_BYTES:
        raise InvalidParameter(f"invalid listen address {spec.address}: needs an absolute path")
    gid = 0 if spec.group is None else peers.find_gid(spec.group)
    if gid is None:
        raise Unavailable(f"cannot listen on {spec.address}: no group {spec.group}")
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(spec.address, path)
        # bind(2) makes the file with the mode of the socket's own inode (unix_bind in
        # net/unix/af_unix.c): nobody can connect before owner and mode are set.
        os.fchmod(opened.fileno(), 0o600)
        opened.bind(path)
        os.chown(path, os.geteuid(), os.getegid() if spec.group is None else gid)
        Path(path).chmod(spec.mode)
        opened.listen(_BACKLOG)
    except OSError as exc:
        opened.close()
        raise Unavailable(f"cannot listen on {spec.address}: {exc.strerror}") from exc
    except Conflict:
        opened.close()
        raise
    return opened


def _remove_stale(address: str, path: str) -> None:
    """Remove the socket of a daemon that died; refuse anything else in its place."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"cannot listen on {address}: the path exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:
            # A full backlog has a living owner.
            pass
    raise Conflict(f"cannot listen on {address}: another daemon listens there")


async def _open_tcp(spec: ListenSpec, rest: str) -> list[socket.socket]:
    host, port = _split_host_port(spec, rest)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as exc:
        raise Unavailable(f"cannot listen on {spec.address}: {exc.strerror}") from exc
    opened: list[socket.socket] = []
    try:
        for family, kind, protocol, _name, address in dict.fromkeys(found):
            _check_exposure(spec, str(address[0]))
            opened.append(_bind_tcp(family, kind, protocol, address))
    except OSError as exc:
        _close_all(opened)
        raise _bind_failure(spec, exc) from exc
    except InvalidParameter:
        _close_all(opened)
        raise
    return opened


def _check_exposure(spec: ListenSpec, ip: str) -> None:
    """Refuse to serve a network without mutual TLS."""
    mutual = spec.tls is not None and spec.tls.verify
    if not mutual and not spec.policy.open_network and not is_loopback(ip):
        raise InvalidParameter(
            f"invalid listen address {spec.address}: TCP beyond loopback needs TLS with verified"
            " clients"
        )


def _split_host_port(spec: ListenSpec, rest: str) -> tuple[str, int]:
    host, _, port = rest.rstrip("/").rpartition(":")
    if not host and not rest.startswith(":"):
        host, port = port, ""
    default = _DEFAULT_PORT if spec.tls is None else _DEFAULT_TLS_PORT
    if port and not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise InvalidParameter(f"invalid listen address {spec.address}: bad port")
    return host.strip("[]") or "127.0.0.1", int(port) if port else default


def _bind_tcp(
    family: int, kind: int, protocol: int, address: tuple[str | int, ...] | tuple[int, bytes]
) -> socket.socket:
    opened = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _bind_failure(spec: ListenSpec, exc: OSError) -> Conflict | Unavailable:
    text = f"cannot listen on {spec.address}: {exc.strerror}"
    return Conflict(text) if exc.errno == errno.EADDRINUSE else Unavailable(text)


def _close_all(sockets: list[socket.socket]) -> None:
    for opened in sockets:
        opened.close()


def _take_passed(spec: ListenSpec, wanted: str) -> list[socket.socket]:
    """Return the listening sockets systemd passed; all of them, or those named `wanted`."""
    environment = spec.environment
    count = environment.get("LISTEN_FDS", "0")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        raise Unavailable(f"cannot listen on {spec.address}: no sockets were passed")
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    opened: list[socket.socket] = []
    for index in range(int(count)):
        descriptor = _FIRST_PASSED_FD + index
        name = names[index] if index < len(names) else ""
        if wanted in ("", str(descriptor), name):
            opened.append(_adopt(spec, descriptor))
    if not opened:
        raise Unavailable(f"cannot listen on {spec.address}: no such socket was passed")
    return opened


def _adopt(spec: ListenSpec, descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's signature
    opened = socket.socket(fileno=descriptor)
    opened.setblocking(False)  # noqa: FBT003 - the standard library's signature
    if opened.family in (socket.AF_INET, socket.AF_INET6):
        try:
            _check_exposure(spec, opened.getsockname()[0])
        except InvalidParameter:
            opened.close()
            raise
    return opened
