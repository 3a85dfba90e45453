from __future__ import annotations

import asyncio
import itertools
import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec
import pytest
from msgspec.structs import replace

from pinnace.engine.filters import Filters
from pinnace.engine.networks.predefined import NetworkConfig
from pinnace.engine.networks.request import AttachRequest, check_endpoint
from pinnace.engine.networks.service import NetworkService
from pinnace.errors import (
    Conflict,
    Forbidden,
    Internal,
    InvalidParameter,
    NetworkNotFound,
    NotSupported,
    PinnaceError,
    Unavailable,
)
from pinnace.model.endpoint import EndpointIPAMConfig, EndpointSettings, PortBinding
from pinnace.model.network import Attachment
from pinnace.testing.netstack import FakeNetStack

ANY = IPv4Address("0.0.0.0")
CONFIG = NetworkConfig(created="2026-01-01T00:00:00.000000000Z", seed="test")
TOKENS = itertools.count(1)
WEB = {"80/tcp": [PortBinding(host_port="8080")]}


def a_service(stack: FakeNetStack, config: NetworkConfig = CONFIG) -> NetworkService:
    return NetworkService(stack, config, token=lambda: f"{next(TOKENS):064x}")


async def a_ready_service(stack: FakeNetStack, config: NetworkConfig = CONFIG) -> NetworkService:
    service = a_service(stack, config)
    await service.setup()
    return service


def a_request(number: int = 1, **fields: object) -> AttachRequest:
    return AttachRequest(
        container_id=f"{number:064d}", container_name=f"web{number}", hostname="web", **fields
    )


async def test_nothing_is_made_before_a_container_needs_it():
    stack = FakeNetStack()
    await a_ready_service(stack)
    assert not stack.bridges


async def test_a_container_gets_the_bridge_an_address_and_its_ports():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    attachment = await service.attach(a_request(bindings=WEB, exposed=["80/tcp", "443/tcp"]))
    endpoint = attachment.endpoint
    assert (endpoint.ip_address, endpoint.gateway) == ("172.17.0.2", "172.17.0.1")
    assert (endpoint.ip_prefix_len, endpoint.mac_address) == (16, "02:42:ac:11:00:02")
    assert endpoint.network_id == service.get("bridge").id
    assert attachment.ports == {
        "80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")],
        "443/tcp": None,
    }
    assert stack.published["tcp", ANY, 8080].container_ip == IPv4Address("172.17.0.2")
    [spec] = stack.sandboxes[attachment.sandbox_id]
    assert (spec.name, spec.host_link) == ("eth0", f"pn{endpoint.endpoint_id[:9]}")


async def test_detaching_gives_everything_back_and_can_be_repeated():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    first = await service.attach(a_request(bindings=WEB))
    await service.detach(first)
    assert not any([stack.sandboxes, stack.reserved, stack.published])
    second = await service.attach(a_request(2, bindings=WEB))
    await service.detach(first)
    assert set(stack.published) == stack.reserved == {("tcp", ANY, 8080)}
    assert second.endpoint.ip_address == first.endpoint.ip_address


async def test_the_bridge_goes_with_the_daemon_unless_a_container_stays():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    attachment = await service.attach(a_request())
    await service.close()
    assert stack.bridges
    await service.detach(attachment)
    await service.close()
    assert not stack.bridges


async def test_a_container_without_network_gets_a_sandbox_only():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    attachment = await service.attach(a_request(network="none", bindings=WEB))
    assert stack.sandboxes == {attachment.sandbox_id: ()}
    assert not any([stack.bridges, stack.reserved])
    await service.detach(attachment)
    assert not stack.sandboxes


async def test_a_container_on_the_hosts_network_gets_nothing_of_its_own():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    attachment = await service.attach(a_request(network="host", bindings=WEB))
    assert attachment.sandbox_path == ""
    assert attachment.endpoint.endpoint_id
    assert not any([stack.sandboxes, stack.reserved])
    await service.detach(attachment)
    assert not (await service.inspect("host")).containers


STEPS = ["ensure_bridge", "reserve", "create_sandbox", "add_endpoints", "publish"]


async def test_what_was_begun_can_be_abandoned_at_any_time():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    for steps in range(3):
        attaching = await service.begin(a_request(bindings=WEB))
        if steps > 0:
            await attaching.open()
        if steps > 1:
            stack.fail_next("publish", Unavailable("broken"))
            with pytest.raises(Internal):
                await attaching.complete()
        await attaching.abandon()
        await attaching.abandon()
        assert not any([stack.sandboxes, stack.reserved, stack.published])
        assert service.attachment_of(attaching.attachment.container_id) is None
    completed = await service.attach(a_request(bindings=WEB))
    assert completed.endpoint.ip_address == "172.17.0.2"


@pytest.mark.parametrize("step", STEPS)
async def test_nothing_remains_when_a_step_fails(step):
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    stack.fail_next(step, Unavailable("broken"))
    with pytest.raises(Internal, match=r"^failed to set up container networking: broken$"):
        await service.attach(a_request(bindings=WEB))
    assert not any([stack.sandboxes, stack.reserved, stack.published])
    assert (await service.attach(a_request())).endpoint.ip_address == "172.17.0.2"


@pytest.mark.parametrize("step", STEPS)
async def test_nothing_remains_when_cancelled_at_a_step(step, monkeypatch):
    stack = FakeNetStack()
    service = await a_ready_service(stack)

    async def hang(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    reached = asyncio.Event()
    with monkeypatch.context() as patch:
        patch.setattr(stack, step, hang)
        task = asyncio.create_task(service.attach(a_request(bindings=WEB)))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not any([stack.sandboxes, stack.reserved, stack.published])
    assert (await service.attach(a_request())).endpoint.ip_address == "172.17.0.2"


async def test_a_step_that_cannot_be_undone_does_not_hide_the_first_error():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    stack.fail_next("publish", Unavailable("first"))
    stack.fail_next("remove_sandbox", Unavailable("second"))
    with pytest.raises(Internal, match="first"):
        await service.attach(a_request(bindings=WEB))
    assert not stack.reserved


async def test_a_taken_port_is_told_in_dockers_words():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    await service.attach(a_request(1, bindings=WEB))
    with pytest.raises(Internal) as caught:
        await service.attach(a_request(2, bindings=WEB))
    assert caught.value.message.startswith(
        "failed to set up container networking: driver failed programming external connectivity "
        "on endpoint web2 (0"
    )
    assert caught.value.message.endswith(
        "): Bind for 0.0.0.0:8080 failed: port is already allocated"
    )
    assert isinstance(caught.value.__cause__, Conflict)


async def test_the_network_shows_its_containers_and_their_new_names():
    service = await a_ready_service(FakeNetStack())
    request = a_request()
    attachment = await service.attach(request)
    service.rename(request.container_id, "better")
    shown = msgspec.json.decode(msgspec.json.encode(await service.inspect("bridge")))
    assert shown["Containers"] == {
        request.container_id: {
            "Name": "better",
            "EndpointID": attachment.endpoint.endpoint_id,
            "MacAddress": "02:42:ac:11:00:02",
            "IPv4Address": "172.17.0.2/16",
            "IPv6Address": "",
        }
    }
    assert shown["Status"] == {
        "IPAM": {"Subnets": {"172.17.0.0/16": {"IPsInUse": 4, "DynamicIPsAvailable": 65532}}}
    }


async def test_the_default_networks_look_like_dockers():
    service = await a_ready_service(FakeNetStack())
    shown = msgspec.json.decode(msgspec.json.encode(await service.list()))
    assert [(n["Name"], n["Driver"], n["Scope"]) for n in shown] == [
        ("bridge", "bridge", "local"),
        ("host", "host", "local"),
        ("none", "null", "local"),
    ]
    bridge = shown[0]
    pool = {"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}
    assert bridge["IPAM"] == {"Driver": "default", "Options": None, "Config": [pool]}
    assert bridge["Options"]["com.docker.network.bridge.name"] == "pinnace0"
    assert shown[1]["IPAM"]["Config"] is None
    assert "Containers" not in bridge
    assert len({n["Id"] for n in shown}) == 3


async def test_networks_are_found_by_name_id_and_prefix():
    service = await a_ready_service(FakeNetStack())
    host = service.get("host")
    assert service.get(host.id) is service.get(host.id[:8]) is host
    assert service.get("default") is service.get("") is service.get("bridge")
    with pytest.raises(NetworkNotFound, match=r"^network nope not found$"):
        service.get("nope")


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"driver": ["bridge"]}, ["bridge"]),
        ({"name": ["o"]}, ["host", "none"]),
        ({"type": ["custom"]}, []),
        ({"dangling": ["true"]}, []),
        ({"scope": ["local"], "name": ["bridge"]}, ["bridge"]),
        ({"label": ["x"]}, []),
    ],
)
async def test_lists_are_filtered(filters, names):
    service = await a_ready_service(FakeNetStack())
    assert [network.name for network in await service.list(Filters(filters))] == names


async def test_an_unknown_filter_is_refused():
    service = await a_ready_service(FakeNetStack())
    with pytest.raises(InvalidParameter, match="invalid filter"):
        await service.list(Filters({"colour": ["red"]}))


async def test_predefined_networks_are_not_changed():
    service = await a_ready_service(FakeNetStack())
    with pytest.raises(Forbidden, match="bridge is a pre-defined network and cannot be removed"):
        await service.remove("bridge")
    with pytest.raises(Forbidden, match="operation is not permitted on predefined host network"):
        await service.create("host")
    with pytest.raises(NotSupported):
        await service.create("mine")
    with pytest.raises(Forbidden, match="container must be created in host network mode"):
        await service.connect("host", "web")
    with pytest.raises(NotSupported):
        await service.connect("bridge", "web")
    with pytest.raises(Forbidden):
        await service.disconnect("host", "web")


def asking_for(address: str) -> EndpointSettings:
    return EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address=address))


async def test_the_default_bridge_gives_the_address_that_was_asked_for():
    service = await a_ready_service(FakeNetStack())
    mine = await service.attach(a_request(1, endpoint=asking_for("172.17.0.9")))
    assert mine.endpoint.ip_address == "172.17.0.9"
    assert mine.endpoint.mac_address == "02:42:ac:11:00:09"
    await service.detach(mine)
    again = await service.attach(a_request(1, endpoint=mine.endpoint))
    assert again.endpoint.ip_address == "172.17.0.9"


async def test_a_taken_address_is_refused_with_the_name_of_who_has_it():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    other = await service.attach(a_request(1))
    with pytest.raises(Forbidden, match=r"Address already in use: 172\.17\.0\.2: container "):
        await service.attach(a_request(2, endpoint=asking_for("172.17.0.2")))
    with pytest.raises(Forbidden, match=r"in use: 172\.17\.0\.1: reserved"):
        await service.attach(a_request(2, endpoint=asking_for("172.17.0.1")))
    await service.detach(other)
    await service.attach(a_request(2, endpoint=asking_for("172.17.0.2")))


@pytest.mark.parametrize("address", ["172.18.0.9", "nonsense", "::1"])
async def test_an_address_outside_the_subnet_is_refused(address):
    service = await a_ready_service(FakeNetStack())
    with pytest.raises(InvalidParameter, match=address):
        await service.attach(a_request(endpoint=asking_for(address)))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (asking_for("nonsense"), "invalid IPv4 address: nonsense"),
        (asking_for("::1"), "invalid IPv4 address: ::1"),
        (
            EndpointSettings(ipam_config=EndpointIPAMConfig(ipv6_address="10.0.0.1")),
            "invalid IPv6 address: 10.0.0.1",
        ),
        (EndpointSettings(mac_address="01:00:00:00:00:01"), "invalid MAC address: 01:00"),
    ],
)
def test_unreadable_addresses_are_refused_at_create(settings, text):
    with pytest.raises(InvalidParameter, match=re.escape(text)):
        check_endpoint(settings)
    check_endpoint(EndpointSettings(mac_address="92-D0-C6-0A-29-33"))
    check_endpoint(asking_for("10.0.0.1"))


@pytest.mark.parametrize("network", ["host", "none"])
async def test_networks_without_addresses_refuse_to_give_one(network):
    service = await a_ready_service(FakeNetStack())
    with pytest.raises(InvalidParameter, match="supported on user defined networks only"):
        await service.attach(a_request(network=network, endpoint=asking_for("172.17.0.9")))


async def test_a_hardware_address_asked_for_is_kept_over_restarts():
    service = await a_ready_service(FakeNetStack())
    first = await service.attach(
        a_request(endpoint=EndpointSettings(mac_address="02-00-00-00-00-AA"))
    )
    assert first.endpoint.mac_address == "02:00:00:00:00:aa"
    await service.detach(first)
    again = await service.attach(a_request(endpoint=first.endpoint))
    assert again.endpoint.mac_address == "02:00:00:00:00:aa"


async def test_addresses_are_announced_once_they_had_another_hardware_address():
    stack = FakeNetStack()
    service = await a_ready_service(stack)

    async def announced(**asked) -> bool:
        attachment = await service.attach(a_request(**asked))
        (endpoint,) = stack.sandboxes[attachment.sandbox_id]
        await service.detach(attachment)
        return endpoint.announced

    assert not await announced()
    assert await announced(mac="02:00:00:00:00:aa")
    assert await announced()  # the same address, derived again: who knows it knows it wrongly


async def test_chosen_hardware_addresses_of_adopted_containers_are_remembered():
    stack = FakeNetStack()
    first = await (await a_ready_service(stack)).attach(a_request(mac="02:00:00:00:00:aa"))
    service = a_service(stack)
    await service.setup([first])
    await service.detach(first)
    again = await service.attach(a_request())
    assert again.endpoint.ip_address == first.endpoint.ip_address
    (endpoint,) = stack.sandboxes[again.sandbox_id]
    assert endpoint.announced


async def test_a_hardware_address_nobody_asked_for_follows_the_ip():
    service = await a_ready_service(FakeNetStack())
    first = await service.attach(a_request(1))
    await service.detach(first)
    await service.attach(a_request(2))
    again = await service.attach(a_request(1, endpoint=first.endpoint))
    assert again.endpoint.mac_address == "02:42:ac:11:00:03"


@pytest.mark.parametrize("mac", ["nonsense", "01:00:00:00:00:01", "02:42:ac:11:00"])
async def test_nonsense_hardware_addresses_are_refused(mac):
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    with pytest.raises(InvalidParameter, match="invalid MAC address"):
        await service.attach(a_request(mac=mac))
    assert (await service.attach(a_request())).endpoint.ip_address == "172.17.0.2"


async def test_a_configured_address_wins_and_routed_subnets_are_avoided():
    stack = FakeNetStack()
    bip = IPv4Interface("10.5.0.1/24")
    service = await a_ready_service(stack, NetworkConfig(created="", seed="", bip=bip))
    assert (await service.attach(a_request())).endpoint.ip_address == "10.5.0.2"
    stack = FakeNetStack()
    stack.host_routes.append(IPv4Network("172.17.0.0/16"))
    service = await a_ready_service(stack)
    assert (await service.attach(a_request())).endpoint.ip_address == "172.18.0.2"


async def restarted(stack: FakeNetStack, kept: list[Attachment]) -> NetworkService:
    """Stand for a daemon that died: its claims on ports are gone, its attachments were stored."""
    stack.reserved.clear()
    service = a_service(stack)
    stored = msgspec.json.encode(kept)
    await service.setup(msgspec.json.decode(stored, type=list[Attachment]))
    return service


async def test_a_new_daemon_takes_running_containers_back_and_removes_the_rest():
    stack = FakeNetStack()
    stack.host_routes.append(IPv4Network("172.17.0.0/16"))
    before = await a_ready_service(stack)
    kept = await before.attach(a_request(1, bindings=WEB))
    await before.attach(a_request(2, bindings={"80/tcp": [PortBinding(host_port="9090")]}))
    after = await restarted(stack, [kept])
    assert set(stack.sandboxes) == {kept.sandbox_id}
    assert set(stack.published) == set(stack.reserved) == {("tcp", ANY, 8080)}
    assert (await after.attach(a_request(3))).endpoint.ip_address == "172.18.0.3"
    await after.detach(kept)
    assert not any([stack.published, stack.reserved])


async def test_a_new_daemon_without_containers_removes_everything():
    stack = FakeNetStack()
    await (await a_ready_service(stack)).attach(a_request(bindings=WEB))
    await restarted(stack, [])
    assert not any([stack.bridges, stack.sandboxes, stack.published])


async def test_a_port_lost_in_the_meantime_does_not_stop_the_daemon():
    stack = FakeNetStack()
    kept = await (await a_ready_service(stack)).attach(a_request(bindings=WEB))
    stack.foreign.add(("tcp", ANY, 8080))
    service = a_service(stack)
    stack.reserved.clear()
    done = await service.setup([kept])
    assert any("address already in use" in sentence for sentence in done)
    assert service.attachment_of(kept.container_id) == kept


async def test_every_step_of_detaching_is_tried():
    stack = FakeNetStack()
    service = await a_ready_service(stack)
    attachment = await service.attach(a_request(bindings=WEB))
    stack.fail_next("unpublish", Unavailable("broken"))
    with pytest.raises(PinnaceError):
        await service.detach(attachment)
    assert not any([stack.sandboxes, stack.reserved])
    assert service.attachment_of(attachment.container_id) is None


def test_an_attachment_survives_being_stored():
    attachment = Attachment(
        container_id="a" * 64,
        container_name="web",
        network="bridge",
        sandbox_path="/run/x/netns/" + "b" * 64,
        endpoint=EndpointSettings(ip_address="172.17.0.2"),
        ports={"80/tcp": None},
    )
    again = msgspec.json.decode(msgspec.json.encode(attachment), type=Attachment)
    assert again == attachment
    assert again.sandbox_id == "b" * 64
    assert replace(again, sandbox_path="").sandbox_id == ""


async def test_a_stored_attachment_without_an_address_does_not_stop_the_daemon():
    stack = FakeNetStack()
    before = await a_ready_service(stack)
    kept = await before.attach(a_request(bindings=WEB))
    bare = replace(kept, endpoint=EndpointSettings(network_id="gone"))
    after = await restarted(stack, [bare])
    assert set(stack.sandboxes) == {kept.sandbox_id}
    await after.detach(bare)
    assert not stack.sandboxes


async def test_events_tell_who_comes_and_goes():
    seen: list[tuple[str, str, str, dict[str, str]]] = []
    stack = FakeNetStack()
    service = NetworkService(
        stack,
        CONFIG,
        publish_event=lambda kind, action, actor, attributes: seen.append(
            (kind, action, actor, dict(attributes))
        ),
    )
    await service.setup()
    stack.fail_next("publish", Unavailable("broken"))
    with pytest.raises(Internal):
        await service.attach(a_request(1, bindings=WEB))
    attachment = await service.attach(a_request(2, network="none"))
    await service.detach(attachment)
    await service.detach(attachment)
    none = service.get("none").id
    attributes = {"container": attachment.container_id, "name": "none", "type": "null"}
    assert seen == [
        ("network", "connect", none, attributes),
        ("network", "disconnect", none, attributes),
    ]
