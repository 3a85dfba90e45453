"""Contract of 2013: "Auth, info, version", search, and pushes with a login.

C213 to C215, C240, C242, C334 to C348.
"""

from __future__ import annotations

import json
import stat

import pytest
from tests.support.registry import PASSWORD, USERNAME
from tests.support.remote import BARE, Remote

pytestmark = pytest.mark.root
GOOD = {"username": USERNAME, "password": PASSWORD, "email": "ada@example.org"}
WRONG = {**GOOD, "password": "wrong", "email": "eve@example.org"}
BLANK = {"username": "", "password": "", "email": ""}


@pytest.fixture
def host(api, indexed):
    """The API of the daemon whose index asks for a login; nothing is stored yet."""
    engine, port = indexed
    (engine.root / "data/login.json").unlink(missing_ok=True)
    return Remote(api.version, port)


@pytest.fixture
def named(host, indexed):
    """An image of the index, here."""
    newest = Remote(BARE, indexed[0].socket)
    repo = f"acme/web{host.version.replace('.', '')}"
    assert newest.post("/images/busybox/tag", query={"repo": repo}).status == 201
    yield repo
    newest.delete(f"/images/{repo}")


@pytest.mark.versions("1.0", "1.1")
def test_c334_the_stored_login_is_shown_without_its_password(host):
    assert host.post("/auth", GOOD).status == 200
    reply = host.get("/auth")
    assert (reply.status, reply.type) == (200, "application/json")
    assert reply.json() == {**GOOD, "password": ""}


@pytest.mark.versions("1.0", "1.1")
def test_c335_without_a_stored_login_all_is_blank(host):
    reply = host.get("/auth")
    assert (reply.status, reply.json()) == (200, BLANK)


@pytest.mark.versions("1.2")
def test_c336_in_1_2_the_stored_login_is_deprecated(host):
    reply = host.get("/auth")
    assert (reply.status, reply.json()) == (200, {"username": "", "email": ""})
    assert reply.headers["deprecation"] == "true"
    assert host.at("1.1").post("/auth", GOOD).status == 200
    assert host.get("/auth").json() == {"username": USERNAME, "email": GOOD["email"]}


@pytest.mark.versions("1.0", "1.1")
def test_c337_a_good_login_is_stored_and_safe(host, indexed):
    assert host.post("/auth", GOOD).status == 200
    assert host.get("/auth").json() == {**GOOD, "password": ""}
    found = (indexed[0].root / "data/login.json").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 0)


@pytest.mark.versions("1.2")
def test_c338_a_login_of_1_2_is_not_stored(host):
    assert host.post("/auth", GOOD).status == 200
    assert host.at("1.1").get("/auth").json() == BLANK


def test_c339_a_good_login_succeeds(host):
    reply = host.post("/auth", GOOD)
    assert (reply.status, reply.type) == (200, "application/json")
    assert reply.text == '{"Status":"Login Succeeded\\n"}'


def test_c340_a_wrong_password_is_500(host):
    reply = host.post("/auth", WRONG)
    assert reply.status == 500
    assert reply.text == "Wrong login/password, please try again\n"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"username": 7}'])
def test_c341_a_bad_body_is_500(host, body):
    reply = host.post("/auth", body)
    assert reply.status == 500, reply.sent
    assert reply.type == "text/plain; charset=utf-8"


@pytest.mark.versions("1.0", "1.1")
def test_c342_a_wrong_password_leaves_the_stored_login(host):
    host.post("/auth", GOOD)
    assert host.post("/auth", WRONG).status == 500
    assert host.get("/auth").json() == {**GOOD, "password": ""}


@pytest.mark.versions("1.0", "1.1")
def test_a_blank_password_is_the_stored_one(host):
    host.post("/auth", GOOD)
    assert host.post("/auth", {**GOOD, "password": ""}).status == 200


def errors(reply):
    """Return the errors of a stream."""
    if reply.type == "application/json":
        return [value["error"] for value in reply.values() if "error" in value]
    return [line for line in reply.text.splitlines() if line.startswith("Error: ")]


@pytest.mark.versions("1.2")
def test_c240_push_takes_the_credentials_of_its_body(host, named, index):
    reply = host.post(f"/images/{named}/push", GOOD)
    assert (reply.status, errors(reply)) == (200, []), reply.sent
    assert index.get_manifest(named, "latest")


@pytest.mark.versions("1.2")
@pytest.mark.parametrize("body", [WRONG, {}])
def test_push_with_other_credentials_fails_also_with_a_stored_login(host, named, body):
    host.at("1.1").post("/auth", GOOD)
    reply = host.post(f"/images/{named}/push", body)
    assert reply.status != 200 or errors(reply), reply.sent


@pytest.mark.versions("1.0", "1.1")
def test_c242_push_uses_the_stored_login(host, named, index):
    assert host.post("/auth", GOOD).status == 200
    reply = host.post(f"/images/{named}/push")
    assert (reply.status, errors(reply)) == (200, []), reply.sent
    assert index.get_manifest(named, "latest")


@pytest.mark.versions("1.0", "1.1")
def test_push_without_a_stored_login_fails(host, named):
    reply = host.post(f"/images/{named}/push")
    assert reply.status != 200 or errors(reply), reply.sent


@pytest.mark.versions("1.0", "1.1")
def test_pull_uses_the_stored_login(host, named, indexed):
    host.post("/auth", GOOD)
    assert not errors(host.post(f"/images/{named}/push"))
    Remote(BARE, indexed[0].socket).delete(f"/images/{named}")
    assert not errors(host.post("/images/create", query={"fromImage": named}))
    assert host.get(f"/images/{named}/json").status == 200


@pytest.mark.versions("1.2")
def test_pull_of_1_2_is_anonymous(host, named):
    host.at("1.1").post("/auth", GOOD)
    assert errors(host.post("/images/create", query={"fromImage": named}))


FOUND = {
    "query": "web",
    "num_results": 1,
    "results": [{"name": "acme/web", "description": "a <web> server" + "!" * 50, "star_count": 2}],
}


def search(api, term):
    return api.get("/images/search", query={"term": term})


def test_c213_search_gives_names_and_descriptions(api, web):
    web.put("/v1/search?q=web&n=25", json.dumps(FOUND).encode())
    reply = search(api, f"{web.address}/web")
    assert (reply.status, reply.type) == (200, "application/json")
    (hit,) = reply.json()
    assert hit["Name"].endswith("acme/web")
    assert hit["Description"].startswith("a <web> server")
    assert "\\u003cweb\\u003e" in reply.text
    assert set(hit) == {"Name", "Description"}


def test_c214_a_search_without_a_hit_gives_an_empty_list(api, web):
    web.put("/v1/search?q=none&n=25", json.dumps({"results": []}).encode())
    reply = search(api, f"{web.address}/none")
    assert (reply.status, reply.body) == (200, b"[]")


@pytest.mark.parametrize("where", ["127.0.0.1:9", "{}"])
def test_c215_a_search_of_an_index_out_of_reach_is_500(api, web, where):
    reply = search(api, f"{where.format(web.address)}/nothing-there")
    assert reply.status == 500
    assert reply.text.endswith("\n")


def test_c343_info_has_counts_and_whether_it_debugs(api):
    reply = api.get("/info")
    assert (reply.status, reply.type) == (200, "application/json")
    info = reply.json()
    assert isinstance(info["Debug"], bool)
    for key in ("Containers", "Images"):
        assert isinstance(info[key], int)
        assert not isinstance(info[key], bool)


def test_c344_info_counts_what_is_stopped_and_what_is_between(api, containers, stock):
    before = api.get("/info").json()
    container = containers.create("true")
    below = stock.commit(container)
    stock.commit(containers.create("true", image=below))
    after = api.get("/info").json()
    assert after["Containers"] == before["Containers"] + 2
    assert after["Images"] == before["Images"] + 2


def test_c345_the_memory_limit_is_true_on_a_host_with_one(api):
    info = api.get("/info").json()
    assert info["MemoryLimit"] is True
    assert info.get("SwapLimit", False) in (True, False)


def test_c346_version_has_a_version(api):
    reply = api.get("/version")
    assert (reply.status, reply.type) == (200, "application/json")
    assert isinstance(reply.json()["Version"], str)
    assert "ApiVersion" not in reply.json()


def test_c347_an_empty_commit_is_left_out(api, newest):
    # Nothing in a version may be empty, and this engine tells no commit unless it is known.
    assert all(api.get("/version").json().values())
    known = newest.get("/version").json().get("GitCommit")
    assert api.get("/version").json().get("GitCommit") == (known or None)


@pytest.mark.versions("1.0")
def test_c348_info_of_1_0_has_versions_too(api):
    info = api.get("/info").json()
    assert info["Version"] == api.get("/version").json()["Version"]
    assert isinstance(info["GoVersion"], str)
