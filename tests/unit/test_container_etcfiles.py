"""/etc/hosts, /etc/hostname and /etc/resolv.conf."""

from __future__ import annotations

import pytest

from pinnace.engine.containers.etcfiles import (
    Resolver,
    check_dns,
    hostname_file,
    hosts_file,
    parse_resolv_conf,
    resolv_conf,
    split_extra_host,
)
from pinnace.errors import InvalidParameter


def test_hosts_names_localhost_extra_hosts_and_the_container_itself():
    content = hosts_file(
        hostname="web",
        domainname="example.org",
        addresses=["172.17.0.2"],
        extra=["db:10.0.0.5", "six:2001:db8::1", "gw:host-gateway", "alt=10.0.0.6"],
        gateways=["172.17.0.1"],
    )
    lines = content.splitlines()
    assert lines[:2] == ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    assert lines[6:] == [
        "10.0.0.5\tdb",
        "2001:db8::1\tsix",
        "172.17.0.1\tgw",
        "10.0.0.6\talt",
        "172.17.0.2\tweb.example.org web",
    ]


def test_hosts_of_the_host_network_start_with_the_hosts_file():
    content = hosts_file(hostname="box", extra=["a:1.2.3.4"], host_file="127.0.0.1 localhost\n")
    assert content == "127.0.0.1 localhost\n1.2.3.4\ta\n"


def test_host_gateway_without_a_gateway_is_refused():
    with pytest.raises(InvalidParameter, match="unable to derive the IP value for host-gateway"):
        hosts_file(hostname="web", extra=["gw:host-gateway"])


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("name", 'bad format for add-host: "name"'),
        (":1.2.3.4", 'bad format for add-host: ":1.2.3.4"'),
        ("a:1.2.3", 'invalid IP address in add-host: "1.2.3"'),
        ("a b:1.2.3.4", 'bad format for add-host: "a b:1.2.3.4"'),
        ("a:1.2.3.4\nevil", 'bad format for add-host: "a:1.2.3.4\nevil"'),
    ],
)
def test_malformed_extra_hosts_are_refused(entry, text):
    with pytest.raises(InvalidParameter) as caught:
        check_dns([], [entry])
    assert caught.value.message == text


def test_brackets_around_an_address_are_taken_off():
    assert split_extra_host("a:[::1]") == ("a", "::1")


def test_hostname_is_the_host_name_alone():
    assert hostname_file("web") == "web\n"


HOST = parse_resolv_conf(
    "# made by hand\nnameserver 127.0.0.1\nnameserver 10.0.0.53 ; ours\n"
    "domain old.example\nsearch example.org example.net\noptions ndots:2 rotate\n"
)


def test_the_hosts_resolver_is_read():
    assert HOST.servers == ("127.0.0.1", "10.0.0.53")
    assert HOST.search == ("example.org", "example.net")
    assert HOST.options == ("ndots:2", "rotate")


def test_loopback_servers_are_dropped():
    assert resolv_conf(HOST, Resolver(), host_network=False) == (
        "nameserver 10.0.0.53\nsearch example.org example.net\noptions ndots:2 rotate\n"
    )


def test_the_host_network_keeps_loopback_servers():
    assert "nameserver 127.0.0.1\n" in resolv_conf(HOST, Resolver(), host_network=True)


def test_without_a_reachable_server_the_fallback_is_used():
    host = Resolver(servers=("127.0.0.53", "::1", "fe80::1%eth0"))
    assert resolv_conf(host, Resolver(), host_network=False) == (
        "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
    )


def test_what_is_asked_for_replaces_the_hosts_and_a_dot_means_no_search():
    asked = Resolver(servers=("127.0.0.1",), search=(".",), options=("ndots:5",))
    assert resolv_conf(HOST, asked, host_network=False) == (
        "nameserver 127.0.0.1\noptions ndots:5\n"
    )


def test_a_bad_server_is_refused():
    with pytest.raises(InvalidParameter, match="bad nameserver address: dns1"):
        check_dns(["dns1"], [])
