"""rtnetlink messages for links, addresses and routes.

Numbers are those of include/uapi/linux/{rtnetlink,if_link,if_addr}.h.
"""

import errno
import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from pinnace.host.netstack.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    NetlinkSocket,
    attribute,
    attributes_of,
    byte,
    nested,
    number,
    text,
)

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_OPERSTATE, _OPERSTATE_UP = 16, b"\x06"
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 18, 20, 26, 28
_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE = 8, 1
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER = 1
_IFLA_BR_FORWARD_DELAY, _IFLA_BR_STP_STATE = 1, 5
_IFLA_BRPORT_MODE, _IFLA_BRPORT_FLUSH, _IFLA_BRPORT_ISOLATED = 4, 24, 33
_IFLA_BRPORT_LEARNING, _IFLA_BRPORT_UNICAST_FLOOD = 8, 9
_IFLA_BRPORT_MCAST_FLOOD, _IFLA_BRPORT_BCAST_FLOOD = 27, 30
_DELIVERY = (
    _IFLA_BRPORT_LEARNING,
    _IFLA_BRPORT_UNICAST_FLOOD,
    _IFLA_BRPORT_MCAST_FLOOD,
    _IFLA_BRPORT_BCAST_FLOOD,
)
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_DST, _RTA_GATEWAY = 1, 5
_RT_TABLE_MAIN, _RTPROT_BOOT, _RTN_UNICAST = 254, 3, 1
_IFF_UP = 1

_CARRIER_TRIES, _CARRIER_PAUSE_S = 200, 0.0005

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel lists it.

    Attributes:
        index: Number within its namespace.
        name: Interface name.
        kind: "veth", "bridge", …; "" for physical ones and lo.
        mtu: Bytes.
        master: Index of the bridge it is a port of; 0: none.
        peer: Index of a veth's other end, in that end's namespace; 0: none.
        is_up: Administratively up.
        alias: Free text that marks who made it.
    """

    index: int
    name: str
    kind: str
    mtu: int
    master: int
    peer: int
    is_up: bool
    alias: str


def mac_bytes(mac: str) -> bytes:
    """Turn `02:42:ac:11:00:02` into six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def add_bridge(name: str, *, mac: str, mtu: int) -> Message:
    """Create a bridge: no spanning tree, no forward delay, an address that ports do not change."""
    data = nested(
        _IFLA_INFO_DATA, number(_IFLA_BR_FORWARD_DELAY, 0), number(_IFLA_BR_STP_STATE, 0)
    )
    info = nested(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"bridge"), data)
    body = (
        _link()
        + text(_IFLA_IFNAME, name)
        + attribute(_IFLA_ADDRESS, mac_bytes(mac))
        + number(_IFLA_MTU, mtu)
        + info
    )
    return Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, what=f"create bridge {name}")


def add_veth(
    name: str,
    *,
    master: int,
    peer: str,
    peer_index: int,
    peer_namespace: int,
    peer_mac: str,
    mtu: int,
) -> Message:
    """Create a veth pair, both ends down: this one on the bridge, the other in a namespace.

    A peer created up fails ("Transport endpoint is not connected"): raise it afterwards.

    Args:
        name: Host end.
        master: Index of the bridge.
        peer: Name of the other end.
        peer_index: Index of the other end in its namespace, a free one.
        peer_namespace: Descriptor of the namespace the other end is born in.
        peer_mac: Hardware address of the other end.
        mtu: Bytes, both ends.
    """
    other = (
        _link(peer_index)
        + text(_IFLA_IFNAME, peer)
        + attribute(_IFLA_ADDRESS, mac_bytes(peer_mac))
        + number(_IFLA_NET_NS_FD, peer_namespace)
        + number(_IFLA_MTU, mtu)
    )
    data = nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, other))
    info = nested(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"veth"), data)
    body = (
        _link()
        + text(_IFLA_IFNAME, name)
        + number(_IFLA_MTU, mtu)
        + number(_IFLA_MASTER, master)
        + info
    )
    what = f"create veth pair {name}"
    return Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, what=what)


def raise_port(name: str, *, isolated: bool, hairpin: bool, has_ipv6: bool) -> Message:
    """Set a bridge port up, say how it forwards, and give it no IPv6 address of its own.

    Args:
        name: Link.
        has_ipv6: The kernel knows IPv6; one that does not refuses to hear of it.
        isolated: It talks to the bridge only, not to other isolated ports.
        hairpin: A packet may leave through the port it came in by.
    """
    attributes = byte(_IFLA_BRPORT_ISOLATED, isolated) + byte(_IFLA_BRPORT_MODE, hairpin)
    body = _link(flags=_IFF_UP, change=_IFF_UP) + text(_IFLA_IFNAME, name)
    if has_ipv6:
        mode = byte(_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE)
        body += nested(_IFLA_AF_SPEC, nested(socket.AF_INET6, mode))
    return Message(_RTM_NEWLINK, 0, body + _port_data(attributes), what=f"raise port {name}")


def silence_port(name: str) -> Message:
    """Deliver no more packets to a bridge port. Idempotent.

    A namespace dies some milliseconds after its last holder; until then its end of the pair would
    answer for an address that may already belong to somebody else.
    """
    # Not by IFLA_BRPORT_STATE: the change itself makes the bridge look at the port's carrier, and
    # enable it again (br_port_carrier_check). What is learnt and flooded stays as it is set here.
    attributes = b"".join(byte(kind, 0) for kind in _DELIVERY)
    attributes += attribute(_IFLA_BRPORT_FLUSH, b"")
    silent = frozenset({errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENETDOWN})
    body = _link() + text(_IFLA_IFNAME, name) + _port_data(attributes)
    return Message(_RTM_NEWLINK, 0, body, silent, f"silence {name}")


def raise_link(index: int, *, mtu: int | None = None) -> Message:
    """Set a link up, and its MTU if given. Idempotent."""
    body = _link(index, flags=_IFF_UP, change=_IFF_UP)
    if mtu is not None:
        body += number(_IFLA_MTU, mtu)
    return Message(_RTM_NEWLINK, 0, body, what=f"set link {index} up")


def set_mac(index: int, mac: str) -> Message:
    """Give a link its hardware address; it may be the one it has.

    On a link that is up and set to `arp_notify` this announces its IP addresses.
    """
    body = _link(index) + attribute(_IFLA_ADDRESS, mac_bytes(mac))
    return Message(_RTM_NEWLINK, 0, body, what=f"set hardware address {mac}")


def wait_until_operational(netlink: NetlinkSocket, name: str) -> bool:
    """Wait until packets pass through a link that has just got its carrier.

    The kernel acts on a new carrier from a work queue: it lets the bridge use a port, and a link
    send. What is sent before that is lost, to be repeated a second later. Asking for the link
    makes newer kernels do that work at once (rtnl_getlink, linkwatch_sync_dev); on older ones it
    is a matter of milliseconds.

    Returns:
        Whether it does; False after about 100 ms, which no caller needs to care about.
    """
    request = Message(_RTM_GETLINK, 0, _link() + text(_IFLA_IFNAME, name), what=f"get link {name}")
    for _ in range(_CARRIER_TRIES):
        attributes = attributes_of(netlink.ask(request)[_LINK.size :])
        if attributes.get(_IFLA_OPERSTATE) == _OPERSTATE_UP:
            return True
        time.sleep(_CARRIER_PAUSE_S)
    return False


def set_alias(name: str, alias: str) -> Message:
    """Mark a link with a text, shown by `ip link`. Idempotent."""
    body = _link() + text(_IFLA_IFNAME, name) + attribute(_IFLA_IFALIAS, alias.encode())
    return Message(_RTM_NEWLINK, 0, body, what=f"mark link {name}")


def delete_link(name: str) -> Message:
    """Delete a link. Idempotent."""
    body = _link() + text(_IFLA_IFNAME, name)
    gone = frozenset({errno.ENODEV})
    return Message(_RTM_DELLINK, 0, body, gone, what=f"delete link {name}")


def add_address(index: int, address: IPv4Interface) -> Message:
    """Give a link an address. Idempotent."""
    packed = address.ip.packed
    body = _ADDRESS.pack(socket.AF_INET, address.network.prefixlen, 0, 0, index)
    body += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    if address.network.prefixlen < 31:
        body += attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    there = frozenset({errno.EEXIST})
    what = f"add address {address}"
    return Message(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, there, what)


def delete_address(index: int, address: IPv4Interface) -> Message:
    """Take an address from a link. Idempotent."""
    body = _ADDRESS.pack(socket.AF_INET, address.network.prefixlen, 0, 0, index)
    body += attribute(_IFA_LOCAL, address.ip.packed)
    gone = frozenset({errno.EADDRNOTAVAIL})
    return Message(_RTM_DELADDR, 0, body, gone, what=f"delete address {address}")


def add_default_route(gateway: IPv4Address) -> Message:
    """Add the default route."""
    header = _ROUTE.pack(socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, 0)
    body = header + attribute(_RTA_GATEWAY, gateway.packed)
    what = f"add default route via {gateway}"
    return Message(_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, what=what)


def exists(name: str) -> bool:
    """Tell whether the calling thread's namespace has a link of this name."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def list_links(netlink: NetlinkSocket) -> dict[str, Link]:
    """List the links of the socket's namespace, by name."""
    found: dict[str, Link] = {}
    for kind, body in netlink.dump(Message(_RTM_GETLINK, 0, _link(), what="list links")):
        if kind != _RTM_NEWLINK:
            continue
        _, _, index, flags, _ = _LINK.unpack_from(body)
        attributes = attributes_of(body[_LINK.size :])
        info = attributes_of(attributes.get(_IFLA_LINKINFO, b""))
        link = Link(
            index=index,
            name=_string(attributes.get(_IFLA_IFNAME, b"")),
            kind=_string(info.get(_IFLA_INFO_KIND, b"")),
            mtu=_integer(attributes.get(_IFLA_MTU)),
            master=_integer(attributes.get(_IFLA_MASTER)),
            peer=_integer(attributes.get(_IFLA_LINK)),
            is_up=bool(flags & _IFF_UP),
            alias=_string(attributes.get(_IFLA_IFALIAS, b"")),
        )
        found[link.name] = link
    return found


def list_addresses(netlink: NetlinkSocket) -> list[tuple[int, IPv4Interface]]:
    """List the IPv4 addresses of the socket's namespace as (link index, address)."""
    found: list[tuple[int, IPv4Interface]] = []
    request = Message(
        _RTM_GETADDR, 0, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0), what="list addresses"
    )
    for kind, body in netlink.dump(request):
        if kind != _RTM_NEWADDR:
            continue
        _, length, _, _, index = _ADDRESS.unpack_from(body)
        local = attributes_of(body[_ADDRESS.size :]).get(_IFA_LOCAL)
        if local is not None:
            found.append((index, IPv4Interface((local, length))))
    return found


def list_routes(netlink: NetlinkSocket) -> list[IPv4Network]:
    """List the destinations of the socket's namespace's main routing table, default excluded."""
    found: list[IPv4Network] = []
    request = Message(
        _RTM_GETROUTE, 0, _ROUTE.pack(socket.AF_INET, *([0] * 8)), what="list routes"
    )
    for kind, body in netlink.dump(request):
        if kind != _RTM_NEWROUTE:
            continue
        _, length, _, _, table, *_ = _ROUTE.unpack_from(body)
        target = attributes_of(body[_ROUTE.size :]).get(_RTA_DST)
        if table == _RT_TABLE_MAIN and target is not None:
            found.append(IPv4Network((target, length)))
    return found


def _link(index: int = 0, *, flags: int = 0, change: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, change)


def _port_data(attributes: bytes) -> bytes:
    return nested(
        _IFLA_LINKINFO,
        attribute(_IFLA_INFO_SLAVE_KIND, b"bridge"),
        nested(_IFLA_INFO_SLAVE_DATA, attributes),
    )


def _string(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _integer(data: bytes | None) -> int:
    return int(struct.unpack("=I", data)[0]) if data else 0
