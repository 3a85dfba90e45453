"""Logins, search and distribution over the API: dockerd's answers, from the same registries."""

import base64
import gzip
import io
import json
import stat
import sys
import tarfile
from pathlib import Path

import pytest
from tests.support import dockerd, pinnaced, registry
from tests.support.bad_proxy import BadProxy, Status

pytestmark = pytest.mark.root

ADA = {"username": registry.USERNAME, "password": registry.PASSWORD}
WRONG = {**ADA, "password": "wrong"}
PINNACE = str(Path(sys.executable).with_name("pinnace"))
INDEX = "application/vnd.oci.image.index.v1+json"


def a_layer():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    return gzip.compress(packed.getvalue(), mtime=0)


def header(**config):
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(config).encode()).decode()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("r")


@pytest.fixture(scope="module")
def index():
    """A server that stands for Docker's index."""
    with BadProxy() as server:
        yield server


@pytest.fixture(scope="module")
def engine(root, index):
    with pinnaced.start(
        root / "p",
        bridge="pnt22",
        subnet="10.223.0.1/24",
        arguments=(f"--default-registry-url=http://{index.address}",),
    ) as started:
        yield started


@pytest.fixture(scope="module")
def reference(root):
    with dockerd.start(root / "d", bridge=None) as started:
        yield started


@pytest.fixture(scope="module", params=["plain", "basic", "token"])
def server(request, root):
    with registry.start(root / request.param, kind=request.param) as started:
        started.put_image("team/app", "1", layers=[a_layer()])
        yield started


def alike(engine, reference, method, path, body=None, **options):
    """Ask both; return our answer and whether dockerd says the same but for what is a 401."""
    ours = engine.request(method, path, body, **options)
    theirs = reference.request(method, path, body, **options)
    assert ours.json() == theirs.json()
    assert ours.status == theirs.status or (ours.status, theirs.status) == (401, 500)
    return ours


@pytest.mark.parametrize("given", [ADA, WRONG, {}], ids=["right", "wrong", "nobody"])
def test_logins_are_answered_as_dockerd_answers_them(engine, reference, server, given):
    for address in (server.address, f"http://{server.address}/v1/"):
        body = {**given, "serveraddress": address}
        answer = alike(engine, reference, "POST", "/auth", body)
        right = given == ADA or server.kind == "plain"
        assert answer.status == (200 if right else 401)


def test_an_identity_token_logs_in_again(engine, server):
    if server.tokens is None:
        return
    answer = engine.request("POST", "/auth", {**ADA, "serveraddress": server.address})
    token = answer.json()["IdentityToken"]
    body = {"identitytoken": token, "serveraddress": server.address}
    assert engine.request("POST", "/auth", body).json()["Status"] == "Login Succeeded"
    old = engine.request("POST", "/v1.22/auth", {**ADA, "serveraddress": server.address})
    assert old.json() == {"Status": "Login Succeeded"}


@pytest.mark.parametrize("given", [ADA, WRONG, {}], ids=["right", "wrong", "nobody"])
@pytest.mark.parametrize(
    "name", ["team/app:1", "team/app:2", "team/none", "team/app@sha256:" + "0" * 64]
)
def test_distribution_is_inspected_as_by_dockerd(engine, reference, server, given, name):
    path = f"/distribution/{server.address}/{name}/json"
    answer = alike(engine, reference, "GET", path, headers=header(**given))
    if server.kind == "plain" and name == "team/app:1":
        assert answer.json()["Platforms"] == [{"architecture": "amd64", "os": "linux"}]


def test_distribution_of_an_index_has_all_its_platforms(engine, reference, server):
    manifest, kind = server.get_manifest("team/app", "1")
    digest = server.put_manifest("team/app", "1", manifest, kind)
    platforms = [
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
        {"architecture": "amd64", "os": "linux"},
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {"mediaType": kind, "digest": digest, "size": len(manifest), "platform": platform}
            for platform in platforms
        ],
    }
    server.put_manifest("team/app", "many", json.dumps(document).encode(), INDEX)
    path = f"/distribution/{server.address}/team/app:many/json"
    answer = alike(engine, reference, "GET", path, headers=header(**ADA))
    assert answer.json()["Platforms"] == platforms


def test_what_cannot_be_asked_for_is_refused(engine, reference):
    for path in (
        "/distribution/127.0.0.1:1/a/b/json",
        "/images/search?term=x&limit=101",
        "/images/search?term=x&limit=-1",
    ):
        alike(engine, reference, "GET", path)
    assert engine.request("GET", "/distribution/Foo/json").status == 400
    assert engine.request("GET", "/images/search?term=127.0.0.1:1/x").status == 500
    for filters in ('{"foo":["bar"]}', '{"stars":["bar"]}', '{"is-official":["bar"]}'):
        answer = engine.request("GET", "/images/search", query={"term": "x", "filters": filters})
        assert answer.status == 400
        assert "invalid filter '" in answer.json()["message"]


def test_a_search_finds_what_the_index_says_and_filters_it(engine, index):
    found = [
        {"name": "busybox", "description": "d", "star_count": 9, "is_official": True},
        {"name": "ada/box", "description": "x" * 60, "star_count": 2, "is_automated": True},
    ]
    index.fail(
        Status(200, {}, json.dumps({"results": found}).encode()), path="/v1/search", times=-1
    )

    def names(path, **query):
        hits = engine.request("GET", path, query={"term": "box", **query}).json()
        return [hit.get("name") or hit["Name"] for hit in hits]

    assert names("/images/search") == ["busybox", "ada/box"]
    assert index.requests[-1].path == "/v1/search?q=box&n=25"
    assert names("/images/search", limit="1") == ["busybox"]
    assert names("/images/search", filters='{"stars":["3"]}') == ["busybox"]
    assert names("/images/search", filters='{"is-official":["false"]}') == ["ada/box"]
    assert names("/images/search", filters='{"is-automated":["true"]}') == ["busybox", "ada/box"]
    assert names("/v1.44/images/search", filters='{"is-automated":["true"]}') == ["ada/box"]
    newest = engine.request("GET", "/images/search", query={"term": "box"}).json()[1]
    assert newest["is_automated"] is False
    trusted = engine.request("GET", "/v1.11/images/search", query={"term": "box"}).json()[1]
    assert trusted["is_trusted"] is True
    assert "is_automated" not in trusted
    oldest = engine.request("GET", "/v1.0/images/search", query={"term": "box"}).json()[1]
    assert oldest == {"Name": "ada/box", "Description": "x" * 42 + "..."}
    index.heal()


def test_docker_login_and_logout_work(engine, server):
    if server.kind == "plain":
        return
    arguments = ("login", "-u", registry.USERNAME, "--password-stdin", server.address)
    refused = engine.cli(*arguments, stdin=b"wrong")
    assert refused.returncode == 1
    assert b"401 Unauthorized" in refused.stderr or b"incorrect username" in refused.stderr
    done = engine.cli(*arguments, stdin=registry.PASSWORD.encode())
    assert b"Login Succeeded" in done.stdout
    manifest = engine.cli("pull", f"{server.address}/team/app:1")
    assert manifest.returncode == 0, manifest.stderr
    assert engine.cli("logout", server.address).returncode == 0


def test_our_command_line_logs_in_searches_and_logs_out(engine, server, index):
    if server.kind == "plain":
        return

    def pinnace(*arguments, stdin=b""):
        return engine.cli(*arguments, program=PINNACE, stdin=stdin)

    arguments = ("login", "-u", registry.USERNAME, "--password-stdin", server.address)
    refused = pinnace(*arguments, stdin=b"wrong")
    assert refused.returncode == 1
    assert b"401 Unauthorized" in refused.stderr or b"incorrect username" in refused.stderr
    done = pinnace(*arguments, stdin=b"%s\n" % registry.PASSWORD.encode())
    assert (done.returncode, done.stdout) == (0, b"Login Succeeded\n"), done.stderr
    pulled = pinnace("pull", f"{server.address}/team/app:1")
    assert pulled.returncode == 0, pulled.stderr
    pushed = pinnace("push", f"{server.address}/team/app:1")
    assert pushed.returncode == 0, pushed.stderr
    hits = [{"name": "busybox", "description": "d", "star_count": 9, "is_official": True}]
    index.fail(Status(200, {}, json.dumps({"results": hits}).encode()), path="/v1/search")
    found = pinnace("search", "--limit=3", "box")
    assert found.stdout.split() == b"NAME DESCRIPTION STARS OFFICIAL busybox d 9 [OK]".split()
    assert pinnace("logout", server.address).returncode == 0
    assert pinnace("pull", f"{server.address}/team/app:1").returncode == 1


def test_a_kept_login_survives_the_daemon_and_is_roots_alone(engine, index):
    index.fail(Status(200, {}, b"{}"), path="/v2/", times=-1)
    body = {**ADA, "email": "ada@example.org"}
    assert engine.request("POST", "/v1.1/auth", body).json() == {"Status": "Login Succeeded\n"}
    kept = engine.root / "data/login.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    engine.kill()
    engine.launch()
    assert engine.request("GET", "/v1.1/auth").json() == {
        "username": "ada",
        "password": "",
        "email": "ada@example.org",
    }
    assert registry.PASSWORD not in engine.log.read_text()


def test_info_tells_of_registries(engine):
    config = engine.request("GET", "/info").json()["RegistryConfig"]
    assert "127.0.0.0/8" in config["InsecureRegistryCIDRs"]
    assert config["IndexConfigs"]["docker.io"]["Official"] is True
