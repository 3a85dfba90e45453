"""The network service over the kernel: what a container's start and a daemon's death look like."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from tests.support.netlab import HOST_ADDRESS, OUTSIDE_ADDRESS, Lab, lab

from pinnace.engine.networks.predefined import NetworkConfig
from pinnace.engine.networks.request import AttachRequest
from pinnace.engine.networks.rules import ruleset
from pinnace.engine.networks.service import NetworkService
from pinnace.errors import Internal
from pinnace.host.netstack.stack import LinuxNetStack
from pinnace.model.endpoint import PortBinding

pytestmark = pytest.mark.root

NUMBERS = itertools.count(1)


class Daemon:
    """What a daemon has of networking; `die` is all that a kill does to it."""

    def __init__(self, world: Lab, table: str = "pinnace-tn", bridge: str = "pntn0") -> None:
        config = NetworkConfig(created="2026-01-01T00:00:00Z", seed=table, bridge_name=bridge)
        directory = world.directory / f"netns-{table}"
        self.stack = LinuxNetStack(directory, ruleset, table=table, host_namespace=world.host)
        self.networks = NetworkService(self.stack, config)

    async def die(self) -> None:
        await self.stack.close()

    async def uninstall(self) -> None:
        await self.stack.teardown()
        await self.stack.close()


@pytest.fixture
def world(tmp_path):
    with lab(tmp_path) as made:
        yield made


@pytest.fixture
async def daemon(world):
    made = Daemon(world)
    await made.networks.setup()
    yield made
    await made.die()
    last = Daemon(world)
    await last.uninstall()


def a_request(host_port: str | None = None, **fields: object) -> AttachRequest:
    bindings = {"80/tcp": [PortBinding(host_port=host_port)]} if host_port is not None else {}
    number = next(NUMBERS)
    return AttachRequest(
        container_id=f"{number:064x}", container_name=f"web{number}", bindings=bindings, **fields
    )


def eventually(condition) -> bool:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


async def test_a_started_container_serves_the_outside(world, daemon):
    attachment = await daemon.networks.attach(a_request(""))
    [binding] = attachment.ports["80/tcp"]
    world.serve(attachment.sandbox_path, 80)
    assert world.ask(world.outside, HOST_ADDRESS, int(binding.host_port)) == OUTSIDE_ADDRESS


async def test_a_hundred_containers_in_parallel_are_all_reachable_and_leave_nothing(world, daemon):
    before = world.link_names(world.host)
    attachments = await asyncio.gather(
        *(daemon.networks.attach(a_request("")) for _ in range(100))
    )
    addresses = {attachment.endpoint.ip_address for attachment in attachments}
    ports = {attachment.ports["80/tcp"][0].host_port for attachment in attachments}
    assert len(addresses) == len(ports) == 100
    some = attachments[37]
    server = world.serve(some.sandbox_path, 80)
    assert world.ask(world.outside, HOST_ADDRESS, int(some.ports["80/tcp"][0].host_port))
    server.close()
    await asyncio.gather(*(daemon.networks.detach(attachment) for attachment in attachments))
    await daemon.networks.close()
    assert eventually(lambda: world.link_names(world.host) == before)
    assert world.run(world.host, "nft", "list", "ruleset") == ""


async def test_two_daemons_see_each_others_ports_and_choose_other_subnets(world, daemon):
    second = Daemon(world, "pinnace-tn2", "pntn1")
    try:
        mine = await daemon.networks.attach(a_request("8080"))
        await second.networks.setup()
        with pytest.raises(Internal, match=r"\): failed to bind host port 0.0.0.0:8080/tcp: addr"):
            await second.networks.attach(a_request("8080"))
        theirs = await second.networks.attach(a_request("8081"))
        assert mine.endpoint.gateway != theirs.endpoint.gateway
        for attachment, port in ((mine, 8080), (theirs, 8081)):
            world.serve(attachment.sandbox_path, 80)
            assert world.ask(world.outside, HOST_ADDRESS, port) == OUTSIDE_ADDRESS
        assert world.cannot_reach(mine.sandbox_path, theirs.endpoint.ip_address, 80)
        assert world.ask(mine.sandbox_path, HOST_ADDRESS, 8081)
    finally:
        await second.uninstall()


async def test_a_cancelled_start_leaves_nothing(world, daemon):
    await daemon.networks.detach(await daemon.networks.attach(a_request()))
    assert eventually(lambda: world.link_names(world.host) == {"lo", "wire", "pntn0"})
    for turns in range(12):
        task = asyncio.create_task(daemon.networks.attach(a_request("8080")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await daemon.networks.detach(await task)
        except asyncio.CancelledError:
            pass
        assert daemon.networks._bridged() == []
    last = await daemon.networks.attach(a_request("8080"))
    assert last.endpoint.ip_address.endswith(".2")
    await daemon.networks.detach(last)
    assert eventually(lambda: world.link_names(world.host) == {"lo", "wire", "pntn0"})


async def test_containers_outlive_the_daemon_and_are_taken_back(world, daemon):
    kept = await daemon.networks.attach(a_request("8080"))
    lost = await daemon.networks.attach(a_request("8081"))
    server = world.serve(kept.sandbox_path, 80)
    await daemon.die()
    assert world.ask(world.outside, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
    successor = Daemon(world)
    try:
        done = await successor.networks.setup([kept])
        assert f"removed sandbox {lost.sandbox_id}" in done
        assert world.ask(world.outside, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
        with pytest.raises(Internal, match="port is already allocated"):
            await successor.networks.attach(a_request("8080"))
        again = await successor.networks.attach(a_request("8081"))
        assert again.endpoint.ip_address == lost.endpoint.ip_address
        await successor.networks.detach(again)
        server.close()
        await successor.networks.detach(kept)
        await successor.networks.close()
        assert eventually(lambda: world.link_names(world.host) == {"lo", "wire"})
    finally:
        await successor.die()
