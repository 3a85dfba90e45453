"""A network stack in memory: keeps the contract's promises, moves no packet."""

from collections import deque
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from pinnace.contracts.netstack import BridgeSpec, EndpointSpec, Published
from pinnace.errors import AlreadyExists, Conflict, NotFound, PinnaceError, Unavailable

_ANY = IPv4Address("0.0.0.0")  # noqa: S104  compared with, not bound
_FIRST_EPHEMERAL, _LAST_EPHEMERAL = 49153, 65535

_Key = tuple[str, IPv4Address, int]


class FakeNetStack:
    """`NetStack` without a kernel, and what a test wants to see of it.

    Attributes:
        bridges: By name.
        sandboxes: Endpoints by sandbox.
        reserved: Claimed (protocol, address, port).
        published: Where they lead, by the same key.
        foreign: Ports that a test says are held by some process of the host.
        host_routes: Networks that a test says the host routes.
        calls: Names of the methods called, in order.
    """

    def __init__(self) -> None:
        self.bridges: dict[str, BridgeSpec] = {}
        self.sandboxes: dict[str, tuple[EndpointSpec, ...]] = {}
        self.reserved: set[_Key] = set()
        self.published: dict[_Key, Published] = {}
        self.foreign: set[_Key] = set()
        self.host_routes: list[IPv4Network] = []
        self.calls: list[str] = []
        self._failures: dict[str, deque[PinnaceError | None]] = {}
        self._next_ephemeral = _FIRST_EPHEMERAL

    def fail_next(self, method: str, error: PinnaceError, *, after: int = 0) -> None:
        """Make a coming call of `method` fail, once, after letting `after` calls pass."""
        self._failures.setdefault(method, deque()).extend([*[None] * after, error])

    async def ensure_bridge(self, bridge: BridgeSpec) -> None:
        """See `NetStack.ensure_bridge`."""
        self._enter("ensure_bridge")
        self.bridges[bridge.name] = bridge

    async def remove_bridge(self, name: str) -> None:
        """See `NetStack.remove_bridge`."""
        self._enter("remove_bridge")
        self.bridges.pop(name, None)
        if not self.bridges:
            self.published.clear()

    async def create_sandbox(self, sandbox: str, endpoints: Sequence[EndpointSpec]) -> str:
        """See `NetStack.create_sandbox`."""
        self._enter("create_sandbox")
        if sandbox in self.sandboxes:
            raise AlreadyExists(f"sandbox {sandbox} exists")
        self.sandboxes[sandbox] = tuple(endpoints)
        return self.sandbox_path(sandbox)

    def sandbox_path(self, sandbox: str) -> str:
        """See `NetStack.sandbox_path`."""
        return f"/fake/netns/{sandbox}"

    async def add_endpoints(self, sandbox: str, endpoints: Sequence[EndpointSpec]) -> None:
        """See `NetStack.add_endpoints`."""
        self._enter("add_endpoints")
        if sandbox not in self.sandboxes:
            raise NotFound(f"no sandbox {sandbox}")
        self.sandboxes[sandbox] += tuple(endpoints)

    async def remove_sandbox(self, sandbox: str) -> None:
        """See `NetStack.remove_sandbox`."""
        self._enter("remove_sandbox")
        self.sandboxes.pop(sandbox, None)

    async def reserve(self, proto: str, host_ip: IPv4Address, port: int) -> int:
        """See `NetStack.reserve`."""
        self._enter("reserve")
        if not port:
            port = self._free_port(proto, host_ip)
        if _conflicts(self.reserved, proto, host_ip, port):
            raise Conflict(f"Bind for {host_ip}:{port} failed: port is already allocated")
        if _conflicts(self.foreign, proto, host_ip, port):
            text = f"failed to bind host port {host_ip}:{port}/{proto}: address already in use"
            raise Conflict(text)
        self.reserved.add((proto, host_ip, port))
        return port

    async def release(self, proto: str, host_ip: IPv4Address, port: int) -> None:
        """See `NetStack.release`."""
        self._enter("release")
        self.reserved.discard((proto, host_ip, port))

    async def publish(self, ports: Sequence[Published]) -> None:
        """See `NetStack.publish`."""
        self._enter("publish")
        if ports and not self.bridges:
            raise Unavailable("the nftables table pinnace is gone")
        self.published.update({_key(port): port for port in ports})

    async def unpublish(self, ports: Sequence[Published]) -> None:
        """See `NetStack.unpublish`."""
        self._enter("unpublish")
        for port in ports:
            self.published.pop(_key(port), None)

    async def bridge_address(self, name: str) -> IPv4Interface | None:
        """See `NetStack.bridge_address`."""
        self._enter("bridge_address")
        return self.bridges[name].gateway if name in self.bridges else None

    async def routes(self) -> Sequence[IPv4Network]:
        """See `NetStack.routes`."""
        self._enter("routes")
        bridges = [spec.gateway.network for spec in self.bridges.values()]
        return sorted([*self.host_routes, *bridges])

    async def repair(self, sandboxes: Sequence[str], ports: Sequence[Published]) -> Sequence[str]:
        """See `NetStack.repair`."""
        self._enter("repair")
        lost = sorted(self.sandboxes.keys() - set(sandboxes))
        stale = set(self.published.values()) - set(ports)
        missing = set(ports) - set(self.published.values())
        self.sandboxes = {k: v for k, v in self.sandboxes.items() if k not in lost}
        self.published = {_key(port): port for port in ports}
        return [
            *[f"removed sandbox {name}" for name in lost],
            *[f"unpublished {p.host_ip}:{p.host_port}/{p.proto}" for p in stale],
            *[f"published {p.host_ip}:{p.host_port}/{p.proto} again" for p in missing],
        ]

    async def warnings(self) -> Sequence[str]:
        """See `NetStack.warnings`."""
        self._enter("warnings")
        return []

    async def teardown(self) -> None:
        """See `NetStack.teardown`."""
        self._enter("teardown")
        self.bridges.clear()
        self.sandboxes.clear()
        self.reserved.clear()
        self.published.clear()

    def _enter(self, method: str) -> None:
        self.calls.append(method)
        failures = self._failures.get(method)
        error = failures.popleft() if failures else None
        if error is not None:
            raise error

    def _free_port(self, proto: str, host_ip: IPv4Address) -> int:
        taken = self.reserved | self.foreign
        while _conflicts(taken, proto, host_ip, self._next_ephemeral):
            self._next_ephemeral += 1
        if self._next_ephemeral > _LAST_EPHEMERAL:
            raise Conflict("all ports are allocated")
        return self._next_ephemeral


def _key(port: Published) -> _Key:
    return port.proto, port.host_ip, port.host_port


def _conflicts(held: set[_Key], proto: str, host_ip: IPv4Address, port: int) -> bool:
    return any(
        (other_proto, other_port) == (proto, port)
        and (other_ip == host_ip or _ANY in {other_ip, host_ip})
        for other_proto, other_ip, other_port in held
    )
