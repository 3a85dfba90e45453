"""The access policy is a pure function of listener, peer and request head."""

import pytest

from pinnace.api.http.access import AccessPolicy, is_loopback
from pinnace.api.http.head import Headers, ListenerInfo, Peer, Request

UNIX = ListenerInfo("unix", False, "unix:///s")
TCP = ListenerInfo("tcp", False, "tcp://127.0.0.1:1")
TLS = ListenerInfo("tcp", True, "tcp://0.0.0.0:1")
ROOT = Peer(0, None, "127.0.0.1")
USER = Peer(1000, None, "127.0.0.1")
VERIFIED = Peer(None, "ci", "192.0.2.7")


def a_request(listener=TCP, peer=ROOT, authority=None, **fields):
    headers = Headers([(name.replace("_", "-"), value) for name, value in fields.items()])
    return Request("GET", "/", "", headers, False, listener, peer, authority)


def status(request, **policy):
    refusal = AccessPolicy(**policy).decide(request)
    return None if refusal is None else refusal.status


def test_root_on_loopback_is_served():
    assert status(a_request()) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_every_form_of_loopback_counts(address):
    assert is_loopback(address)
    assert status(a_request(peer=Peer(0, None, address))) is None


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0"])
def test_class_21_a_client_beyond_loopback_is_refused_even_as_root(address):
    assert not is_loopback(address)
    assert status(a_request(peer=Peer(0, None, address))) == 403


def test_class_21_a_client_without_a_user_is_refused():
    assert status(a_request(peer=Peer(None, None, "127.0.0.1"))) == 403
    assert status(a_request(peer=Peer(0, None))) == 403


def test_another_user_is_refused_unless_in_the_group():
    groups = {1000: frozenset({1000, 999}), 1001: frozenset({1001})}.__getitem__
    assert status(a_request(peer=USER)) == 403
    assert status(a_request(peer=USER), allowed_gid=999, groups_of=groups) is None
    assert status(a_request(peer=USER), allowed_gid=998, groups_of=groups) == 403
    other = Peer(1001, None, "127.0.0.1")
    assert status(a_request(peer=other), allowed_gid=999, groups_of=groups) == 403


def test_the_user_of_a_refused_client_is_named():
    refusal = AccessPolicy().decide(a_request(peer=USER))
    assert refusal is not None
    assert "1000" in refusal.reason


def test_a_verified_certificate_opens_every_address_and_host():
    assert status(a_request(TLS, VERIFIED, Host="docker.example.org:2376")) is None


def test_tls_without_a_certificate_is_treated_as_plain_tcp():
    assert status(a_request(TLS, Peer(None, None, "192.0.2.7"))) == 403
    assert status(a_request(TLS, ROOT)) is None


HOSTS = ["", "localhost", "LOCALHOST:2375", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:1"]


@pytest.mark.parametrize("host", HOSTS)
def test_local_hosts_are_served(host):
    assert status(a_request(Host=host)) is None


FOREIGN = ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test:2375", "192.0.2.1", "::1"]
FOREIGN += ["127.0.0.1:x", "127.0.0.1:80:80", "localhost:²", "0.0.0.0", "[::]", "127.0.0.2"]
FOREIGN += ["localhost.", "[::1", "::1]", "%6cocalhost"]


@pytest.mark.parametrize("host", FOREIGN)
def test_class_20_dns_rebinding_is_refused_by_host(host):
    assert status(a_request(Host=host)) == 403


def test_class_20_dns_rebinding_is_refused_by_absolute_target():
    assert status(a_request(authority="evil.test", Host="localhost")) == 403
    assert status(a_request(authority="localhost", Host="evil.test")) == 403
    assert status(a_request(authority="localhost:1", Host="localhost:1")) is None


def test_unix_sockets_ask_for_neither_host_nor_origin():
    assert status(a_request(UNIX, Peer(1000, None), Host="x", Origin="https://x")) is None


ORIGINS = ["https://evil.test", "null", "http://localhost:8080", "", "file://"]


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize(("listener", "peer"), [(TCP, ROOT), (TLS, VERIFIED)])
def test_class_20_any_origin_is_refused_without_a_list(listener, peer, origin):
    assert status(a_request(listener, peer, Origin=origin)) == 403


@pytest.mark.parametrize(("listener", "peer"), [(TCP, ROOT), (TLS, VERIFIED)])
@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "unheard-of"])
def test_class_20_cross_site_requests_without_origin_are_refused(listener, peer, site):
    assert status(a_request(listener, peer, Sec_Fetch_Site=site)) == 403
    assert status(a_request(listener, peer, Sec_Fetch_Site=site), origins=("https://a",)) == 403


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_a_page_opened_by_the_user_is_served(site):
    assert status(a_request(Sec_Fetch_Site=site)) is None


def test_a_listed_origin_is_served_across_sites_and_others_are_not():
    listed = {"origins": ("https://a", "https://b")}
    assert status(a_request(Origin="https://b", Sec_Fetch_Site="cross-site"), **listed) is None
    assert status(a_request(Origin="https://c"), **listed) == 403
    assert status(a_request(Origin="https://a.evil.test"), **listed) == 403
    assert status(a_request(Origin="*"), **listed) == 403


def test_every_origin_is_served_when_the_list_says_so():
    assert status(a_request(Origin="https://x", Sec_Fetch_Site="cross-site"), origins="*") is None


def test_two_origins_must_both_be_listed():
    headers = Headers([("Origin", "https://a"), ("Origin", "https://evil.test")])
    request = Request("GET", "/", "", headers, False, TCP, ROOT)
    assert status(request, origins=("https://a",)) == 403


def test_an_allowed_origin_does_not_open_the_listener_to_other_users():
    assert status(a_request(peer=USER, Origin="https://x"), origins="*") == 403
    assert status(a_request(Host="evil.test", Origin="https://x"), origins="*") == 403


def test_cors_fields_are_given_only_to_allowed_origins():
    request = a_request(Origin="https://a")
    assert AccessPolicy().cors_headers(request) == []
    assert AccessPolicy(origins=("https://b",)).cors_headers(request) == []
    assert AccessPolicy(origins=("https://a",)).cors_headers(a_request()) == []
    fields = dict(AccessPolicy(origins=("https://a",)).cors_headers(request))
    assert fields["Access-Control-Allow-Origin"] == "https://a"
    assert fields["Vary"] == "Origin"
    assert "PUT" in fields["Access-Control-Allow-Methods"]
    everyone = dict(AccessPolicy(origins="*").cors_headers(a_request()))
    assert everyone["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in everyone
