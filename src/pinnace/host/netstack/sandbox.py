"""Sandboxes: network namespaces with lo and veth ends. Called on the namespace thread.

A sandbox needs a few dozen system calls; docs/adr/0004 says why they happen here.
"""

import logging
import socket
from collections.abc import Sequence
from pathlib import Path

from pinnace.contracts.netstack import EndpointSpec
from pinnace.host.kernel.namespaces import NamespaceThread, pin, unpin
from pinnace.host.netstack import links
from pinnace.host.netstack.netlink import Message, NetlinkSocket

log = logging.getLogger(__name__)

_SYSCTL = Path("/proc/sys/net")
_LOOPBACK_INDEX = 1
_BRIDGE_CALLS_NETFILTER = _SYSCTL / "bridge/bridge-nf-call-iptables"


def create(
    thread: NamespaceThread, netlink: NetlinkSocket, path: Path, endpoints: Sequence[EndpointSpec]
) -> None:
    """Make a namespace at `path` with lo and the endpoints up.

    Args:
        thread: Where this runs.
        netlink: Socket in the host's namespace.
        path: File to create.
        endpoints: Interfaces.

    Raises:
        FileExistsError: `path` is taken.
        OSError: The kernel refused. Nothing remains: the links go with the namespace.
    """
    hairpin, has_ipv6 = _bridges_translate(), (_SYSCTL / "ipv6").exists()
    masters = {spec.bridge: socket.if_nametoindex(spec.bridge) for spec in endpoints}
    with thread.visit_new() as namespace:
        pin(path)
        try:
            _set_defaults()
            with NetlinkSocket() as inside:
                inside.talk([links.raise_link(_LOOPBACK_INDEX)])
                for spec in endpoints:
                    veth = _veth(spec, namespace, masters[spec.bridge])
                    port = links.raise_port(
                        spec.host_link,
                        isolated=spec.isolated,
                        hairpin=hairpin,
                        has_ipv6=has_ipv6,
                    )
                    netlink.talk([veth, port])
                    _configure(netlink, inside, spec)
        except OSError:
            unpin(path)
            raise


def remove(netlink: NetlinkSocket, path: Path, host_links: Sequence[str]) -> None:
    """Drop the namespace at `path`. Idempotent.

    The kernel removes the links when the namespace ends, a little later. They are silenced first,
    so that their addresses can be used again at once.
    """
    if host_links:
        netlink.talk([links.silence_port(name) for name in host_links])
    unpin(path)


def host_links_of(thread: NamespaceThread, netlink: NetlinkSocket, path: Path) -> list[str]:
    """Find the host ends of a sandbox's links, for one that an earlier daemon made."""
    try:
        with thread.visit(path), NetlinkSocket() as inside:
            peers = {
                link.peer for link in links.list_links(inside).values() if link.kind == "veth"
            }
    except OSError as exc:
        log.info(
            "no namespace behind a sandbox file", extra={"path": str(path), "cause": str(exc)}
        )
        return []
    return [link.name for link in links.list_links(netlink).values() if link.index in peers]


def _set_defaults() -> None:
    """Set what interfaces are born with: no IPv6 but on lo, and announcing themselves."""
    _write("ipv6/conf/all/disable_ipv6", "1")
    _write("ipv6/conf/lo/disable_ipv6", "0")
    # Announce IP addresses by gratuitous ARP when the hardware address is set; see _configure.
    _write("ipv4/conf/all/arp_notify", "1")


def _write(name: str, value: str) -> None:
    try:
        (_SYSCTL / name).write_text(value)
    except FileNotFoundError:  # a kernel without IPv6
        log.debug("no such setting", extra={"setting": name})


def _bridges_translate() -> bool:
    """Tell whether packets between bridge ports pass NAT (br_netfilter).

    Then a container that calls its own published port is answered within the bridge, through the
    port the packet came from; otherwise the packet comes back from the host's side.
    """
    try:
        return _BRIDGE_CALLS_NETFILTER.read_text().strip() != "0"
    except FileNotFoundError:
        return False


def _veth(spec: EndpointSpec, namespace: int, master: int) -> Message:
    return links.add_veth(
        spec.host_link,
        master=master,
        peer=spec.name,
        peer_namespace=namespace,
        mtu=spec.mtu,
    )


def _configure(netlink: NetlinkSocket, inside: NetlinkSocket, spec: EndpointSpec) -> None:
    index = socket.if_nametoindex(spec.name)  # in the new namespace, where the thread is
    messages = [links.add_address(index, spec.address), links.raise_link(index)]
    if spec.gateway is not None:
        messages.append(links.add_default_route(spec.gateway))
    inside.talk(messages)
    for name in (spec.host_link, spec.bridge):  # a bridge has a carrier from its first port on
        if not links.wait_until_operational(netlink, name):
            log.warning("a link is slow to come up", extra={"link": name})
    # Last, so that its announcement passes: neighbours may remember another for this IP address.
    inside.talk([links.set_mac(index, spec.mac)])
