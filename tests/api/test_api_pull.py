"""`POST /images/create?fromImage=…`: what reaches the engine, and how failures are told."""

import base64
import json

import pytest

from pinnace.contracts.registry import Credentials
from pinnace.errors import NotFound, Unauthorized, Unavailable

PULL = "/images/create?fromImage=r.example%2Facme%2Fweb&tag=1"


def header(encode=base64.urlsafe_b64encode, **fields):
    return {"X-Registry-Auth": encode(json.dumps(fields).encode()).decode()}


async def test_name_tag_platform_and_credentials_reach_the_engine(client, engine):
    headers = header(username="me", password="secret", serveraddress="r.example")
    reply = await client.ask("POST", f"{PULL}&platform=linux%2Farm64", headers=headers)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.body == b'{"status":"Pulling from acme/web","id":"1"}\r\n'
    asked = engine.last("images.pull")
    assert asked.args == ("r.example/acme/web",)
    assert asked.kwargs == {
        "tag": "1",
        "platform": "linux/arm64",
        "credentials": Credentials("me", "secret"),
    }


@pytest.mark.parametrize("value", ["", "e30=", "e30", "bnVsbA==", "!!", "not base64"])
async def test_a_header_that_says_nothing_means_nobody(client, engine, value):
    reply = await client.ask("POST", PULL, headers={"X-Registry-Auth": value})
    assert reply.status == 200
    assert engine.last("images.pull").kwargs["credentials"] == Credentials()


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotFound("no"), 404), (Unauthorized("no"), 401)],
)
async def test_a_failure_before_the_first_message_has_its_status(client, engine, error, status):
    engine.answers["images.pull"] = error
    reply = await client.ask("POST", PULL)
    assert (reply.status, reply.message) == (status, "no")


async def test_a_failure_after_it_is_the_last_message(client, engine):
    engine.answers["images.pull"] = [{"status": "Pulling", "id": "1"}, Unavailable("gone")]
    reply = await client.ask("POST", PULL)
    assert reply.status == 200
    assert json.loads(reply.body.splitlines()[-1]) == {
        "errorDetail": {"message": "gone"},
        "error": "gone",
    }
