"""The registry client against docker-registry, and against servers that misbehave."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys

import pytest
from tests.support import registry as servers
from tests.support.bad_proxy import (
    BadProxy,
    Corrupt,
    Cut,
    CutRequest,
    Drop,
    Header,
    Long,
    NoRanges,
    Short,
    Silence,
    Slow,
    Status,
    redirect,
)

from pinnace.contracts.registry import ANONYMOUS, Credentials
from pinnace.errors import (
    InvalidParameter,
    NotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    TooManyRequests,
)
from pinnace.host.registry.client import HttpRegistries
from pinnace.host.registry.proxies import Proxies
from pinnace.host.registry.settings import RegistrySettings
from pinnace.oci.descriptor import Descriptor

pytestmark = pytest.mark.root

ADA = Credentials(servers.USERNAME, servers.PASSWORD)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = os.urandom(200_000)


def described(content, media_type="application/octet-stream"):
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Descriptor(media_type=media_type, digest=digest, size=len(content))


def pieces(content, size=16_384):
    async def from_offset(offset):
        for start in range(offset, len(content), size):
            yield content[start : start + size]

    return from_offset


async def read(repository, descriptor, offset=0):
    return b"".join([chunk async for chunk in repository.blob(descriptor, offset=offset)])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with servers.start(tmp_path_factory.mktemp("registry")) as server:
        server.put_blob("team/app", LAYER)
        server.put_image("team/app", "1", layers=[], diff_ids=["sha256:" + "0" * 64])
        yield server


@pytest.fixture
def proxy(plain):
    with BadProxy(plain.address) as made:
        yield made


@pytest.fixture
async def client():
    made = HttpRegistries(RegistrySettings(stall_s=1.0, backoff_s=0.02))
    yield made
    await made.close()


@pytest.fixture(params=["plain", "basic", "token", "tls"])
def any_kind(request, tmp_path):
    if request.param != "tls":
        with servers.start(tmp_path, kind=request.param) as server:
            yield server
        return
    with (
        servers.own_address() as address,
        servers.start(tmp_path, kind="tls", address=address) as server,
    ):
        yield server


async def test_what_is_pushed_is_there_and_comes_back(any_kind):
    client = HttpRegistries(
        RegistrySettings(certificates=[any_kind.certs_d] if any_kind.ca else [])
    )
    credentials = ADA if any_kind.kind in ("basic", "token") else ANONYMOUS
    large, small = os.urandom(3 << 20), b"small"
    document = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST}).encode()
    name = f"{any_kind.address}/team/new"
    told = []
    async with client.repository(name, credentials, push=True) as repository:
        assert repository.name == name
        assert not await repository.has_blob(described(large).digest)
        for content in (large, small, b""):
            await repository.upload_blob(described(content), pieces(content), sent=told.append)
        assert await repository.has_blob(described(large).digest)
        assert told[-1] == len(small)
        assert told[-2] == len(large)
        assert await read(repository, described(large)) == large
        assert await read(repository, described(large), offset=3_000_000) == large[3_000_000:]
        assert await read(repository, described(b"")) == b""
        config = json.loads(document) | {
            "config": {"mediaType": "x", "digest": described(small).digest, "size": 5},
            "layers": [],
        }
        document = json.dumps(config).encode()
        digest = await repository.put_manifest(document, MANIFEST, "1")
        await repository.put_manifest(document, MANIFEST, digest)
        assert digest == described(document).digest
    async with client.repository(name, credentials) as repository:
        resolved = await repository.resolve("1")
        assert resolved == described(document, MANIFEST)
        for reference in ("1", digest):
            fetched = await repository.manifest(reference)
            assert (fetched.content, fetched.descriptor) == (document, resolved)
        assert list(await repository.tags()) == ["1"]
    async with client.repository(f"{any_kind.address}/team/b", credentials, push=True) as other:
        assert await other.mount_blob(described(large).digest, "team/new")
        assert await other.mount_blob(described(small).digest, name)
        assert not await other.mount_blob(described(b"nope").digest, "team/new")
        assert await other.has_blob(described(large).digest)
    await client.close()


async def test_what_is_not_there_is_told_in_dockers_words(plain, client):
    async with client.repository(f"{plain.address}/team/app") as repository:
        with pytest.raises(NotFound) as caught:
            await repository.resolve("2")
        assert caught.value.message == (
            f"manifest for {plain.address}/team/app:2 not found:"
            " manifest unknown: manifest unknown"
        )
        missing = "sha256:" + "0" * 64
        with pytest.raises(NotFound, match=f"manifest for .*app@{missing} not found"):
            await repository.manifest(missing)
        with pytest.raises(NotFound, match=r"blob unknown: blob unknown to registry"):
            await read(repository, Descriptor(media_type="", digest=missing, size=1))
    async with client.repository(f"{plain.address}/team/none") as repository:
        with pytest.raises(NotFound, match=r"repository .*team/none not found: name unknown: "):
            await repository.tags()


async def test_credentials_that_are_refused_or_missing_are_told_in_dockers_words(tmp_path, client):
    with (
        servers.start(tmp_path / "b", kind="basic") as basic,
        servers.start(tmp_path / "t", kind="token") as token,
    ):
        wrong = Credentials("ada", "wrong")
        told = {}
        for server in (basic, token):
            for credentials in (ANONYMOUS, wrong):
                async with client.repository(f"{server.address}/a/b", credentials) as repository:
                    with pytest.raises(RegistryUnauthorized) as caught:
                        await repository.resolve("1")
                told[server.kind, credentials.username] = caught.value.message
        head = f'Head "http://{basic.address}/v2/a/b/manifests/1": '
        assert told["basic", ""] == f"{head}no basic auth credentials"
        assert told["basic", "ada"] == "unauthorized: authentication required"
        head = f'Head "http://{token.address}/v2/a/b/manifests/1": '
        for username in ("", "ada"):
            refused = f"{head}unauthorized: incorrect username or password"
            assert told["token", username] == refused
        given = Credentials(registry_token=token.tokens.issue(["repository:a/other:pull"]))
        async with client.repository(f"{token.address}/a/b", given) as repository:
            with pytest.raises(NotFound, match=r"pull access denied for .*/a/b, repository does"):
                await repository.resolve("1")


async def test_logins_give_what_to_keep(tmp_path, client):
    with (
        servers.start(tmp_path / "b", kind="basic") as basic,
        servers.start(tmp_path / "t", kind="token") as token,
    ):
        assert (await client.login(basic.address, ADA)).status == "Login Succeeded"
        assert (await client.login(f"http://{basic.address}/v1/", ADA)).identity_token == ""
        kept = (await client.login(token.address, ADA)).identity_token
        assert kept == token.tokens.identity_token
        again = Credentials(identity_token=kept)
        assert (await client.login(token.address, again)).identity_token == kept
        token.put_blob("a/b", b"blob")
        async with client.repository(f"{token.address}/a/b", again) as repository:
            assert await repository.has_blob(described(b"blob").digest)
        refused = f"http://{basic.address}/v2/ failed with status: 401 Unauthorized"
        for server, text in ((basic, refused), (token, "unauthorized: incorrect username")):
            with pytest.raises(RegistryUnauthorized, match=text):
                await client.login(server.address, Credentials("ada", "wrong"))


async def test_one_token_serves_many_requests_and_is_renewed_in_mid_transfer(tmp_path, client):
    with servers.start(tmp_path, kind="token") as server:
        server.put_blob("a/b", LAYER)
        async with client.repository(f"{server.address}/a/b", ADA) as repository:
            held = await asyncio.gather(
                *(repository.has_blob(described(LAYER).digest) for _ in range(8))
            )
            assert held == [True] * 8
            assert len(server.tokens.requests) == 1
            # A registry that has restarted with other keys takes none of the tokens given out.
            with BadProxy(server.address) as proxy:
                challenge = (
                    f'Bearer realm="{server.tokens.realm}",service="registry.tests",'
                    'scope="repository:a/b:pull",error="invalid_token"'
                )
                name = f"{proxy.address}/a/b"
                async with client.repository(name, ADA) as through:
                    blob = through.blob(described(LAYER))
                    received = await anext(blob)
                    proxy.fail(Status(401, {"WWW-Authenticate": challenge}), path="/blobs/")
                    received += b"".join([chunk async for chunk in blob])
                    assert received == LAYER
                    assert await through.has_blob(described(LAYER).digest)
        assert len(server.tokens.requests) == 2


@pytest.mark.parametrize("after", range(0, len(LAYER), len(LAYER) // 10))
async def test_a_download_that_is_cut_off_goes_on_where_it_broke(client, proxy, after):
    proxy.fail(Cut(after=after), path="/blobs/")
    async with client.repository(f"{proxy.address}/team/app") as repository:
        assert await read(repository, described(LAYER)) == LAYER
    asked = [seen.headers.get("Range") for seen in proxy.requests if "/blobs/" in seen.path]
    assert asked[0] is None
    assert len(asked) == 2
    if after:
        assert asked[1] == f"bytes={after}-"


@pytest.mark.parametrize(
    "second",
    [
        NoRanges(),
        Status(416),
        Header({"Content-Range": f"bytes 5-{len(LAYER) - 1}/{len(LAYER)}"}),
        Header({"Content-Range": None}),
        Header({"Content-Range": "bytes 100000-100001/7"}),
    ],
    ids=["no-ranges", "refused", "elsewhere", "untold", "other-size"],
)
async def test_servers_without_proper_ranges_are_read_again_from_the_start(client, proxy, second):
    proxy.fail(Cut(after=100_000), path="/blobs/")
    proxy.fail(second, path="/blobs/")
    async with client.repository(f"{proxy.address}/team/app") as repository:
        assert await read(repository, described(LAYER)) == LAYER


@pytest.mark.parametrize(
    "fault", [Status(500), Status(503), Status(429, {"Retry-After": "0"}), Drop()]
)
async def test_what_may_pass_is_tried_again(client, proxy, fault):
    for path in ("/manifests/", "/blobs/"):
        proxy.fail(fault, path=path, times=2)
    async with client.repository(f"{proxy.address}/team/app") as repository:
        await repository.resolve("1")
        assert await read(repository, described(LAYER)) == LAYER
    assert proxy.count("GET", "/blobs/") == 3


async def test_what_does_not_pass_fails_after_the_attempts(proxy):
    client = HttpRegistries(RegistrySettings(attempts=2, backoff_s=0.02))
    proxy.fail(Status(502), path="/manifests/", times=-1)
    proxy.fail(Status(429, {"Retry-After": "0"}), path="/tags/", times=-1)
    async with client.repository(f"{proxy.address}/team/app") as repository:
        with pytest.raises(RegistryUnavailable, match="unexpected HTTP status: 502 Bad Gateway"):
            await repository.resolve("1")
        with pytest.raises(TooManyRequests, match="toomanyrequests"):
            await repository.tags()
    assert proxy.count("HEAD", "/manifests/") == 2
    assert proxy.count("GET", "/tags/") == 2
    await client.close()


async def test_a_blob_of_another_size_is_refused(client, proxy):
    async with client.repository(f"{proxy.address}/team/app") as repository:
        for silent in (True, False):
            proxy.fail(Long(silent=silent), path="/blobs/")
            with pytest.raises(InvalidParameter, match="sha256:"):
                await read(repository, described(LAYER))
        proxy.fail(Short(by=10), path="/blobs/")
        assert await read(repository, described(LAYER)) == LAYER


async def test_a_registry_that_trickles_or_is_silent_is_left(proxy):
    client = HttpRegistries(RegistrySettings(attempts=2, stall_s=0.2, backoff_s=0.02))
    async with client.repository(f"{proxy.address}/team/app") as repository:
        for fault in (Slow(piece=1, every_s=0.01), Silence(after=1000)):
            proxy.fail(fault, path="/blobs/", times=2)
            with pytest.raises(RegistryUnavailable, match="request canceled"):
                await read(repository, described(LAYER))
    await client.close()


async def test_a_slow_reader_is_no_slow_registry(client, proxy):
    quick = HttpRegistries(RegistrySettings(attempts=1, stall_s=0.05))
    async with quick.repository(f"{proxy.address}/team/app") as repository:
        received = b""
        async for chunk in repository.blob(described(LAYER)):
            await asyncio.sleep(0.1)
            received += chunk
    assert received == LAYER
    await quick.close()


async def test_redirects_are_followed_for_content(client, plain, proxy):
    digest = described(LAYER).digest
    with BadProxy(plain.address) as storage:
        proxy.fail(
            redirect(f"http://{storage.address}/v2/team/app/blobs/{digest}?X-Signature=a%2Fb"),
            path="/blobs/",
        )
        async with client.repository(f"{proxy.address}/team/app") as repository:
            assert await read(repository, described(LAYER)) == LAYER
        assert storage.requests[0].path.endswith("?X-Signature=a%2Fb")


async def test_redirects_do_not_go_on_for_ever(client, proxy):
    proxy.fail(redirect("/v2/again"), path="/v2/", skip=1, times=-1)
    async with client.repository(f"{proxy.address}/team/app") as repository:
        with pytest.raises(RegistryUnavailable, match="stopped after 10 redirects"):
            await read(repository, described(LAYER))


@pytest.mark.parametrize(
    "fault",
    [
        Corrupt(),
        Header({"Docker-Content-Digest": "sha256:" + "1" * 64}),
        Header({"Docker-Content-Digest": "sha256:../../../etc"}),
        Header({"Content-Type": "text/html"}),
        Header({"Content-Type": None}),
    ],
    ids=["corrupt", "other-digest", "bad-digest", "html", "untyped"],
)
async def test_manifests_that_are_not_what_they_should_be_are_refused(client, proxy, fault):
    async with client.repository(f"{proxy.address}/team/app") as repository:
        digest = (await repository.resolve("1")).digest
        for reference in ("1", digest):
            proxy.fail(fault, method="GET", path="/manifests/")
            with pytest.raises(InvalidParameter):
                await repository.manifest(reference)


async def test_a_huge_manifest_is_not_read_to_its_end(client, proxy):
    proxy.fail(Long(by=20 << 20, silent=True), method="GET", path="/manifests/")
    async with client.repository(f"{proxy.address}/team/app") as repository:
        with pytest.raises(InvalidParameter, match="too large"):
            await repository.manifest("1")


async def test_registries_that_tell_nothing_to_head_are_asked_with_get(client, proxy):
    proxy.fail(Header({"Docker-Content-Digest": None}), method="HEAD")
    proxy.fail(Status(405), method="HEAD")
    async with client.repository(f"{proxy.address}/team/app") as repository:
        assert await repository.resolve("1") == await repository.resolve("1")
    assert proxy.count("GET", "/manifests/") == 2


async def test_an_upload_that_is_cut_off_succeeds_all_the_same(client, proxy, plain):
    content = os.urandom(4 << 20)
    proxy.fail(CutRequest(after=2 << 20), method="PATCH")
    proxy.fail(Status(503), method="PUT")
    async with client.repository(f"{proxy.address}/team/cut", push=True) as repository:
        await repository.upload_blob(described(content), pieces(content))
    async with client.repository(f"{plain.address}/team/cut") as repository:
        assert await read(repository, described(content)) == content


async def test_what_the_registry_says_it_has_of_an_upload_is_not_sent_again(client, proxy):
    content = os.urandom(4 << 20)
    half = 2 << 20
    proxy.fail(CutRequest(after=half), method="PATCH")
    proxy.fail(
        Status(204, {"Range": f"0-{half - 1}", "Location": "/v2/next"}),
        method="GET",
        path="/uploads/",
    )
    for method, status in (("PATCH", 202), ("PUT", 201)):
        proxy.fail(Status(status), method=method, path="/v2/next")
    async with client.repository(f"{proxy.address}/team/half", push=True) as repository:
        await repository.upload_blob(described(content), pieces(content))
    patch, put = proxy.requests[-2:]
    assert patch.headers["Content-Range"] == f"{half}-{len(content) - 1}"
    assert patch.headers["Content-Length"] == str(half)
    assert put.path == f"/v2/next?digest={described(content).digest}"


async def test_an_upload_the_registry_forgot_begins_anew(client, proxy):
    content = os.urandom(2 << 20)
    proxy.fail(CutRequest(after=1 << 20), method="PATCH")
    proxy.fail(Status(404), method="GET", path="/uploads/")
    async with client.repository(f"{proxy.address}/team/forgot", push=True) as repository:
        await repository.upload_blob(described(content), pieces(content))
        assert await repository.has_blob(described(content).digest)
    assert proxy.count("POST", "/uploads/") == 2


async def test_content_that_fails_by_itself_is_not_tried_again(client, proxy):
    async def broken(offset):
        yield b"x" * 1000
        raise OSError("disk failed")

    large = Descriptor(media_type="", digest="sha256:" + "1" * 64, size=4 << 20)
    async with client.repository(f"{proxy.address}/team/broken", push=True) as repository:
        with pytest.raises(OSError, match="disk failed"):
            await repository.upload_blob(large, broken)
    assert proxy.count("POST") == 1


async def test_a_blob_with_another_digest_is_refused_by_the_registry(client, plain):
    wrong = Descriptor(media_type="", digest="sha256:" + "1" * 64, size=5)
    async with client.repository(f"{plain.address}/team/wrong", push=True) as repository:
        with pytest.raises(RegistryUnavailable, match="digest invalid"):
            await repository.upload_blob(wrong, pieces(b"small"))


async def test_tags_come_page_by_page(client, plain, proxy):
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    document, _ = plain.get_manifest("team/app", "1")
    plain.put_blob("team/many", b"")
    config = json.loads(document)
    _, _, blob = plain.request("GET", f"/v2/team/app/blobs/{config['config']['digest']}")
    plain.put_blob("team/many", blob)
    for number in range(7):
        plain.put_manifest("team/many", f"t{number}", document, kind)
    proxy.fail(
        Header({"Link": '</v2/team/many/tags/list?last=t2&n=3>; rel="next"'}), path="/tags/"
    )
    async with client.repository(f"{proxy.address}/team/many") as repository:
        assert sorted(await repository.tags()) == [f"t{number}" for number in range(7)]
    assert proxy.count("GET", "/tags/") == 2


async def test_pages_of_tags_end(client, proxy):
    again = Header({"Link": '</v2/team/app/tags/list?last=0&n=3>; rel="next"'})
    proxy.fail(again, path="/tags/", times=-1)
    async with client.repository(f"{proxy.address}/team/app") as repository:
        with pytest.raises(RegistryUnavailable, match="do not end"):
            await repository.tags()


async def test_mirrors_are_asked_before_the_origin_and_left_when_they_fail(plain):
    with BadProxy(plain.address) as mirror, BadProxy(plain.address) as origin:
        plain.put_blob("library/thing", LAYER)
        plain.put_image("library/thing", "1", layers=[], diff_ids=["sha256:" + "0" * 64])
        client = HttpRegistries(
            RegistrySettings(
                mirrors=["http://127.0.0.1:1", f"http://{mirror.address}"],
                default_url=f"http://{origin.address}",
            )
        )
        async with client.repository("docker.io/library/thing") as repository:
            await repository.resolve("1")
            assert await read(repository, described(LAYER)) == LAYER
            assert origin.requests == []
            mirror.fail(Cut(after=70_000), path="/blobs/")
            assert await read(repository, described(LAYER)) == LAYER
            asked = [seen.headers.get("Range") for seen in origin.requests]
            assert asked[-1] == "bytes=70000-"
            mirror.fail(Status(404), path="/manifests/", times=-1)
            await repository.manifest("1")
        async with client.repository("docker.io/library/thing", push=True) as repository:
            assert await repository.has_blob(described(LAYER).digest)
            assert mirror.count("HEAD", "/blobs/") == 0
        await client.close()


async def test_servers_that_cannot_be_reached_are_told_in_dockers_words(client, tmp_path):
    told = {}
    with servers.own_address() as address:
        with (
            servers.start(tmp_path / "h", address=address) as plain,
            servers.start(tmp_path / "s", kind="tls", address=address) as tls,
        ):
            for name in ("127.0.0.1:1", "nosuch.invalid", plain.address, tls.address):
                async with client.repository(f"{name}/a/b") as repository:
                    with pytest.raises(RegistryUnavailable) as caught:
                        await repository.resolve("1")
                told[name] = caught.value.message
    assert told == {
        "127.0.0.1:1": 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect:'
        " connection refused",
        "nosuch.invalid": 'Get "https://nosuch.invalid/v2/": dial tcp: lookup nosuch.invalid:'
        " no such host",
        plain.address: f'Get "https://{plain.address}/v2/": http: server gave HTTP response to'
        " HTTPS client",
        tls.address: f'Get "https://{tls.address}/v2/": x509: certificate signed by unknown'
        " authority",
    }


async def test_insecure_registries_are_asked_over_tls_first_and_then_without(tmp_path):
    with servers.own_address() as address:
        client = HttpRegistries(RegistrySettings(insecure=["10.223.0.0/24"]))
        for kind in ("plain", "tls"):
            with servers.start(tmp_path / kind, kind=kind, address=address) as server:
                server.put_blob("a/b", b"blob")
                async with client.repository(f"{server.address}/a/b") as repository:
                    assert await repository.has_blob(described(b"blob").digest)
        await client.close()


async def test_registries_are_asked_through_the_proxy_of_their_scheme(tmp_path):
    with (
        servers.own_address() as address,
        servers.start(tmp_path, address=address) as server,
        BadProxy(server.address) as forward,
    ):
        server.put_blob("a/b", b"blob")
        client = HttpRegistries(
            RegistrySettings(
                insecure=[server.address], proxies=Proxies(http=f"http://{forward.address}")
            )
        )
        async with client.repository(f"{server.address}/a/b") as repository:
            assert await read(repository, described(b"blob")) == b"blob"
        assert forward.requests[-1].path.startswith(f"http://{server.address}/v2/a/b/blobs/")
        await client.close()


async def test_client_certificates_are_shown_to_their_registry(tmp_path):
    with servers.own_address() as address:
        with servers.start(tmp_path / "r", kind="tls", address=address) as server:
            server.put_blob("a/b", b"blob")
            server.stop()
            config = json.loads((tmp_path / "r/config.yml").read_text())
            config["http"]["tls"]["clientcas"] = [str(server.ca)]
            (tmp_path / "r/config.yml").write_text(json.dumps(config))
            server.launch()
            client = HttpRegistries(
                RegistrySettings(certificates=[server.certs_d], attempts=1, backoff_s=0.01)
            )
            async with client.repository(f"{server.address}/a/b") as repository:
                with pytest.raises(
                    RegistryUnavailable, match="remote error: tls: bad certificate"
                ):
                    await read(repository, described(b"blob"))
            directory = server.ca.parent
            for name in ("cert", "key"):
                source = tmp_path / f"r/tls/server.{'crt' if name == 'cert' else name}"
                (directory / f"client.{name}").write_bytes(source.read_bytes())
            async with client.repository(f"{server.address}/a/b") as repository:
                assert await read(repository, described(b"blob")) == b"blob"
            (directory / "client.key").unlink()
            async with client.repository(f"{server.address}/a/b") as repository:
                with pytest.raises(RegistryUnavailable, match=r"missing key client\.key"):
                    await read(repository, described(b"blob"))
            await client.close()


def test_a_client_that_was_not_asked_has_not_loaded_the_http_library():
    code = "import sys, pinnace.daemon.main; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"False\n"


async def test_a_search_asks_the_index(client, proxy):
    found = {
        "num_results": 2,
        "results": [
            {"name": "busybox", "description": None, "star_count": 7, "is_official": True},
            {"name": "a/b", "description": "text", "star_count": 1, "is_trusted": True},
            {"name": "too/many", "description": ""},
        ],
    }
    proxy.fail(Status(200, {}, json.dumps(found).encode()), path="/v1/search")
    hits = await client.search(f"{proxy.address}/box", limit=2)
    assert [(hit.name, hit.star_count, hit.is_official) for hit in hits] == [
        ("busybox", 7, True),
        ("a/b", 1, False),
    ]
    assert proxy.requests[-1].path == "/v1/search?q=box&n=2"
    with pytest.raises(RegistryUnavailable, match="Unexpected status code 404"):
        await client.search(f"{proxy.address}/box", limit=2)
    with pytest.raises(InvalidParameter, match="Invalid repository name"):
        await client.search("http://x/y", limit=2)
    with pytest.raises(RegistryUnavailable, match=r"HTTPS attempt: .* HTTP attempt: "):
        await client.search("127.0.0.1:1/y", limit=2)
