"""Sandboxes: network namespaces with lo and veth ends. Called on the namespace thread.

A sandbox needs a few dozen system calls; docs/adr/0004 says why they happen here.
"""

import errno
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from pinnace.contracts.netstack import EndpointSpec
from pinnace.host.kernel.namespaces import NamespaceThread, unpin
from pinnace.host.netstack import links
from pinnace.host.netstack.netlink import NetlinkSocket

log = logging.getLogger(__name__)

_SYSCTL = Path("/proc/sys/net")
_LOOPBACK_INDEX = 1
_BRIDGE_CALLS_NETFILTER = _SYSCTL / "bridge/bridge-nf-call-iptables"


class Namespace:
    """A network namespace with lo up and what interfaces are born with set, and no name yet.

    It lives as long as its descriptors, so what holds none of them leaves nothing behind.

    Attributes:
        fd: Descriptor of the namespace.
        netlink: Socket in it.
        free_index: From here on no interface has this index.
    """

    def __init__(self, thread: NamespaceThread) -> None:
        """Make one, on the namespace thread.

        Raises:
            OSError: The kernel refused.
        """
        with thread.visit_new() as fd, ExitStack() as undo:
            self.netlink = undo.enter_context(NetlinkSocket())
            _set_defaults()
            self.netlink.talk([links.raise_link(_LOOPBACK_INDEX)])
            # There may be more than lo: kernels with tunnels give every namespace some.
            self.free_index = 1 + max(index for index, _ in socket.if_nameindex())
            self.fd = os.dup(fd)
            undo.pop_all()

    def close(self) -> None:
        """Let go; it ends unless it was pinned."""
        self.netlink.close()
        os.close(self.fd)


def connect(
    thread: NamespaceThread,
    netlink: NetlinkSocket,
    namespace: Namespace,
    endpoints: Sequence[EndpointSpec],
) -> None:
    """Give a namespace its endpoints, up.

    Args:
        thread: The one this runs on.
        netlink: Socket in the host's namespace.
        namespace: A new one.
        endpoints: Interfaces.

    Raises:
        OSError: The kernel refused. No link remains.
    """
    hairpin, has_ipv6 = _bridges_translate(), (_SYSCTL / "ipv6").exists()
    masters = {spec.bridge: socket.if_nametoindex(spec.bridge) for spec in endpoints}
    tried: list[str] = []
    try:
        for index, spec in enumerate(endpoints, namespace.free_index):
            veth = links.add_veth(
                spec.host_link,
                master=masters[spec.bridge],
                peer=spec.name,
                peer_index=index,
                peer_namespace=namespace.fd,
                peer_mac=spec.mac,
                mtu=spec.mtu,
            )
            port = links.raise_port(
                spec.host_link, isolated=spec.isolated, hairpin=hairpin, has_ipv6=has_ipv6
            )
            tried.append(spec.host_link)
            netlink.talk([veth, port])
            _configure(netlink, namespace.netlink, index, spec)
            if spec.announced:
                with thread.visit(Path(f"/proc/self/fd/{namespace.fd}")):
                    _write("ipv4/conf/all/arp_notify", "1")
                namespace.netlink.talk([links.set_mac(index, spec.mac)])
    except OSError as exc:
        if exc.errno == errno.EEXIST:  # it is somebody else's
            tried.pop()
        netlink.talk([links.delete_link(name) for name in tried])
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
    """Set what interfaces are born with: no IPv6 but on lo."""
    _write("ipv6/conf/all/disable_ipv6", "1")
    _write("ipv6/conf/lo/disable_ipv6", "0")


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


def _configure(
    netlink: NetlinkSocket, inside: NetlinkSocket, index: int, spec: EndpointSpec
) -> None:
    messages = [links.raise_link(index), links.add_address(index, spec.address)]
    if spec.gateway is not None:
        messages.append(links.add_default_route(spec.gateway))
    inside.talk(messages)
    for name in (spec.host_link, spec.bridge):  # a bridge has a carrier from its first port on
        if not links.wait_until_operational(netlink, name):
            log.warning("a link is slow to come up", extra={"link": name})
