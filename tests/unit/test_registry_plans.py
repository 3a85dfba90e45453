"""What the registry client decides without asking anybody."""

import pytest

from pinnace.errors import InvalidParameter, NotFound, RegistryUnauthorized, RegistryUnavailable
from pinnace.host.registry.challenge import parse_challenges
from pinnace.host.registry.endpoints import Endpoints
from pinnace.host.registry.failures import (
    ServerFailed,
    Subject,
    Throttled,
    failure_of,
    read_refusal,
    retry_after,
    shown,
)
from pinnace.host.registry.proxies import Proxies, proxies_from
from pinnace.host.registry.retries import Patience, Retries
from pinnace.host.registry.search import split_term
from pinnace.host.registry.settings import RegistrySettings
from pinnace.oci.registry_address import registry_domain

SUBJECT = Subject("r.example/a/b", "r.example/a/b:1")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (['Basic realm="r"'], [("basic", {"realm": "r"})]),
        (
            ['Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"'],
            [
                (
                    "bearer",
                    {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (
            ['Basic realm="a, b", Bearer realm=x , error="invalid_token"'],
            [("basic", {"realm": "a, b"}), ("bearer", {"realm": "x", "error": "invalid_token"})],
        ),
        (["Negotiate", "Basic"], [("negotiate", {}), ("basic", {})]),
        ([r'Basic realm="a\"b\\c"'], [("basic", {"realm": 'a"b\\c'})]),
        (["BEARER Realm = https://x/y?z"], [("bearer", {"realm": "https://x/y?z"})]),
        (['Basic realm="never ends'], [("basic", {})]),
        (["", "=,=", '"'], []),
        (["Basic " + "x" * 20_000], []),
        (['Bearer realm="a",realm="b"'], [("bearer", {"realm": "a"})]),
    ],
)
def test_challenges_are_read_as_http_writes_them(values, expected):
    found = [(one.scheme, dict(one.parameters)) for one in parse_challenges(values)]
    assert found[: len(expected)] == expected
    assert len(found) >= len(expected)


async def endpoints_of(domain, *, push=False, addresses=(), **settings):
    async def look_up(host):
        return addresses

    found = await Endpoints(RegistrySettings(**settings), look_up).of(domain, push=push)
    return [(one.url, one.verify, one.mirror) for one in found]


async def test_the_default_registry_is_dockers():
    assert await endpoints_of("docker.io") == [("https://registry-1.docker.io", True, False)]


async def test_mirrors_come_first_for_pulls_of_the_default_registry_only():
    mirrors = {"mirrors": ["https://m1", "http://127.0.0.1:5000/"]}
    assert await endpoints_of("docker.io", **mirrors) == [
        ("https://m1", True, True),
        ("http://127.0.0.1:5000", False, True),
        ("https://registry-1.docker.io", True, False),
    ]
    assert len(await endpoints_of("docker.io", push=True, **mirrors)) == 1
    assert await endpoints_of("r.example", **mirrors) == [("https://r.example", True, False)]


@pytest.mark.parametrize(
    ("domain", "insecure", "addresses", "expected"),
    [
        ("localhost:5000", [], [], True),
        ("127.8.9.1", [], [], True),
        ("[::1]:5000", [], [], True),
        ("r.example", [], ["127.0.0.1"], True),
        ("r.example", [], ["192.0.2.1"], False),
        ("r.example", ["192.0.2.0/24"], ["192.0.2.1"], True),
        ("192.0.2.9:5000", ["192.0.2.0/24"], [], True),
        ("r.example:5000", ["r.example:5000"], [], True),
        ("r.example:5000", ["r.example"], [], True),
        ("r.example:5001", ["r.example:5000"], [], False),
        ("R.EXAMPLE", ["r.example"], [], True),
        ("evil-r.example", ["r.example"], [], False),
    ],
)
async def test_only_loopback_and_what_is_configured_is_insecure(
    domain, insecure, addresses, expected
):
    found = await endpoints_of(domain, insecure=insecure, addresses=addresses)
    tls, *plain = [(url.partition(":")[0], verify) for url, verify, _ in found]
    assert tls == ("https", not expected)
    assert plain == ([("http", False)] if expected else [])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://r.example/v2/", "http://secure:1"),
        ("http://r.example/v2/", "http://plain:1"),
        ("https://127.0.0.1:5000/", None),
        ("http://[::1]/", None),
        ("https://localhost/", None),
        ("https://internal.example/", None),
        ("https://a.internal.example/", None),
        ("https://notinternal.example/", "http://secure:1"),
        ("https://sub.only.example/", None),
        ("https://only.example/", "http://secure:1"),
        ("https://10.1.2.3/", None),
        ("https://192.0.2.7/", None),
        ("https://port.example:444/", None),
        ("https://port.example/", "http://secure:1"),
    ],
)
def test_proxies_are_chosen_as_go_chooses_them(url, expected):
    none_for = "internal.example, .only.example,10.0.0.0/8,192.0.2.7,port.example:444"
    assert Proxies("plain:1", "http://secure:1", none_for).for_url(url) == expected


def test_everything_may_be_asked_directly():
    assert Proxies("p:1", "p:1", "*").for_url("https://r.example") is None


def test_what_is_not_configured_comes_from_the_environment():
    environment = {"HTTP_PROXY": "a:1", "https_proxy": "b:1", "NO_PROXY": "x"}
    assert proxies_from(environment) == Proxies("a:1", "b:1", "x")
    assert proxies_from(environment, http="c:1", none_for="y") == Proxies("c:1", "b:1", "y")


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (
            404,
            b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}',
            NotFound,
            "manifest for r.example/a/b:1 not found: manifest unknown: manifest unknown",
        ),
        (
            404,
            b'{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known"}]}',
            NotFound,
            "repository r.example/a/b not found: name unknown: repository name not known",
        ),
        (404, b"<html>", NotFound, "manifest for r.example/a/b:1 not found: manifest unknown:"),
        (
            403,
            b'{"errors":[{"code":"DENIED","message":"requested access is denied"}]}',
            NotFound,
            "pull access denied for r.example/a/b, repository does not exist or may require"
            " 'docker login': denied: requested access is denied",
        ),
        (401, b'{"details":"incorrect username or password"}', RegistryUnauthorized,
         "unauthorized: incorrect username or password"),
        (401, b"", RegistryUnauthorized, "unauthorized: authentication required"),
        (429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your limit"}]}',
         Throttled, "toomanyrequests: You have reached your limit"),
        (503, b'{"errors":[{"code":"X","message":"y"}]}', ServerFailed,
         "received unexpected HTTP status: 503 Service Unavailable"),
        (400, b'{"errors":[{"code":"MANIFEST_INVALID","message":"bad\\nline\\u001b[0m"}]}',
         RegistryUnavailable, "manifest invalid: bad line [0m"),
        (418, b"[" * 100_000, RegistryUnavailable, "received unexpected HTTP status: 418"),
    ],
)  # fmt: skip
def test_refusals_are_told_in_dockers_words(status, body, kind, text):
    failure = failure_of(read_refusal(status, body), SUBJECT)
    assert isinstance(failure, kind)
    assert failure.message.startswith(text)


def test_a_push_that_is_denied_says_so():
    refusal = read_refusal(403, b'{"errors":[{"code":"DENIED","message":"no"}]}')
    failure = failure_of(refusal, Subject("a/b", push=True))
    assert (type(failure), failure.message) == (RegistryUnauthorized, "denied: no")


def test_when_to_come_back_is_seconds_or_a_date():
    assert retry_after({"Retry-After": "7"}) == 7
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"Retry-After": "Wed, 21 Oct 2065 07:28:00 GMT"}) > 1_000_000
    for nonsense in ("", "soon", "-1", "½"):
        assert retry_after({"Retry-After": nonsense}) is None


async def test_attempts_end_though_a_server_gives_a_little_each_time():
    retries = Retries(Patience(2, 0.0))
    count = 0

    async def creep():
        nonlocal count
        while True:
            retries.progressed()
            count += 1
            await retries.failed(ServerFailed("no"))

    with pytest.raises(ServerFailed):
        await creep()
    assert count == 40


def test_urls_in_messages_have_no_secrets():
    assert shown("https://u:p@h/p?X-Amz-Signature=1") == "https://h/p"
    assert shown("https://h/v1/search?q=a&n=1") == "https://h/v1/search?q=a&n=1"


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("busybox", ("docker.io", "busybox")),
        ("library/busybox", ("docker.io", "busybox")),
        ("ada/web", ("docker.io", "ada/web")),
        ("r.example/ada/web", ("r.example", "ada/web")),
        ("localhost/x", ("localhost", "x")),
        ("index.docker.io/library/x", ("docker.io", "x")),
    ],
)
def test_a_search_may_name_its_registry(term, expected):
    assert split_term(term) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("r.example:5000", "r.example:5000"),
        ("http://r.example:5000/v2/", "r.example:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_addresses_of_registries_have_many_forms(address, expected):
    assert registry_domain(address) == expected


@pytest.mark.parametrize("address", ["a b", "user@host", "h:x", "https://h:1:2/", "a\r\nb", "ä"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InvalidParameter, match="unable to parse server address"):
        registry_domain(address)
