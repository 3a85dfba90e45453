"""The promises of `NetStack`, kept by the fake and by the kernel."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address

import pytest
from tests.support.netlab import BRIDGE, address_of, an_endpoint, lab

from pinnace.contracts.netstack import NetStack, Published
from pinnace.engine.networks.rules import ruleset
from pinnace.errors import AlreadyExists, Conflict, Unavailable
from pinnace.host.netstack.stack import LinuxNetStack
from pinnace.testing.netstack import FakeNetStack

ANY = IPv4Address("0.0.0.0")
LOOPBACK = IPv4Address("127.0.0.1")


@contextlib.asynccontextmanager
async def real_stack(directory):
    with lab(directory) as made:
        stack = LinuxNetStack(
            directory / "netns", ruleset, table="pinnace-tc", host_namespace=made.host
        )
        try:
            yield stack
        finally:
            await stack.teardown()
            await stack.close()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
async def stack(request, tmp_path):
    if request.param == "fake":
        yield FakeNetStack()
        return
    async with real_stack(tmp_path) as made:
        yield made


def a_port(number: int = 8080, host_ip: IPv4Address = ANY, container: int = 2) -> Published:
    return Published("tcp", host_ip, number, address_of(container), 80)


async def test_ensuring_a_bridge_twice_is_fine(stack: NetStack):
    await stack.ensure_bridge(BRIDGE)
    await stack.ensure_bridge(BRIDGE)
    assert BRIDGE.gateway.network in await stack.routes()


async def test_a_removed_bridge_is_no_longer_routed(stack: NetStack):
    await stack.ensure_bridge(BRIDGE)
    await stack.remove_bridge(BRIDGE.name)
    await stack.remove_bridge(BRIDGE.name)
    assert BRIDGE.gateway.network not in await stack.routes()


async def test_a_sandbox_name_is_taken_until_it_is_removed(stack: NetStack):
    await stack.create_sandbox("one", [])
    with pytest.raises(AlreadyExists):
        await stack.create_sandbox("one", [])
    await stack.remove_sandbox("one")
    await stack.remove_sandbox("one")
    await stack.create_sandbox("one", [])
    await stack.remove_sandbox("one")


async def test_two_containers_cannot_hold_the_same_port(stack: NetStack):
    assert await stack.reserve("tcp", ANY, 8080) == 8080
    with pytest.raises(Conflict, match=r"^Bind for 127.0.0.1:8080 failed: port is already alloc"):
        await stack.reserve("tcp", LOOPBACK, 8080)
    assert await stack.reserve("udp", ANY, 8080) == 8080
    await stack.release("tcp", ANY, 8080)
    await stack.release("tcp", ANY, 8080)
    assert await stack.reserve("tcp", LOOPBACK, 8080) == 8080


async def test_port_zero_gets_a_free_ephemeral_port(stack: NetStack):
    first = await stack.reserve("tcp", ANY, 0)
    second = await stack.reserve("tcp", ANY, 0)
    assert first != second
    assert {first, second} <= set(range(49153, 65536))


async def test_publishing_needs_a_bridge(stack: NetStack):
    with pytest.raises(Unavailable):
        await stack.publish([a_port()])


async def test_publishing_and_unpublishing_again_is_fine(stack: NetStack):
    await stack.ensure_bridge(BRIDGE)
    await stack.publish([a_port(), a_port(8081)])
    await stack.publish([a_port(container=3)])
    await stack.unpublish([a_port(), a_port(9999)])
    await stack.unpublish([a_port(), a_port(8081)])
    assert await stack.repair([], []) == []


async def test_repair_removes_what_nobody_named_and_brings_back_what_was_named(stack: NetStack):
    await stack.ensure_bridge(BRIDGE)
    await stack.create_sandbox("kept", [an_endpoint(2)])
    await stack.create_sandbox("lost", [an_endpoint(3)])
    await stack.publish([a_port(1), a_port(2, LOOPBACK)])
    done = await stack.repair(["kept"], [a_port(2, LOOPBACK), a_port(3)])
    assert sorted(done) == [
        "published 0.0.0.0:3/tcp again",
        "removed sandbox lost",
        "unpublished 0.0.0.0:1/tcp",
    ]
    assert await stack.repair(["kept"], [a_port(2, LOOPBACK), a_port(3)]) == []
    with pytest.raises(AlreadyExists):
        await stack.create_sandbox("kept", [])
    await stack.create_sandbox("lost", [])


async def test_teardown_leaves_nothing(stack: NetStack):
    await stack.ensure_bridge(BRIDGE)
    await stack.create_sandbox("one", [an_endpoint(2)])
    await stack.reserve("tcp", ANY, 8080)
    await stack.publish([a_port()])
    await stack.teardown()
    assert BRIDGE.gateway.network not in await stack.routes()
    assert await stack.reserve("tcp", ANY, 8080) == 8080
    await stack.create_sandbox("one", [])
