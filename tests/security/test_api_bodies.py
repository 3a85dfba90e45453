"""Classes 17, 20 and 22: what is decided is what is executed; pages of other sites; floods."""

import pytest
from tests.support.api import FakeEngine, served

from pinnace.api.http.access import AccessPolicy

ORIGIN = "https://panel.example"
JSON = {"Content-Type": "application/json"}


async def create(tmp_path, body: bytes, headers: dict[str, str] | None = None):
    engine = FakeEngine()
    async with served(engine, tmp_path) as client:
        reply = await client.ask("POST", "/containers/create", body, JSON | (headers or {}))
    return reply, engine


async def test_class_17_of_two_spellings_of_a_key_the_last_is_executed(tmp_path):
    body = b'{"Image":"a","HostConfig":{"Privileged":false,"privileged":true}}'
    reply, engine = await create(tmp_path, body)
    assert reply.status == 201
    assert engine.last("containers.create").args[0].host_config.privileged is True


async def test_class_17_of_a_repeated_key_the_last_is_executed(tmp_path):
    reply, engine = await create(tmp_path, b'{"Image":"a","Image":"b"}')
    assert reply.status == 201
    assert engine.last("containers.create").args[0].config.image == "b"


async def test_class_17_a_body_of_length_zero_asks_for_nothing(tmp_path):
    reply, engine = await create(tmp_path, b"")
    assert reply.status == 400
    assert not engine.asked


async def test_class_17_a_body_over_a_mebibyte_is_executed_whole(tmp_path):
    padding = b'"' + b"x" * (2 << 20) + b'"'
    body = b'{"Labels":{"a":' + padding + b'},"Image":"late"}'
    reply, engine = await create(tmp_path, body)
    assert reply.status == 201
    assert engine.last("containers.create").args[0].config.image == "late"


async def test_class_22_a_body_over_the_limit_is_refused(tmp_path):
    reply, engine = await create(tmp_path, b'{"Image":"' + b"x" * (5 << 20) + b'"}')
    assert reply.status == 413
    assert not engine.asked


async def test_class_17_a_second_value_after_the_body_is_refused(tmp_path):
    reply, engine = await create(tmp_path, b'{"Image":"a"} {"Image":"b"}')
    assert reply.status == 400
    assert not engine.asked


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ],
)
async def test_class_20_pages_of_other_sites_reach_no_operation(tmp_path, headers):
    engine = FakeEngine()
    async with served(engine, tmp_path, tcp=True) as client:
        reply = await client.ask("POST", "/containers/web/start", b"", headers)
    assert reply.status == 403
    assert not engine.asked


async def test_class_20_an_allowed_origin_gets_the_fields_it_needs(tmp_path):
    policy = AccessPolicy(origins=(ORIGIN,))
    async with served(FakeEngine(), tmp_path, tcp=True, policy=policy) as client:
        for target in ("/version", "/containers/nosuch/json", "/v1.41/info"):
            reply = await client.get(target, headers={"Origin": ORIGIN})
            assert reply.headers["access-control-allow-origin"] == ORIGIN
            assert reply.headers["vary"] == "Origin"
        preflight = await client.ask("OPTIONS", "/containers/json", headers={"Origin": ORIGIN})
        assert (preflight.status, preflight.body) == (200, b"")
        assert preflight.headers["access-control-allow-origin"] == ORIGIN


async def test_c58_to_c65_cross_origin_fields_of_2013(tmp_path):
    policy = AccessPolicy(origins="*")
    async with served(FakeEngine(), tmp_path, tcp=True, policy=policy) as client:
        reply = await client.get("/v1.2/containers/nosuch/json")
        assert reply.status == 404
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["access-control-allow-headers"] == (
            "Origin, X-Requested-With, Content-Type, Accept"
        )
        assert reply.headers["access-control-allow-methods"] == "GET, POST, DELETE, PUT, OPTIONS"
        unmatched = await client.get("/v1.2/nope")
        assert "access-control-allow-origin" not in unmatched.headers


async def test_class_22_a_head_line_cannot_be_split_by_a_location(tmp_path):
    async with served(FakeEngine(), tmp_path) as client:
        reply = await client.get("//x%0d%0aSet-Cookie:%20a=b/version")
    assert reply.status == 301
    assert "set-cookie" not in reply.headers
