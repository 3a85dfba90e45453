"""Contract of 2013, section "CORS": C58 to C65; and lists that are empty, C55 to C57."""

from __future__ import annotations

import pytest
from tests.support.remote import BARE, Remote, started

pytestmark = pytest.mark.root
HEADERS = "Origin, X-Requested-With, Content-Type, Accept"
METHODS = "GET, POST, DELETE, PUT, OPTIONS"
THREE = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": HEADERS,
    "access-control-allow-methods": METHODS,
}


@pytest.fixture(scope="module")
def open_port():
    """A daemon with `-api-enable-cors`, without images and containers."""
    with started("cors", "--api-enable-cors", bridge=None) as (_, port):
        yield port


@pytest.fixture
def flagged(api, open_port):
    """The API of that daemon."""
    return Remote(api.version, open_port)


def cors(reply):
    return {key: value for key, value in reply.headers.items() if "access-control" in key}


def test_c55_json_answers_have_no_charset(api, shared):
    container = shared.create("true")
    for path in (
        "/version",
        "/info",
        "/containers/json",
        "/containers/ps",
        f"/containers/{container}/json",
        f"/containers/{container}/changes",
        "/images/json",
        "/images/busybox/json",
        "/images/busybox/history",
    ):
        reply = api.get(path)
        assert (reply.status, reply.type) == (200, "application/json"), path
    assert api.post(f"/containers/{container}/wait").type == "application/json"


def test_c56_the_list_without_containers_is_an_empty_array(flagged):
    assert flagged.get("/containers/json").body == b"[]"
    assert flagged.get("/containers/json", query={"all": 1}).body == b"[]"


def test_c57_the_list_without_images_is_an_empty_array(flagged):
    assert flagged.get("/images/json").body == b"[]"
    assert flagged.get("/images/json", query={"all": 1}).body == b"[]"


def test_c58_without_the_flag_no_answer_allows_other_origins(api, shared):
    container = shared.create("true")
    page = {"Origin": "http://example.org"}
    for method, path in (
        ("GET", "/version"),
        ("GET", "/nope"),
        ("GET", "/containers/nosuch/json"),
        ("OPTIONS", "/containers/json"),
        ("POST", f"/containers/{container}/attach"),
    ):
        for headers in ({}, page):
            assert cors(api.call(method, path, headers=headers)) == {}


def test_c59_with_the_flag_every_origin_is_allowed(flagged):
    assert flagged.get("/version").headers["access-control-allow-origin"] == "*"


def test_c60_with_the_flag_four_fields_are_allowed(flagged):
    assert flagged.get("/version").headers["access-control-allow-headers"] == HEADERS


def test_c61_with_the_flag_five_methods_are_allowed(flagged):
    assert flagged.get("/version").headers["access-control-allow-methods"] == METHODS


def test_c62_with_the_flag_errors_of_known_paths_allow_origins_too(flagged):
    missing = flagged.get("/containers/nosuch/json")
    assert (missing.status, cors(missing)) == (404, THREE)
    # Version 1.3 exists here (C3), so its answer is not an empty 404; a version that does not is.
    later = flagged.at("1.3").get("/version")
    assert (later.status, later.headers["access-control-allow-origin"]) == (200, "*")
    too_old = flagged.at("0.9").get("/version")
    assert (too_old.status, too_old.headers["access-control-allow-origin"]) == (400, "*")
    unknown = flagged.get("/nope")
    assert (unknown.status, cors(unknown)) == (404, {})


def test_c63_options_of_a_known_path_is_200_and_empty(api, flagged):
    for remote in (api, flagged):
        reply = remote.call("OPTIONS", "/version")
        assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")
    assert cors(api.call("OPTIONS", "/version")) == {}


def test_c64_options_of_any_path_is_200_and_empty(api, flagged):
    for remote in (api, flagged):
        reply = remote.call("OPTIONS", "/no/such/path")
        assert (reply.status, reply.body) == (200, b"")


def test_c65_with_the_flag_options_allows_origins(flagged):
    assert cors(flagged.call("OPTIONS", "/containers/json")) == THREE
    assert cors(flagged.call("OPTIONS", "/no/such/path")) == THREE


@pytest.mark.versions("any")
def test_c62_the_newest_api_words_the_fields_its_own_way(open_port):
    newest = Remote(BARE, open_port).at("1.56").get("/version")
    assert newest.headers["access-control-allow-origin"] == "*"
    assert "X-Registry-Auth" in newest.headers["access-control-allow-headers"]
