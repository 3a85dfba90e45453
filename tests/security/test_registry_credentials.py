"""Class 16: what a registry is told, and who else could learn it; class 15 on the wire."""

import json
import logging

import pytest
from tests.support import registry as servers
from tests.support.bad_proxy import BadProxy, Header, Status, redirect

from pinnace.contracts.logins import StoredLogin
from pinnace.contracts.registry import Credentials
from pinnace.errors import InvalidParameter, PinnaceError, RegistryUnauthorized
from pinnace.host.login_file import LoginFile
from pinnace.host.registry.client import HttpRegistries
from pinnace.host.registry.settings import RegistrySettings
from pinnace.host.registry.transport import Request
from pinnace.oci.descriptor import Descriptor

pytestmark = pytest.mark.root

SECRET = "correct-horse-battery"
ADA = Credentials("ada", SECRET)
BLOB = Descriptor(media_type="", digest="sha256:" + "1" * 64, size=4)
BASIC = Status(401, {"WWW-Authenticate": 'Basic realm="r"'})


@pytest.fixture
async def client():
    made = HttpRegistries(RegistrySettings(attempts=1, backoff_s=0.01))
    yield made
    await made.close()


@pytest.fixture
def registry():
    """A registry that asks for a password."""
    with BadProxy() as made:
        made.fail(BASIC, path="/v2/")
        yield made


@pytest.fixture
def stranger():
    with BadProxy() as made:
        yield made


def told(server):
    """Return every value of Authorization that a server was sent."""
    found = [seen.headers.get("Authorization") for seen in server.requests]
    return [value for value in found if value]


async def read(repository):
    return b"".join([chunk async for chunk in repository.blob(BLOB)])


async def test_class_16_a_redirect_to_another_host_carries_no_credentials(
    client, registry, stranger
):
    registry.fail(redirect(f"http://{stranger.address}/blob"), path="/blobs/")
    stranger.fail(Status(200, {}, b"blob"))
    async with client.repository(f"{registry.address}/a/b", ADA) as repository:
        assert await read(repository) == b"blob"
    assert told(registry)
    assert told(stranger) == []


async def test_class_16_a_stranger_that_asks_for_credentials_gets_none(client, registry, stranger):
    # CVE-2020-15157: a blob's other host answers 401 and names its own token server.
    registry.fail(redirect(f"http://{stranger.address}/blob"), path="/blobs/", times=-1)
    challenge = f'Bearer realm="http://{stranger.address}/token",service="s"'
    stranger.fail(Status(401, {"WWW-Authenticate": challenge}), times=-1)
    async with client.repository(f"{registry.address}/a/b", ADA) as repository:
        with pytest.raises(PinnaceError):
            await read(repository)
    assert told(stranger) == []
    assert stranger.count("GET", "/token") == 0


async def test_class_16_a_redirect_back_carries_no_credentials_either(client, registry, stranger):
    registry.fail(redirect(f"http://{stranger.address}/blob"), path="/blobs/")
    stranger.fail(redirect(f"http://{registry.address}/v2/secret"))
    registry.fail(Status(200, {}, b"blob"), path="/v2/secret")
    async with client.repository(f"{registry.address}/a/b", ADA) as repository:
        await read(repository)
    assert "Authorization" not in registry.requests[-1].headers


async def test_class_16_mirrors_get_no_credentials_of_what_they_mirror(registry, stranger):
    client = HttpRegistries(
        RegistrySettings(
            mirrors=[f"http://{stranger.address}"],
            default_url=f"http://{registry.address}",
            attempts=1,
        )
    )
    stranger.fail(BASIC, times=-1)
    registry.fail(Status(200, {}, b"blob"), path="/blobs/")
    async with client.repository("docker.io/a/b", ADA) as repository:
        assert await read(repository) == b"blob"
    assert told(stranger) == []
    assert told(registry)
    await client.close()


@pytest.mark.parametrize(
    "realm",
    [
        "http://token.invalid/token",
        "http://user:secret@127.0.0.1/token",
        "ftp://127.0.0.1/token",
        "file:///etc/passwd",
        "//127.0.0.1/token",
        "",
    ],
)
async def test_class_16_passwords_go_to_proper_token_servers_only(client, realm):
    with BadProxy() as registry:
        registry.fail(
            Status(401, {"WWW-Authenticate": f'Bearer realm="{realm}"'}), path="/v2/", times=-1
        )
        async with client.repository(f"{registry.address}/a/b", ADA) as repository:
            with pytest.raises(RegistryUnauthorized, match="token server"):
                await repository.has_blob(BLOB.digest)
        assert told(registry) == []


async def test_class_16_the_place_of_an_upload_at_another_host_gets_no_credentials(
    client, registry, stranger
):
    place = Status(202, {"Location": f"http://{stranger.address}/upload"})
    registry.fail(place, method="POST", path="/uploads/")
    stranger.fail(Status(201), times=-1)
    stored = Descriptor(media_type="", digest=BLOB.digest, size=4)

    async def content(offset):
        yield b"blob"[offset:]

    async with client.repository(f"{registry.address}/a/b", ADA, push=True) as repository:
        await repository.upload_blob(stored, content)
    assert stranger.count("PUT") == 1
    assert told(stranger) == []


async def test_class_16_pages_of_tags_at_another_host_are_refused(client, registry, stranger):
    headers = {"Link": f'<http://{stranger.address}/v2/a/b/tags/list?n=1>; rel="next"'}
    registry.fail(Status(200, headers, b'{"tags":["1"]}'), path="/tags/")
    async with client.repository(f"{registry.address}/a/b", ADA) as repository:
        with pytest.raises(InvalidParameter, match="continues at another server"):
            await repository.tags()
    assert stranger.requests == []


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http://[/"]
)
async def test_class_16_redirects_lead_to_http_only(client, registry, location):
    registry.fail(redirect(location), path="/blobs/", times=-1)
    async with client.repository(f"{registry.address}/a/b", ADA) as repository:
        with pytest.raises(PinnaceError):
            await read(repository)


async def test_class_16_a_redirect_away_from_tls_is_refused(tmp_path):
    with (
        servers.own_address() as address,
        BadProxy(address=address) as plain,
        servers.start(tmp_path, kind="tls", address=address) as server,
    ):
        digest = server.put_blob("a/b", b"blob")
        client = HttpRegistries(RegistrySettings(certificates=[server.certs_d], attempts=1))
        # The registry's certificate is good; what stands before it sends clients elsewhere.
        place = Request(
            "PUT", f"http://{plain.address}/{digest}", owner=server.address, home=server.url
        )
        with pytest.raises(InvalidParameter, match="from https to http"):
            await client._transport.send(place)
        assert plain.requests == []
        await client.close()


async def test_class_16_secrets_are_in_no_message_and_no_log(client, registry, caplog):
    caplog.set_level(logging.DEBUG)
    registry.fail(Status(500), path="/blobs/", times=-1)
    async with client.repository(f"{registry.address}/a/b", ADA) as repository:
        with pytest.raises(PinnaceError) as caught:
            await read(repository)
    registry.fail(BASIC, path="/v2/", times=-1)
    with pytest.raises(PinnaceError) as refused:
        await client.login(registry.address, ADA)
    texts = [caught.value.message, refused.value.message, repr(ADA), caplog.text]
    assert told(registry)
    for secret in (SECRET, told(registry)[0]):
        assert not any(secret in text for text in texts)


def test_class_16_a_kept_login_is_roots_alone_and_replaced_as_a_whole(tmp_path):
    store = LoginFile(tmp_path / "login.json")
    assert store.load() is None
    (tmp_path / "outside").write_text("untouched")
    (tmp_path / "login.json.new").symlink_to(tmp_path / "outside")  # as if somebody had been there
    for password in ("first", "second"):
        store.save(StoredLogin("docker.io", "ada", password, "ada@example.org"))
    assert (tmp_path / "login.json").stat().st_mode & 0o777 == 0o600
    assert store.load() == StoredLogin("docker.io", "ada", "second", "ada@example.org")
    assert (tmp_path / "outside").read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["login.json", "outside"]
    assert "second" not in repr(store.load())


@pytest.mark.parametrize(
    "reference",
    ["../../../etc", "a/b", "1?x=y", "sha256:abc", "sha256:../x", "", "1 2", "x" * 200],
)
async def test_class_16_references_that_are_none_never_become_urls(client, registry, reference):
    async with client.repository(f"{registry.address}/a/b") as repository:
        with pytest.raises(InvalidParameter):
            await repository.manifest(reference)
    assert registry.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/vnd.oci.image.index.v1+json, text/html"},
        {"Content-Type": "text/plain"},
        {"Docker-Content-Digest": "sha256:" + "2" * 64},
        {"Docker-Content-Digest": "md5:1"},
    ],
)
async def test_class_15_a_manifest_is_what_its_head_says_or_refused(client, headers):
    document = json.dumps({"schemaVersion": 2}).encode()
    kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    with BadProxy() as registry:
        registry.fail(Status(200, {}), path="/v2/")
        registry.fail(Status(200, {**kind, **headers}, document), path="/manifests/", times=-1)
        async with client.repository(f"{registry.address}/a/b") as repository:
            with pytest.raises(InvalidParameter):
                await repository.manifest("1")


async def test_class_15_an_answer_is_not_read_without_end(client):
    with BadProxy() as registry:
        registry.fail(Status(200, {}), path="/v2/")
        big = b'{"tags":["' + b"x" * (5 << 20) + b'"]}'
        registry.fail(Status(200, {}, big), path="/tags/")
        registry.fail(Header({}), path="/never/")
        async with client.repository(f"{registry.address}/a/b") as repository:
            with pytest.raises(InvalidParameter, match="too large"):
                await repository.tags()
