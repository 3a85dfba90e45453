"""Paths, versions, methods and errors; C numbers are those of the contract of API 1.0 to 1.2."""

import pytest
from tests.support.api import IMAGE

from pinnace.api.changes import plan_for
from pinnace.api.routes import ROUTES, Router
from pinnace.api.versions import SUMMARIES

TEXT = "text/plain; charset=utf-8"
NOT_FOUND = b"404 page not found\n"


@pytest.mark.parametrize("version", [version.text for version in SUMMARIES])
async def test_version_answers_behind_every_prefix(client, version):
    reply = await client.get(f"/v{version}/version")
    assert reply.status == 200
    assert reply.json()["Version"] == "0.1.0"


async def test_c1_version_answers_bare(client, tcp_client):
    assert (await client.get("/version")).status == 200
    assert (await tcp_client.get("/version")).status == 200


async def test_c2_a_bare_path_on_tcp_is_1_2(tcp_client):
    bare = await tcp_client.get("/images/json")
    prefixed = await tcp_client.get("/v1.2/images/json")
    assert bare.json() == prefixed.json()
    assert bare.json()[0]["Repository"] == "acme/web"


async def test_a_bare_path_on_a_unix_socket_is_the_newest_version(client):
    assert "RepoTags" in (await client.get("/images/json")).json()[0]


@pytest.mark.parametrize("path", ["/v2/version", "/v0/version", "/v1/version", "/vlatest/version"])
async def test_c4_c6_c7_what_is_no_prefix_is_an_unknown_path(client, path):
    reply = await client.get(path)
    assert (reply.status, reply.body) == (404, NOT_FOUND)
    assert reply.headers["content-type"] == TEXT


@pytest.mark.parametrize("path", ["/_ping", "/events?until=1", "/networks"])
async def test_c5_bare_paths_that_1_2_has_not_are_the_newest(tcp_client, path):
    reply = await tcp_client.get(path)
    assert reply.status == 200
    assert reply.headers["api-version"] == "1.56"


async def test_c8_versions_compare_by_parts(client):
    assert "ApiVersion" in (await client.get("/v1.20/version")).json()


async def test_c9_versions_out_of_range(client):
    old = await client.get("/v0.9/version")
    new = await client.get("/v1.999/version")
    assert old.status == new.status == 400
    assert old.body == (
        b"client version 0.9 is too old. Minimum supported API version is 1.0, please upgrade your"
        b" client to a newer version\n"
    )
    assert new.message == (
        "client version 1.999 is too new. Maximum supported API version is 1.56"
    )
    assert (await client.get("/v1.2.3/version")).status == 404


async def test_c10_an_unknown_path_of_a_client_of_2013(tcp_client):
    for path in ("/nope", "/v1.0/nope", "/v1.2/nope"):
        reply = await tcp_client.get(path)
        assert (reply.status, reply.body) == (404, NOT_FOUND)
        assert reply.headers["content-type"] == TEXT


async def test_c11_an_unknown_path_of_1_3_is_text(client):
    assert (await client.get("/v1.3/nope")).body == NOT_FOUND


async def test_an_unknown_path_of_today_is_json(client):
    for path in ("/nope", "/v1.24/nope", "/v1.56/nope"):
        reply = await client.get(path)
        assert reply.status == 404
        assert reply.json() == {"message": "page not found"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/containers/json"),
        ("GET", "/containers/create"),
        ("PUT", "/images/json"),
        ("GET", "/containers/json/"),
        ("PATCH", "/version"),
    ],
)
async def test_c12_to_c14_a_wrong_method_is_404(client, method, path):
    assert (await client.ask(method, path)).status == 404


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//version", "/version"),
        ("/./version", "/version"),
        ("/containers//json", "/containers/json"),
        ("/a/../version", "/version"),
        ("/containers/a/../../version?x=1", "/version?x=1"),
        ("/containers/..%2f..%2fversion", "/version"),
    ],
)
async def test_c15_a_path_that_is_not_clean_is_redirected(client, path, location):
    reply = await client.get(path)
    assert (reply.status, reply.headers["location"]) == (301, location)


@pytest.mark.parametrize("path", ["containers/web/top", "events", "_ping", "containers/web/logs"])
async def test_c18_to_c21_calls_that_came_later_are_unknown_in_2013(client, path):
    for version in ("1.0", "1.1", "1.2"):
        reply = await client.get(f"/v{version}/{path}?stdout=1")
        assert (reply.status, reply.body) == (404, NOT_FOUND)


async def test_c22_images_are_deleted_by_post_in_1_2_only(client):
    reply = await client.post("/v1.2/images/acme/web/delete")
    assert reply.json() == [{"Untagged": IMAGE[7:19]}, {"Deleted": IMAGE[7:19]}]
    assert (await client.post("/v1.1/images/acme/web/delete")).status == 404
    assert (await client.post("/v1.40/images/acme/web/delete")).status == 404


async def test_c23_no_server_field_for_clients_of_2013(client):
    for path in ("/v1.0/version", "/v1.2/nope", "/v1.1/containers/nosuch/json"):
        assert "server" not in (await client.get(path)).headers


async def test_headers_of_every_answer(client):
    for path in ("/version", "/nope", "/containers/nosuch/json", "/v1.999/info", "/v1.12/info"):
        headers = (await client.get(path)).headers
        assert headers["server"] == "Docker/0.1.0 (linux)"
        assert headers["api-version"] == "1.56"
        assert headers["ostype"] == "linux"
        assert headers["docker-experimental"] == "false"
        assert headers["date"].endswith("GMT")


async def test_ping_by_get_and_head(client):
    got, head = await client.get("/_ping"), await client.ask("HEAD", "/v1.50/_ping")
    assert got.body == b"OK"
    assert (head.status, head.body) == (200, b"")
    for reply in (got, head):
        assert reply.headers["builder-version"] == "1"
        assert reply.headers["swarm"] == "inactive"
        assert reply.headers["cache-control"] == "no-cache, no-store, must-revalidate"
        assert reply.headers["pragma"] == "no-cache"


@pytest.mark.parametrize("name", ["acme/web", "acme%2Fweb"])
async def test_c29_image_names_may_hold_slashes(client, engine, name):
    reply = await client.get(f"/v1.2/images/{name}/json")
    assert reply.status == 200
    assert engine.last("images.lineage.inspect").args == ("acme/web",)


async def test_errors_are_text_before_1_24(client):
    old = await client.get("/v1.23/containers/nosuch/json")
    assert old.body == b"No such container: nosuch\n"
    assert old.headers["content-type"] == TEXT
    new = await client.get("/v1.24/containers/nosuch/json")
    assert new.json() == {"message": "No such container: nosuch"}


@pytest.mark.parametrize(
    ("method", "path", "first"),
    [
        ("POST", "/containers/prune", "1.25"),
        ("POST", "/volumes/prune", "1.25"),
        ("GET", "/secrets", "1.25"),
        ("POST", "/plugins/x/upgrade", "1.26"),
        ("GET", "/configs", "1.30"),
        ("GET", "/distribution/busybox/json", "1.30"),
        ("POST", "/build/prune", "1.31"),
        ("PUT", "/volumes/x", "1.42"),
        ("GET", "/images/x/attestations", "1.55"),
    ],
)
async def test_calls_with_a_least_version_say_so(client, method, path, first):
    reply = await client.ask(method, f"/v1.24{path}")
    assert reply.status == 400
    assert reply.message == f"{method} {path} requires minimum API version {first}"


async def test_other_calls_are_served_at_any_later_version(client):
    assert (await client.get("/v1.12/volumes")).status == 200
    assert (await client.ask("HEAD", "/v1.24/_ping")).status == 200


async def test_removed_calls_are_unknown(client):
    assert (await client.post("/v1.24/containers/web/copy", {"Resource": "/x"})).status == 404
    reply = await client.post("/v1.23/containers/web/copy", {"Resource": "/x"})
    assert (reply.status, reply.body) == (200, b"tarbytes")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/swarm", 503),
        ("GET", "/nodes", 503),
        ("GET", "/services", 503),
        ("GET", "/tasks", 503),
        ("GET", "/secrets", 503),
        ("GET", "/configs", 503),
        ("POST", "/swarm/init", 501),
        ("POST", "/session", 501),
    ],
)
async def test_operations_that_are_not_there_yet_say_so(client, method, path, status):
    reply = await client.ask(method, path)
    assert reply.status == status
    assert ("not a swarm manager" if status == 503 else "not implemented") in reply.message


async def test_options_of_any_path_is_200_and_empty(client, tcp_client):
    for path in ("/version", "/no/such/path", "/v1.2/info"):
        for each in (client, tcp_client):
            reply = await each.ask("OPTIONS", path)
            assert (reply.status, reply.body) == (200, b"")
            assert not any(name.startswith("access-control") for name in reply.headers)


def test_the_table_has_no_two_lines_alike():
    keys = [(route.method, route.path) for route in ROUTES]
    assert len(keys) == len(set(keys))


def test_every_line_of_the_table_can_be_found():
    router = Router()
    for route in ROUTES:
        found = router.find(route.method, route.path.replace("{name}", "some/name"))
        assert found is not None
        assert found[0] is route


def test_plans_of_every_operation_and_version_can_be_made():
    for route in ROUTES:
        for version in SUMMARIES:
            assert plan_for(route.operation, version).behaviour.json_errors == (version >= (1, 24))
