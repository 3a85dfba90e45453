from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.engine.networks.ipam import (
    AddressInUse,
    AddressPool,
    NoAddressLeft,
    NoPoolLeft,
    choose_gateway,
)
from pinnace.errors import InvalidParameter


def a_pool(gateway: str = "10.0.0.1/29") -> AddressPool:
    return AddressPool(IPv4Interface(gateway), network="bridge (0123)")


def test_the_lowest_free_address_is_given_first():
    pool = a_pool()
    assert [str(pool.allocate()) for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    pool.release(IPv4Address("10.0.0.3"))
    assert str(pool.allocate()) == "10.0.0.3"
    assert str(pool.allocate()) == "10.0.0.5"


def test_an_exhausted_pool_says_so_in_dockers_words():
    pool = a_pool("10.0.0.1/30")
    pool.allocate()
    with pytest.raises(
        NoAddressLeft,
        match=r"^no available IPv4 addresses on this network's address pools: bridge \(0123\)$",
    ):
        pool.allocate()


def test_a_wanted_address_is_given_once():
    pool = a_pool()
    wanted = IPv4Address("10.0.0.5")
    assert pool.allocate(wanted) == wanted
    with pytest.raises(AddressInUse, match=r"^Address already in use$"):
        pool.allocate(wanted)


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.1", "10.0.0.7"])
def test_network_gateway_and_broadcast_addresses_are_never_given(address):
    pool = a_pool()
    with pytest.raises(AddressInUse):
        pool.allocate(IPv4Address(address))
    pool.release(IPv4Address(address))
    with pytest.raises(AddressInUse):
        pool.allocate(IPv4Address(address))


def test_an_address_of_another_subnet_is_refused():
    with pytest.raises(InvalidParameter):
        a_pool().allocate(IPv4Address("10.0.1.2"))


def test_use_counts_the_addresses_that_are_never_given():
    pool = AddressPool(IPv4Interface("172.17.0.1/16"), network="bridge")
    assert (pool.used, pool.free) == (3, 65533)
    pool.allocate()
    assert (pool.used, pool.free) == (4, 65532)


@given(st.lists(st.integers(min_value=-1, max_value=13), max_size=60))
def test_no_two_holders_share_an_address(operations):
    pool = a_pool("10.0.0.1/28")
    held: list[IPv4Address] = []
    for operation in operations:
        if operation < 0 and pool.free:
            address = pool.allocate()
            assert address not in held
            held.append(address)
        elif 0 <= operation < len(held):
            pool.release(held.pop(operation))
    assert pool.used == 3 + len(held)


def test_the_first_default_subnet_is_dockers():
    assert str(choose_gateway([])) == "172.17.0.1/16"


def test_subnets_that_the_host_routes_are_left_alone():
    routed = [IPv4Network("0.0.0.0/0"), IPv4Network("172.17.5.0/24"), IPv4Network("172.18.0.0/15")]
    assert str(choose_gateway(routed)) == "172.20.0.1/16"


def test_later_pools_are_cut_into_small_subnets():
    assert str(choose_gateway([IPv4Network("172.16.0.0/12")])) == "192.168.0.1/20"


def test_a_host_that_routes_everything_private_leaves_no_pool():
    with pytest.raises(NoPoolLeft):
        choose_gateway([IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")])
