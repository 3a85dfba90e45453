"""Sandboxes from namespaces made in advance: like any other, and gone with their daemon."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.support.netlab import BRIDGE, Lab, address_of, an_endpoint, lab

from pinnace.engine.networks.rules import ruleset
from pinnace.errors import NotFound
from pinnace.host.netstack.stack import LinuxNetStack

pytestmark = pytest.mark.root

TABLE = "pinnace-ts"


@pytest.fixture
def world(tmp_path):
    with lab(tmp_path) as made:
        yield made


def a_stack(world: Lab) -> LinuxNetStack:
    directory = world.directory / "netns"
    return LinuxNetStack(directory, ruleset, table=TABLE, host_namespace=world.host)


@pytest.fixture
async def stack(world):
    made = a_stack(world)
    await made.ensure_bridge(BRIDGE)
    yield made
    await made.close()
    last = a_stack(world)
    await last.teardown()
    await last.close()


def held_namespaces() -> int:
    """Count this process's descriptors of network namespaces."""
    found = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(fd).startswith("net:")
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


async def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_sandbox_made_in_advance_is_like_any_other(world, stack):
    before = held_namespaces()
    await stack.create_sandbox("first", [an_endpoint(2)])
    await until(lambda: held_namespaces() == before + 2)
    path = await stack.create_sandbox("second", [an_endpoint(3)])
    assert held_namespaces() == before + 1
    assert world.link_names(path) == {"lo", "eth0"}
    assert f"inet {address_of(3)}/24" in world.run(path, "ip", "address")
    assert "state UNKNOWN" in world.run(path, "ip", "link", "show", "lo")
    assert world.sysctl(path, "net/ipv6/conf/eth0/disable_ipv6") == "1"
    server = world.serve(path, 80)
    assert world.ask(world.host, str(address_of(3)), 80) == str(BRIDGE.gateway.ip)
    server.close()


async def test_spares_are_invisible_and_end_with_the_stack(world, stack):
    before = held_namespaces()
    await stack.create_sandbox("first", [])
    links = world.link_names(world.host)
    await until(lambda: held_namespaces() == before + 3)  # the first is still to be connected
    assert world.link_names(world.host) == links
    assert [path.name for path in (world.directory / "netns").iterdir()] == ["first"]
    await stack.remove_sandbox("first")
    await stack.close()
    assert held_namespaces() == before


async def test_rules_that_were_flushed_are_back_before_a_container_is_connected(world, stack):
    path = await stack.create_sandbox("late", [])
    world.run(world.host, "nft", "delete", "table", "ip", TABLE)
    world.run(world.host, "ip", "link", "delete", BRIDGE.name)
    await stack.add_endpoints("late", [an_endpoint(2)])
    assert TABLE in world.run(world.host, "nft", "list", "tables")
    assert BRIDGE.name in world.link_names(world.host)
    assert f"inet {address_of(2)}/24" in world.run(path, "ip", "address")


async def test_endpoints_are_for_new_sandboxes_only(stack):
    await stack.create_sandbox("done", [an_endpoint(2)])
    for name in ("done", "unknown"):
        with pytest.raises(NotFound):
            await stack.add_endpoints(name, [an_endpoint(3)])


async def test_a_link_that_a_crash_left_down_does_not_keep_the_next_daemon_from_starting(
    world, stack
):
    path = await stack.create_sandbox("half", [an_endpoint(2)])
    world.run(world.host, "ip", "link", "set", an_endpoint(2).host_link, "down")
    successor = a_stack(world)
    await successor.ensure_bridge(BRIDGE)
    assert await successor.repair([], []) == ["removed sandbox half"]
    assert not Path(path).exists()
    await successor.close()
