"""Which addresses are whose; pure.

The lowest free address is given out, as dockerd does: a container that is started again usually
gets the address it had.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from pinnace.errors import Forbidden, InvalidParameter, Unavailable

_BITS = 32
# dockerd's pools for local networks: (range, prefix length of a subnet).
_DEFAULT_POOLS = (
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
)


class AddressInUse(Forbidden):
    """Somebody has the address.

    Args:
        detail: Which address, and who has it; "" adds nothing to the text.
    """

    def __init__(self, detail: str = "") -> None:
        text = "Address already in use"
        super().__init__(f"{text}: {detail}" if detail else text)


class NoAddressLeft(Unavailable):
    """Every address of the network is taken."""

    def __init__(self, network: str) -> None:
        text = f"no available IPv4 addresses on this network's address pools: {network}"
        super().__init__(text)
        self.network = network


class NoPoolLeft(Unavailable):
    """Every default subnet overlaps something the host routes."""

    def __init__(self) -> None:
        super().__init__("all predefined address pools have been fully subnetted")


class AddressPool:
    """The addresses of one subnet; the network, broadcast and gateway addresses are never given.

    Args:
        gateway: The bridge's address and its subnet.
        network: Name and id for error texts, `bridge (0123…)`.
    """

    def __init__(self, gateway: IPv4Interface, *, network: str) -> None:
        self.gateway = gateway
        self._network = network
        subnet = gateway.network
        self._first, self._last = int(subnet.network_address), int(subnet.broadcast_address)
        reserved = {int(gateway.ip)}
        if subnet.prefixlen < _BITS - 1:  # a /31 has no network and broadcast address; RFC 3021
            reserved |= {self._first, self._last}
        self._taken = reserved
        self._reserved = frozenset(reserved)
        self._lowest_candidate = self._first

    @property
    def subnet(self) -> IPv4Network:
        """The subnet."""
        return self.gateway.network

    @property
    def used(self) -> int:
        """How many addresses cannot be given out, those never given included."""
        return len(self._taken)

    @property
    def free(self) -> int:
        """How many addresses can be given out."""
        return self.subnet.num_addresses - len(self._taken)

    def allocate(self, wanted: IPv4Address | None = None) -> IPv4Address:
        """Give out an address: the wanted one, or the lowest free.

        Raises:
            AddressInUse: The wanted address is taken or never given.
            InvalidParameter: It is not in the subnet.
            NoAddressLeft: All are taken.
        """
        if wanted is not None:
            if wanted not in self.subnet:
                raise InvalidParameter(f"no configured subnet contains IP address {wanted}")
            if int(wanted) in self._taken:
                raise AddressInUse
            self._taken.add(int(wanted))
            return wanted
        for candidate in range(self._lowest_candidate, self._last + 1):
            if candidate not in self._taken:
                self._taken.add(candidate)
                self._lowest_candidate = candidate + 1
                return IPv4Address(candidate)
        raise NoAddressLeft(self._network)

    def release(self, address: IPv4Address) -> None:
        """Take an address back. Idempotent."""
        number = int(address)
        if number in self._taken and number not in self._reserved:
            self._taken.remove(number)
            self._lowest_candidate = min(self._lowest_candidate, number)


def choose_gateway(routed: Iterable[IPv4Network]) -> IPv4Interface:
    """Choose the first default subnet that overlaps nothing the host routes.

    Returns:
        The subnet's first address, with its prefix.

    Raises:
        NoPoolLeft: None is free.
    """
    taken = [network for network in routed if network.prefixlen]
    for subnet in _default_subnets():
        if not any(subnet.overlaps(network) for network in taken):
            return IPv4Interface((int(subnet.network_address) + 1, subnet.prefixlen))
    raise NoPoolLeft


def _default_subnets() -> Iterator[IPv4Network]:
    for pool, length in _DEFAULT_POOLS:
        yield from IPv4Network(pool).subnets(new_prefix=length)
