from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.contracts.netstack import Published
from pinnace.engine.networks.publish import (
    WantedPort,
    claim,
    port_map,
    published_ports,
    split_port,
    wanted_ports,
)
from pinnace.errors import Conflict, InvalidParameter, NotSupported
from pinnace.model.endpoint import PortBinding
from pinnace.testing.netstack import FakeNetStack

ANY = IPv4Address("0.0.0.0")
LOOPBACK = IPv4Address("127.0.0.1")
CONTAINER = IPv4Address("172.17.0.2")


def wanted(bindings=None, exposed=(), *, publish_all=False, default_ip=ANY):
    return wanted_ports(bindings, exposed, publish_all=publish_all, default_ip=default_ip)


def bound(host_port: str = "", host_ip: str = "") -> list[PortBinding]:
    return [PortBinding(host_ip=host_ip, host_port=host_port)]


def test_a_binding_names_address_and_port():
    found = wanted({"80/tcp": bound("8080", "127.0.0.1")})
    assert found == [WantedPort("tcp", 80, LOOPBACK, 8080, 8080)]


def test_a_binding_without_an_address_gets_the_default():
    assert wanted({"80/tcp": bound("1")}, default_ip=LOOPBACK)[0].host_ip == LOOPBACK


@pytest.mark.parametrize("port", ["", "0"])
def test_a_binding_without_a_port_gets_any(port):
    assert wanted({"53/udp": bound(port)}) == [WantedPort("udp", 53, ANY, 0, 0)]


def test_a_range_gives_a_choice():
    assert wanted({"80": bound("8080-8090")}) == [WantedPort("tcp", 80, ANY, 8080, 8090)]


def test_publishing_all_covers_exposed_ports_without_a_binding():
    found = wanted({"80/tcp": bound("1")}, ["80/tcp", "53/udp", "9"], publish_all=True)
    assert found == [
        WantedPort("tcp", 9, ANY),
        WantedPort("udp", 53, ANY),
        WantedPort("tcp", 80, ANY, 1, 1),
    ]


@pytest.mark.parametrize(
    "key", ["", "http/tcp", "0/tcp", "65536/tcp", "80/icmp", "+80/tcp", "٨/tcp"]
)
def test_nonsense_container_ports_are_refused(key):
    with pytest.raises(InvalidParameter, match="invalid port specification"):
        wanted({key: bound("1")})


@pytest.mark.parametrize("port", ["x", "-1", "9-", "9-8", "1-70000", " 80"])
def test_nonsense_host_ports_are_refused(port):
    with pytest.raises(InvalidParameter, match="invalid port"):
        wanted({"80/tcp": bound(port)})


def test_nonsense_host_addresses_are_refused():
    with pytest.raises(InvalidParameter, match="invalid host IP"):
        wanted({"80/tcp": bound("1", "localhost")})
    with pytest.raises(NotSupported, match="IPv6"):
        wanted({"80/tcp": bound("1", "::1")})


@given(st.text(max_size=12))
def test_any_text_is_a_port_or_refused(text):
    try:
        port, proto = split_port(text)
    except InvalidParameter:
        return
    assert 0 < port < 65536
    assert proto in {"tcp", "udp", "sctp"}


def test_ports_are_shown_as_docker_shows_them():
    shown = port_map([Published("tcp", ANY, 8080, CONTAINER, 80)], ["80/tcp", "443/tcp"])
    assert shown == {
        "80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")],
        "443/tcp": None,
    }


def test_shown_ports_can_be_read_back():
    ports = [
        Published("tcp", ANY, 8080, CONTAINER, 80),
        Published("tcp", LOOPBACK, 8081, CONTAINER, 80),
        Published("udp", ANY, 53, CONTAINER, 53),
    ]
    assert sorted(published_ports(port_map(ports, ["9/tcp"]), CONTAINER), key=str) == sorted(
        ports, key=str
    )


async def test_a_range_takes_the_first_free_port():
    stack = FakeNetStack()
    stack.foreign.add(("tcp", ANY, 8080))
    ports = await claim(stack, [WantedPort("tcp", 80, ANY, 8080, 8082)], CONTAINER)
    assert [port.host_port for port in ports] == [8081]


async def test_a_conflict_gives_back_what_was_claimed_before():
    stack = FakeNetStack()
    stack.foreign.add(("tcp", ANY, 81))
    asked = [WantedPort("tcp", 80, ANY, 80, 80), WantedPort("tcp", 81, ANY, 81, 81)]
    with pytest.raises(
        Conflict, match=r"^failed to bind host port 0.0.0.0:81/tcp: address already in use$"
    ):
        await claim(stack, asked, CONTAINER)
    assert not stack.reserved
