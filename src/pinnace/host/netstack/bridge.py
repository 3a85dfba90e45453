"""Bridges: made, corrected, removed. Called on the namespace thread, at home."""

import logging
import socket
from ipaddress import IPv4Interface
from pathlib import Path

from pinnace.contracts.netstack import BridgeSpec
from pinnace.errors import Conflict
from pinnace.host.netstack import links
from pinnace.host.netstack.netlink import Message, NetlinkSocket

log = logging.getLogger(__name__)

_SYSCTL = Path("/proc/sys/net")


def ensure(netlink: NetlinkSocket, spec: BridgeSpec, *, alias: str) -> int:
    """Create or correct the bridge; return its link index.

    An existing bridge that does not carry our alias is the administrator's: it gets our address
    beside its own, and `remove` leaves it.

    Raises:
        Conflict: The name belongs to a link that is not a bridge.
        OSError: The kernel refused.
    """
    existing = links.list_links(netlink).get(spec.name)
    if existing is not None and existing.kind != "bridge":
        raise Conflict(f"{spec.name} exists and is not a bridge")
    if existing is None:
        mac = mac_of(spec.gateway)
        netlink.talk([links.add_bridge(spec.name, mac=mac, mtu=spec.mtu)])
        netlink.talk([links.set_alias(spec.name, alias)])
    is_ours = existing is None or existing.alias == alias
    index = socket.if_nametoindex(spec.name)
    _write_sysctl(f"ipv6/conf/{spec.name}/disable_ipv6", "1", must=False)
    _write_sysctl(f"ipv4/conf/{spec.name}/route_localnet", "1")
    changes = _address_changes(netlink, index, spec.gateway, replace=is_ours)
    mtu = spec.mtu if existing is not None and existing.mtu != spec.mtu and is_ours else None
    netlink.talk([*changes, links.raise_link(index, mtu=mtu)])
    return index


def remove(netlink: NetlinkSocket, name: str, *, alias: str) -> None:
    """Remove the bridge if it carries our alias. Idempotent."""
    link = links.list_links(netlink).get(name)
    if link is not None and link.alias == alias:
        netlink.talk([links.delete_link(name)])


def enable_forwarding() -> bool:
    """Turn on the host's IPv4 forwarding; return whether it was off."""
    if (_SYSCTL / "ipv4/ip_forward").read_text().strip() != "0":
        return False
    _write_sysctl("ipv4/ip_forward", "1")
    log.warning("turned on IPv4 forwarding: containers need net.ipv4.ip_forward=1")
    return True


def mac_of(address: IPv4Interface) -> str:
    """Derive a locally administered hardware address, 02:42 and the four bytes of the IP."""
    return ":".join(f"{part:02x}" for part in b"\x02\x42" + address.ip.packed)


def _address_changes(
    netlink: NetlinkSocket, index: int, wanted: IPv4Interface, *, replace: bool
) -> list[Message]:
    present = [address for owner, address in links.list_addresses(netlink) if owner == index]
    changes: list[Message] = []
    if replace:
        stale = [address for address in present if address != wanted]
        changes += [links.delete_address(index, address) for address in stale]
    if wanted not in present:
        changes.append(links.add_address(index, wanted))
    return changes


def _write_sysctl(name: str, value: str, *, must: bool = True) -> None:
    try:
        (_SYSCTL / name).write_text(value)
    except FileNotFoundError:
        if must:  # a kernel without IPv6 has no such file and needs none
            raise
