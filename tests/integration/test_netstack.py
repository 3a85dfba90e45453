"""What packets do: published ports, egress, isolation; and that nothing is left behind.

Everything runs in namespaces of its own (tests/support/netlab.py).
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace
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
from pinnace.errors import AlreadyExists, Conflict, Internal, Unavailable
from pinnace.host.netstack.stack import LinuxNetStack

pytestmark = pytest.mark.root

ANY = IPv4Address("0.0.0.0")
LOOPBACK = IPv4Address("127.0.0.1")
GATEWAY = str(BRIDGE.gateway.ip)
TABLE = "pinnace-ti"


@pytest.fixture
def world(tmp_path):
    with lab(tmp_path) as made:
        yield made


def a_stack(world: Lab, **options: object) -> LinuxNetStack:
    directory = world.directory / "netns"
    return LinuxNetStack(directory, ruleset, table=TABLE, host_namespace=world.host, **options)


@pytest.fixture
async def stack(world):
    made = a_stack(world)
    yield made
    await made.close()
    last = a_stack(world)
    await last.teardown()
    await last.close()


async def a_container(stack: LinuxNetStack, number: int = 2, bridge: BridgeSpec = BRIDGE) -> str:
    await stack.ensure_bridge(bridge)
    name = f"{bridge.name}-{number}"
    return await stack.create_sandbox(name, [an_endpoint(number, bridge=bridge)])


def a_port(host_port: int = 8080, proto: str = "tcp", **fields: object) -> Published:
    given = {"host_ip": ANY, "container_ip": address_of(2), "container_port": 80, **fields}
    return Published(proto, host_port=host_port, **given)


async def publish(stack: LinuxNetStack, *ports: Published) -> None:
    for port in ports:
        await stack.reserve(port.proto, port.host_ip, port.host_port)
    await stack.publish(ports)


def eventually(condition) -> bool:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


async def test_a_sandbox_has_loopback_one_interface_and_a_default_route(world, stack):
    path = await a_container(stack)
    assert world.link_names(path) == {"lo", "eth0"}
    assert f"inet {address_of(2)}/24" in world.run(path, "ip", "address")
    assert f"default via {GATEWAY}" in world.run(path, "ip", "route")
    assert "02:42:ac:1d:00:02" in world.run(path, "ip", "link", "show", "eth0")
    assert world.sysctl(path, "net/ipv6/conf/eth0/disable_ipv6") == "1"
    assert world.sysctl(path, "net/ipv6/conf/lo/disable_ipv6") == "0"
    assert "inet6" not in world.run(world.host, "ip", "address", "show", an_endpoint().host_link)


async def test_the_first_packet_through_a_new_bridge_is_not_lost(world, stack):
    for number in range(15):
        bridge = BridgeSpec(f"pntf{number}", IPv4Interface(f"172.29.{number + 10}.1/24"))
        path = await a_container(stack, 2, bridge)
        client = in_namespace(world.host, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with (
            client,
            in_namespace(
                Path(path), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ) as server,
        ):
            server.bind(("0.0.0.0", 5000))
            server.settimeout(0.9)  # ARP is asked again after one second
            client.sendto(b"first", (f"172.29.{number + 10}.2", 5000))
            assert server.recv(10) == b"first"
        await stack.remove_sandbox(Path(path).name)
        await stack.remove_bridge(bridge.name)


async def test_a_sandbox_without_endpoints_has_loopback_only(world, stack):
    path = await stack.create_sandbox("alone", [])
    assert world.link_names(path) == {"lo"}
    world.serve(path, 80, address="127.0.0.1")
    assert world.ask(path, "127.0.0.1", 80) == "127.0.0.1"


async def test_containers_of_one_bridge_reach_each_other_and_the_host(world, stack):
    first, second = await a_container(stack, 2), await a_container(stack, 3)
    world.serve(second, 80)
    world.serve(world.host, 81)
    assert world.ask(first, str(address_of(3)), 80) == str(address_of(2))
    assert world.ask(first, GATEWAY, 81) == str(address_of(2))
    assert world.ask(first, HOST_ADDRESS, 81) == str(address_of(2))


async def test_containers_reach_other_hosts_under_the_hosts_address(world, stack):
    path = await a_container(stack)
    world.serve(world.outside, 80)
    assert world.ask(path, OUTSIDE_ADDRESS, 80) == HOST_ADDRESS


def let_bridges_call_netfilter(world: Lab, value: str) -> None:
    """Choose whether packets between bridge ports pass the rules (br_netfilter), if it exists."""

    def choose() -> None:
        switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        if switch.exists():
            switch.write_text(value)

    in_namespace(world.host, choose)


@pytest.mark.parametrize("calls_netfilter", ["0", "1"])
async def test_a_published_port_is_reached_from_everywhere(world, stack, calls_netfilter):
    let_bridges_call_netfilter(world, calls_netfilter)
    first, second = await a_container(stack, 2), await a_container(stack, 3)
    server = world.serve(first, 80)
    await publish(stack, a_port())
    for client, address in [
        (world.outside, HOST_ADDRESS),
        (world.host, "127.0.0.1"),
        (world.host, HOST_ADDRESS),
        (world.host, GATEWAY),
        (second, GATEWAY),
        (second, HOST_ADDRESS),
        (first, GATEWAY),
        (first, HOST_ADDRESS),
    ]:
        assert world.ask(client, address, 8080), (client, address)
    assert len(server.seen) == 8


async def test_udp_is_published_too(world, stack):
    first, second = await a_container(stack, 2), await a_container(stack, 3)
    world.serve(first, 53, address=str(address_of(2)), udp=True)
    await publish(stack, a_port(5353, "udp", container_port=53))
    assert world.ask(world.outside, HOST_ADDRESS, 5353, udp=True) == OUTSIDE_ADDRESS
    assert world.ask(world.host, "127.0.0.1", 5353, udp=True) == GATEWAY
    assert world.ask(second, HOST_ADDRESS, 5353, udp=True) == GATEWAY


async def test_udp_clients_that_keep_sending_reach_the_ports_new_owner(world, stack):
    first, second = await a_container(stack, 2), await a_container(stack, 3)
    old = world.serve(first, 53, address=str(address_of(2)), udp=True)
    new = world.serve(second, 53, address=str(address_of(3)), udp=True)
    source = (OUTSIDE_ADDRESS, 40000)
    await publish(stack, a_port(5353, "udp", container_port=53))
    world.ask(world.outside, HOST_ADDRESS, 5353, udp=True, source=source)
    await stack.unpublish([a_port(5353, "udp", container_port=53)])
    await stack.publish([a_port(5353, "udp", container_port=53, container_ip=address_of(3))])
    world.ask(world.outside, HOST_ADDRESS, 5353, udp=True, source=source)
    assert (len(old.seen), len(new.seen)) == (1, 1)


async def test_a_port_published_on_one_address_is_not_on_others(world, stack):
    path = await a_container(stack)
    world.serve(path, 80)
    await publish(stack, a_port(host_ip=IPv4Address(HOST_ADDRESS)))
    assert world.ask(world.outside, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
    assert world.cannot_reach(world.host, "127.0.0.1", 8080)
    assert world.cannot_reach(path, GATEWAY, 8080)


async def test_an_unpublished_port_is_refused_at_once(world, stack):
    path = await a_container(stack)
    world.serve(path, 80)
    await publish(stack, a_port())
    await stack.unpublish([a_port()])
    with pytest.raises(ConnectionRefusedError):
        world.ask(world.outside, HOST_ADDRESS, 8080)


@pytest.mark.parametrize("calls_netfilter", ["0", "1"])
async def test_containers_that_may_not_talk_are_apart(world, stack, calls_netfilter):
    let_bridges_call_netfilter(world, calls_netfilter)
    quiet = BridgeSpec("pnt1", IPv4Interface("172.29.1.1/24"), icc=False)
    first, second = await a_container(stack, 2, quiet), await a_container(stack, 3, quiet)
    world.serve(second, 80)
    world.serve(world.outside, 80)
    assert world.cannot_reach(first, "172.29.1.3", 80)
    assert world.ask(first, OUTSIDE_ADDRESS, 80) == HOST_ADDRESS
    await publish(stack, a_port(container_ip=IPv4Address("172.29.1.3")))
    assert world.ask(world.outside, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
    if calls_netfilter == "0":  # docs/networking.md names the other case as a limit
        assert world.ask(first, HOST_ADDRESS, 8080) == "172.29.1.1"


async def test_an_internal_bridge_has_no_way_out(world, stack):
    inner = BridgeSpec("pnt1", IPv4Interface("172.29.1.1/24"), internal=True)
    first, second = await a_container(stack, 2, inner), await a_container(stack, 3, inner)
    world.serve(second, 80)
    world.serve(world.outside, 80)
    assert world.ask(first, "172.29.1.3", 80) == "172.29.1.2"
    world.run(Path(first), "ip", "route", "add", "default", "via", "172.29.1.1")
    assert world.cannot_reach(first, OUTSIDE_ADDRESS, 80)


async def test_bridges_are_apart_but_for_published_ports(world, stack):
    other = BridgeSpec("pnt1", IPv4Interface("172.29.1.1/24"))
    first, second = await a_container(stack, 2), await a_container(stack, 2, other)
    world.serve(first, 80)
    assert world.cannot_reach(second, str(address_of(2)), 80)
    await publish(stack, a_port())
    assert world.ask(second, HOST_ADDRESS, 8080)


async def test_a_port_held_by_a_host_process_is_told_and_blocks_host_processes_later(world, stack):
    server = world.serve(world.host, 8080)
    with pytest.raises(
        Conflict, match=r"^failed to bind host port 0.0.0.0:8080/tcp: address already in use$"
    ):
        await stack.reserve("tcp", ANY, 8080)
    server.close()
    for proto, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
        await stack.reserve(proto, ANY, 8080)
        late = in_namespace(world.host, lambda kind=kind: socket.socket(socket.AF_INET, kind))
        with late:
            late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="Address already in use"):
                late.bind(("127.0.0.1", 8080))


async def test_connections_that_linger_from_an_ended_server_do_not_hold_its_port(world, stack):
    server = world.serve(world.host, 8080)  # it closes first, so its side lingers in TIME_WAIT
    world.ask(world.outside, HOST_ADDRESS, 8080)
    server.close()
    assert await stack.reserve("tcp", ANY, 8080) == 8080
    with pytest.raises(Conflict):
        await a_stack_claim(world)


async def a_stack_claim(world: Lab) -> None:
    other = a_stack(world)
    try:
        await other.reserve("tcp", ANY, 8080)
    finally:
        await other.close()


async def test_an_address_that_the_host_does_not_have_is_told(stack):
    with pytest.raises(Conflict, match="cannot assign requested address"):
        await stack.reserve("tcp", IPv4Address("192.0.2.1"), 80)


async def test_flushed_rules_come_back_with_the_next_container(world, stack):
    path = await a_container(stack)
    world.serve(path, 80)
    await publish(stack, a_port())
    world.run(world.host, "nft", "flush", "ruleset")
    with pytest.raises(ConnectionRefusedError):
        world.ask(world.outside, HOST_ADDRESS, 8080)
    with pytest.raises(Unavailable):
        await stack.publish([a_port(8081)])
    await stack.ensure_bridge(BRIDGE)
    assert world.ask(world.outside, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS


async def test_a_deleted_bridge_comes_back_with_the_next_container(world, stack):
    await stack.ensure_bridge(BRIDGE)
    world.run(world.host, "ip", "link", "delete", BRIDGE.name)
    path = await a_container(stack)
    world.serve(path, 80)
    assert world.ask(world.host, str(address_of(2)), 80) == GATEWAY


async def test_a_bridge_is_corrected(world, stack):
    await stack.ensure_bridge(BRIDGE)
    await stack.ensure_bridge(BridgeSpec(BRIDGE.name, IPv4Interface("172.29.9.1/24"), mtu=1400))
    shown = world.run(world.host, "ip", "address", "show", BRIDGE.name)
    assert "mtu 1400" in shown
    assert "172.29.9.1/24" in shown
    assert "172.29.0.1" not in shown


async def test_an_administrators_bridge_is_used_and_left(world, stack):
    world.run(world.host, "ip", "link", "add", BRIDGE.name, "type", "bridge")
    world.run(world.host, "ip", "address", "add", "10.1.1.1/24", "dev", BRIDGE.name)
    path = await a_container(stack)
    world.serve(path, 80)
    assert world.ask(world.host, str(address_of(2)), 80) == GATEWAY
    await stack.remove_bridge(BRIDGE.name)
    assert "10.1.1.1/24" in world.run(world.host, "ip", "address", "show", BRIDGE.name)


async def test_a_name_that_belongs_to_something_else_is_refused(stack):
    with pytest.raises(Conflict, match="wire exists and is not a bridge"):
        await stack.ensure_bridge(BridgeSpec("wire", IPv4Interface("172.29.0.1/24")))


async def test_an_existing_drop_by_the_hosts_firewall_stands_and_is_told(world, stack):
    firewall = "table inet fw { chain f { type filter hook forward priority 10; policy drop; }; }"
    world.run(world.host, "nft", firewall)
    path = await a_container(stack)
    world.serve(path, 80)
    await publish(stack, a_port())
    assert world.cannot_reach(world.outside, HOST_ADDRESS, 8080)
    assert any("'inet fw f' drops" in sentence for sentence in await stack.warnings())


async def test_forwarding_is_turned_on_and_that_is_told(world, stack):
    world.run(world.host, "sysctl", "-q", "net.ipv4.ip_forward=0")
    await stack.ensure_bridge(BRIDGE)
    assert world.sysctl(world.host, "net/ipv4/ip_forward") == "1"
    assert any("forwarding was off" in sentence for sentence in await stack.warnings())


async def test_a_missing_nft_is_named(world, stack, monkeypatch):
    monkeypatch.setattr("pinnace.host.netstack.nftables._SEARCH_PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="nftables package"):
        await stack.ensure_bridge(BRIDGE)


@pytest.mark.parametrize(
    "macs", [["02:42:ac:1d:00:02"], ["02:00:00:00:00:aa", "02:42:ac:1d:00:02"]]
)
async def test_an_address_is_usable_at_once_after_its_container_is_gone(world, stack, macs):
    await stack.ensure_bridge(BRIDGE)
    for number in range(30):
        endpoint = an_endpoint(2, link=f"pnreuse{number}")
        endpoint = replace(endpoint, mac=macs[number % len(macs)], announced=len(macs) > 1)
        path = await stack.create_sandbox(f"reuse{number}", [endpoint])
        server = world.serve(path, 80)
        # ARP and TCP repeat what was lost after one second: nothing may be lost
        assert world.ask(world.host, str(address_of(2)), 80, timeout_s=0.9) == GATEWAY
        await stack.remove_sandbox(f"reuse{number}")
        server.close()


async def test_only_what_neighbours_may_not_know_is_announced(world, stack):
    neighbour = await a_container(stack, 2)
    with world.listening_for_arp(neighbour) as senders:
        for number in range(3):
            await stack.create_sandbox(f"quiet{number}", [an_endpoint(3 + number)])
        await stack.create_sandbox("loud", [replace(an_endpoint(9), announced=True)])
        assert next(senders) == str(address_of(9))


async def test_a_failed_sandbox_leaves_nothing(world, stack):
    await a_container(stack, 2)
    before = world.link_names(world.host)
    with pytest.raises(Internal, match="File exists"):
        await stack.create_sandbox("broken", [an_endpoint(9), an_endpoint(2)])
    assert eventually(lambda: world.link_names(world.host) == before)
    assert not (world.directory / "netns" / "broken").exists()
    with pytest.raises(Internal):
        await stack.create_sandbox(
            "broken", [an_endpoint(9, bridge=BridgeSpec("no", BRIDGE.gateway))]
        )


async def test_a_cancelled_sandbox_leaves_nothing(world, stack):
    await stack.ensure_bridge(BRIDGE)
    before = world.link_names(world.host)
    for number in range(10):
        task = asyncio.create_task(stack.create_sandbox(f"c{number}", [an_endpoint(number + 2)]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert eventually(lambda: world.link_names(world.host) == before)
    assert list((world.directory / "netns").glob("*")) == []


async def test_cancelling_a_sandbox_whose_name_is_taken_spares_the_owner(world, stack):
    path = await stack.create_sandbox("owner", [])
    task = asyncio.create_task(stack.create_sandbox("owner", []))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.link_names(path) == {"lo"}


async def test_fifty_sandboxes_come_and_go_without_a_trace(world, stack):
    await stack.ensure_bridge(BRIDGE)
    before = world.link_names(world.host)
    mounts = Path("/proc/self/mountinfo").read_text().count(str(world.directory))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    numbers = range(2, 52)
    await asyncio.gather(
        *(stack.create_sandbox(f"s{n}", [an_endpoint(n)]) for n in numbers),
        *(publish(stack, a_port(9000 + n, container_ip=address_of(n))) for n in numbers),
    )
    assert len(world.link_names(world.host) - before) == 50
    await asyncio.gather(
        *(stack.unpublish([a_port(9000 + n, container_ip=address_of(n))]) for n in numbers),
        *(stack.release("tcp", ANY, 9000 + n) for n in numbers),
        *(stack.remove_sandbox(f"s{n}") for n in numbers),
    )
    assert eventually(lambda: world.link_names(world.host) == before)
    assert Path("/proc/self/mountinfo").read_text().count(str(world.directory)) == mounts
    spares = 2 * 2  # two namespaces kept ready, a socket in each
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1 + spares
    assert "elements" not in world.run(world.host, "nft", "list", "table", "ip", TABLE)


async def test_the_thread_comes_home_from_every_visit(world, stack):
    path = await a_container(stack)
    with pytest.raises(AlreadyExists):
        await stack.create_sandbox(Path(path).name, [])
    await stack.remove_bridge("absent")
    assert BRIDGE.gateway.network in await stack.routes()


async def test_a_new_daemon_finds_and_removes_what_a_killed_one_left(world, stack):
    path = await a_container(stack)
    await publish(stack, a_port())
    await stack.close()  # what a kill does to it: sockets and thread are gone, the rest stays
    successor = a_stack(world)
    try:
        assert await successor.bridge_address(BRIDGE.name) == BRIDGE.gateway
        assert await successor.repair([], []) == [
            f"removed sandbox {Path(path).name}",
            "unpublished 0.0.0.0:8080/tcp",
        ]
        await successor.remove_bridge(BRIDGE.name)
        assert eventually(lambda: world.link_names(world.host) == {"lo", "wire"})
        assert world.run(world.host, "nft", "list", "ruleset") == ""
    finally:
        await successor.close()


async def test_published_ports_go_on_working_while_a_new_daemon_takes_over(world, stack):
    path = await a_container(stack)
    server = world.serve(path, 80)
    await publish(stack, a_port())
    await stack.close()
    successor = a_stack(world)
    try:
        assert world.ask(world.outside, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
        await successor.ensure_bridge(BRIDGE)
        assert world.ask(world.outside, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
        assert await successor.repair([Path(path).name], [a_port()]) == []
        server.close()
        await successor.remove_sandbox(Path(path).name)
        assert eventually(lambda: world.link_names(world.host) == {"lo", "wire", BRIDGE.name})
    finally:
        await successor.close()


async def test_links_of_a_sandbox_that_a_process_keeps_alive_are_removed(world, stack):
    path = await a_container(stack)
    holder = in_namespace(Path(path), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with holder:
        await stack.remove_sandbox(Path(path).name)
        await stack.repair([], [])
        assert eventually(lambda: world.link_names(world.host) == {"lo", "wire", BRIDGE.name})
