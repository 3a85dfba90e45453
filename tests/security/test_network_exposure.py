"""Attacks on the host's network and through it: classes 21, 24 and 25.

The attackers: a container, which may craft any packet (it has NET_RAW), and a neighbour on the
host's wire, which may also route what it likes through the host.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from tests.support.netlab import (
    BRIDGE,
    HOST_ADDRESS,
    OUTSIDE_ADDRESS,
    Lab,
    address_of,
    an_endpoint,
    in_namespace,
    lab,
)

from pinnace.contracts.netstack import BridgeSpec, Published
from pinnace.engine.networks.rules import ruleset
from pinnace.host.netstack.stack import LinuxNetStack

pytestmark = pytest.mark.root

ANY = IPv4Address("0.0.0.0")
LOOPBACK = IPv4Address("127.0.0.1")
GATEWAY = str(BRIDGE.gateway.ip)
API_PORT = 2375


@pytest.fixture
def world(tmp_path):
    with lab(tmp_path) as made:
        yield made


@pytest.fixture
async def stack(world):
    made = LinuxNetStack(
        world.directory / "netns",
        ruleset,
        table="pinnace-ts",
        api_ports=[API_PORT],
        host_namespace=world.host,
    )
    await made.ensure_bridge(BRIDGE)
    yield made
    await made.teardown()
    await made.close()


@pytest.fixture
async def container(stack):
    return Path(await stack.create_sandbox("victim", [an_endpoint(2)]))


def a_port(host_ip: IPv4Address = ANY, proto: str = "tcp") -> Published:
    return Published(proto, host_ip, 8080, address_of(2), 80)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def udp_packet(source: str, target: str, port: int) -> bytes:
    payload = b"forged!!"
    udp = struct.pack(">HHHH", 40000, port, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0)
    return head[:10] + struct.pack(">H", checksum(head + addresses)) + addresses + udp


def send_frame(world: Lab, namespace: Path, link: str, to_mac: str, packet: bytes) -> None:
    """Put a packet on the wire as it is, past the sender's own routing and checks."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as raw:
            raw.sendto(packet, (link, 0x0800, 0, 0, bytes.fromhex(to_mac.replace(":", ""))))

    in_namespace(namespace, send)


def mac_of(world: Lab, namespace: Path, link: str) -> str:
    shown = world.run(namespace, "ip", "link", "show", link)
    return shown.split("link/ether ")[1].split()[0]


class Listener:
    """A UDP service that notes who spoke to it."""

    def __init__(self, namespace: Path, address: str, port: int) -> None:
        def bound() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((address, port))
            return made

        self.socket = in_namespace(namespace, bound)

    def hears_nothing(self, marker: tuple[Path, str, int]) -> bool:
        """Send an honest packet after the attack: if it comes first, the attack did not arrive."""
        namespace, address, port = marker

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as honest:
                honest.bind(("", 41000))
                honest.sendto(b"honest", (address, port))

        in_namespace(namespace, send)
        self.socket.settimeout(5)
        return self.socket.recvfrom(100)[0] == b"honest"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@pytest.mark.parametrize("address", [GATEWAY, HOST_ADDRESS, "127.0.0.1"])
async def test_class_21_a_container_cannot_reach_the_api_at_any_host_address(
    world, container, address
):
    world.serve(world.host, API_PORT)
    assert world.cannot_reach(container, address, API_PORT)
    assert world.ask(world.host, "127.0.0.1", API_PORT) == "127.0.0.1"
    assert world.ask(world.outside, HOST_ADDRESS, API_PORT) == OUTSIDE_ADDRESS


async def test_class_21_api_ports_named_later_are_closed_too(world, stack, container):
    world.serve(world.host, 9999)
    assert world.ask(container, GATEWAY, 9999)
    await stack.set_api_ports([9999])
    with pytest.raises(ConnectionRefusedError):
        world.ask(container, GATEWAY, 9999)


async def test_class_21_every_bridge_is_closed_to_the_api(world, stack):
    other = BridgeSpec("pnt1", IPv4Interface("172.29.1.1/24"))
    await stack.ensure_bridge(other)
    path = await stack.create_sandbox("other", [an_endpoint(2, bridge=other)])
    world.serve(world.host, API_PORT)
    for address in ("172.29.1.1", GATEWAY, HOST_ADDRESS):
        assert world.cannot_reach(path, address, API_PORT)


async def test_class_24_a_published_service_sees_the_real_peer(world, stack, container):
    server = world.serve(container, 80)
    udp = world.serve(container, 80, address=str(address_of(2)), udp=True)
    await stack.publish([a_port(), a_port(proto="udp")])
    world.ask(world.outside, HOST_ADDRESS, 8080)
    world.ask(world.outside, HOST_ADDRESS, 8080, udp=True)
    assert server.seen == udp.seen == [OUTSIDE_ADDRESS]


@pytest.mark.parametrize("forged", ["127.0.0.1", GATEWAY, "172.29.0.9"])
async def test_class_24_a_neighbour_cannot_pose_as_loopback_gateway_or_container(
    world, stack, container, forged
):
    await stack.publish([a_port(proto="udp")])
    host_mac = mac_of(world, world.host, "wire")
    with Listener(container, str(address_of(2)), 80) as service:
        attack = udp_packet(forged, HOST_ADDRESS, 8080)
        send_frame(world, world.outside, "wire", host_mac, attack)
        assert service.hears_nothing((world.outside, HOST_ADDRESS, 8080))


async def test_class_24_a_container_cannot_pose_as_loopback_to_the_host(world, container):
    bridge_mac = mac_of(world, world.host, BRIDGE.name)
    with Listener(world.host, "0.0.0.0", 5000) as service:
        attack = udp_packet("127.0.0.1", GATEWAY, 5000)
        send_frame(world, container, "eth0", bridge_mac, attack)
        assert service.hears_nothing((container, GATEWAY, 5000))


async def test_class_25_unpublished_ports_are_closed_to_neighbours_that_route(
    world, stack, container
):
    world.serve(container, 80)
    world.serve(container, 81)
    world.run(
        world.outside, "ip", "route", "add", str(BRIDGE.gateway.network), "via", HOST_ADDRESS
    )
    await stack.publish([a_port()])
    assert world.ask(world.outside, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
    assert world.cannot_reach(world.outside, str(address_of(2)), 80)
    assert world.cannot_reach(world.outside, str(address_of(2)), 81)
    assert world.cannot_reach(world.outside, HOST_ADDRESS, 81)


async def test_class_25_a_loopback_port_is_for_the_host_alone(world, stack, container):
    second = await stack.create_sandbox("second", [an_endpoint(3)])
    world.serve(container, 80)
    await stack.reserve("tcp", LOOPBACK, 8080)
    await stack.publish([a_port(LOOPBACK)])
    assert world.ask(world.host, "127.0.0.1", 8080)
    assert world.cannot_reach(world.outside, HOST_ADDRESS, 8080)
    for path in (container, second):
        assert world.cannot_reach(path, GATEWAY, 8080)
        assert world.cannot_reach(path, HOST_ADDRESS, 8080)


async def test_class_25_a_neighbour_cannot_send_to_the_hosts_loopback(world, stack, container):
    await stack.publish([a_port(LOOPBACK, "udp")])
    host_mac = mac_of(world, world.host, "wire")
    attack = udp_packet(OUTSIDE_ADDRESS, "127.0.0.1", 8080)
    with Listener(container, str(address_of(2)), 80) as service:
        send_frame(world, world.outside, "wire", host_mac, attack)
        assert service.hears_nothing((world.host, "127.0.0.1", 8080))


async def test_class_25_a_container_cannot_send_to_the_hosts_loopback(world, container):
    bridge_mac = mac_of(world, world.host, BRIDGE.name)
    assert world.sysctl(world.host, f"net/ipv4/conf/{BRIDGE.name}/route_localnet") == "1"
    attack = udp_packet(str(address_of(2)), "127.0.0.1", 5000)
    with Listener(world.host, "127.0.0.1", 5000) as service:
        send_frame(world, container, "eth0", bridge_mac, attack)
        assert service.hears_nothing((world.host, "127.0.0.1", 5000))


async def test_class_25_route_localnet_is_set_on_our_bridge_only(world, container):
    for link in ("all", "default", "wire"):
        assert world.sysctl(world.host, f"net/ipv4/conf/{link}/route_localnet") == "0"


async def test_class_25_the_bridge_speaks_no_ipv6(world, container):
    assert "inet6" not in world.run(world.host, "ip", "-6", "address", "show", BRIDGE.name)
    assert "inet6 fe80" not in world.run(container, "ip", "-6", "address")


@pytest.mark.parametrize("calls_netfilter", ["0", "1"])
async def test_class_25_containers_that_may_not_talk_cannot_by_forged_frames(
    world, stack, calls_netfilter
):
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if switch.exists():
        in_namespace(world.host, lambda: switch.write_text(calls_netfilter))
    quiet = BridgeSpec("pnt1", IPv4Interface("172.29.1.1/24"), icc=False)
    await stack.ensure_bridge(quiet)
    attacker = Path(await stack.create_sandbox("attacker", [an_endpoint(2, bridge=quiet)]))
    victim = Path(await stack.create_sandbox("quiet", [an_endpoint(3, bridge=quiet)]))
    gateway_mac = mac_of(world, world.host, "pnt1")
    victim_mac = mac_of(world, victim, "eth0")
    with Listener(victim, "172.29.1.3", 80) as service:
        attack = udp_packet("172.29.1.2", "172.29.1.3", 80)
        send_frame(world, attacker, "eth0", gateway_mac, attack)
        send_frame(world, attacker, "eth0", victim_mac, attack)
        send_frame(world, attacker, "eth0", "ff:ff:ff:ff:ff:ff", attack)
        assert service.hears_nothing((world.host, "172.29.1.3", 80))
