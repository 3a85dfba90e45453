"""Host ports for containers: what was asked for, and claiming it."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from pinnace.contracts.netstack import NetStack, Published
from pinnace.errors import Conflict, InvalidParameter, NotSupported
from pinnace.model.endpoint import PortBinding, PortMap

log = logging.getLogger(__name__)

_PROTOCOLS = ("tcp", "udp", "sctp")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class WantedPort:
    """A container port that shall be reachable at the host.

    Attributes:
        proto: `tcp`, `udp` or `sctp`.
        container_port: 1..65535.
        host_ip: Address of the host; 0.0.0.0: all.
        first: Lowest acceptable host port; 0: any ephemeral one.
        last: Highest acceptable host port.
    """

    proto: str
    container_port: int
    host_ip: IPv4Address
    first: int = 0
    last: int = 0


def wanted_ports(
    bindings: PortMap | None,
    exposed: Iterable[str],
    *,
    publish_all: bool,
    default_ip: IPv4Address,
) -> list[WantedPort]:
    """Read what a container asks for, sorted by container port and protocol.

    Args:
        bindings: `HostConfig.PortBindings`.
        exposed: Ports the image or the container exposes, as `80/tcp`.
        publish_all: Publish every exposed port that has no binding at an ephemeral port.
        default_ip: Host address where a binding names none.

    Raises:
        InvalidParameter: A port or an address cannot be read.
        NotSupported: An IPv6 host address.
    """
    asked = {split_port(key): found or [] for key, found in (bindings or {}).items()}
    if publish_all:
        for key in exposed:
            if not asked.get(split_port(key)):
                asked[split_port(key)] = [PortBinding()]
    return [
        _wanted(port, proto, binding, default_ip)
        for (port, proto), found in sorted(asked.items())
        for binding in found
    ]


def split_port(key: str) -> tuple[int, str]:
    """Split `80/tcp`, or `80` which means TCP.

    Raises:
        InvalidParameter: Neither form.
    """
    number, _, proto = key.partition("/")
    proto = (proto or "tcp").lower()
    if proto not in _PROTOCOLS:
        raise InvalidParameter(f"invalid port specification: {_quoted(key)}: invalid proto")
    return _port(number, key), proto


async def claim(
    stack: NetStack, wanted: Sequence[WantedPort], container_ip: IPv4Address
) -> list[Published]:
    """Reserve host ports for all that is wanted, or for nothing.

    Raises:
        Conflict: A port, or every port of a range, is in use.
    """
    claimed: list[Published] = []
    async with AsyncExitStack() as undo:
        undo.push_async_callback(release, stack, claimed)
        for port in wanted:
            host_port = await _reserve(stack, port)
            claimed.append(
                Published(port.proto, port.host_ip, host_port, container_ip, port.container_port)
            )
        undo.pop_all()
    return claimed


async def release(stack: NetStack, claimed: Iterable[Published]) -> None:
    """Give reserved host ports back. Idempotent."""
    for port in claimed:
        await stack.release(port.proto, port.host_ip, port.host_port)


def port_map(published: Iterable[Published], exposed: Iterable[str]) -> PortMap:
    """Show ports as `NetworkSettings.Ports`: published ones with their bindings, others null."""
    shown: dict[str, list[PortBinding]] = {}
    for port in published:
        binding = PortBinding(host_ip=str(port.host_ip), host_port=str(port.host_port))
        shown.setdefault(f"{port.container_port}/{port.proto}", []).append(binding)
    keys = {"{}/{}".format(*split_port(key)) for key in exposed}
    return {key: shown.get(key) for key in sorted(keys | shown.keys(), key=split_port)}


def published_ports(ports: PortMap, container_ip: IPv4Address) -> list[Published]:
    """Read `port_map` back."""
    return [
        Published(proto, IPv4Address(binding.host_ip), int(binding.host_port), container_ip, port)
        for (port, proto), bindings in ((split_port(k), found) for k, found in ports.items())
        for binding in bindings or []
    ]


async def _reserve(stack: NetStack, wanted: WantedPort) -> int:
    for candidate in range(wanted.first, wanted.last + 1):
        try:
            return await stack.reserve(wanted.proto, wanted.host_ip, candidate)
        except Conflict:
            if candidate == wanted.last:
                raise
    raise AssertionError("a range holds at least one port")


def _wanted(port: int, proto: str, binding: PortBinding, default_ip: IPv4Address) -> WantedPort:
    first, last = _range(binding.host_port)
    return WantedPort(proto, port, _address(binding.host_ip, default_ip), first, last)


def _range(given: str) -> tuple[int, int]:
    low, dash, high = given.partition("-")
    if given in {"", "0"}:
        return 0, 0
    first = _port(low, given)
    last = _port(high, given) if dash else first
    if last < first:
        raise InvalidParameter(f"invalid port range: {_quoted(given)}")
    return first, last


def _port(number: str, given: str) -> int:
    # int() also takes signs, blanks, underscores and other scripts' digits
    if not (number.isascii() and number.isdecimal() and 0 < int(number) <= _HIGHEST_PORT):
        raise InvalidParameter(f"invalid port specification: {_quoted(given)}")
    return int(number)


def _address(given: str, default: IPv4Address) -> IPv4Address:
    if not given:
        return default
    if ":" in given:
        raise NotSupported(f"publishing ports on an IPv6 address is not supported: {given}")
    try:
        return IPv4Address(given)
    except AddressValueError as exc:
        raise InvalidParameter(f"invalid host IP address: {_quoted(given)}") from exc


def _quoted(text: str) -> str:
    return f'"{text}"'
