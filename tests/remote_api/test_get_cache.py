"""Contract of 2013, section "getCache": C279 to C282."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root
CONFIG = {
    "Cmd": ["/bin/sh", "-c", "echo cached"],
    "Env": ["A=1"],
    "PortSpecs": ["80"],
    "Memory": 1 << 26,
    "Dns": ["10.0.0.1"],
    "AttachStdout": True,
}


def cached(api, parent, config):
    return api.post("/images/getCache", {"Id": parent, **config})


@pytest.fixture
def base(stock):
    """The full id of an image without a config."""
    return stock.full(stock.imported())


@pytest.fixture
def made(stock, containers, base):
    """Returns the full id of an image that a container of a config made from `base`."""

    def make(config):
        container = containers.create(*config["Cmd"], image=base, **_but_cmd(config))
        return stock.full(stock.commit(container))

    return make


def _but_cmd(config):
    return {key: value for key, value in config.items() if key != "Cmd"}


def test_c279_a_hit_is_the_full_id(api, base, made):
    image = made(CONFIG)
    reply = cached(api, base, CONFIG)
    assert (reply.status, reply.text) == (200, f'{{"Id":"{image}"}}')
    assert reply.type == "application/json"


@pytest.mark.parametrize(
    "change",
    [
        {"Cmd": ["/bin/sh", "-c", "echo other"]},
        {"Env": ["A=2"]},
        {"PortSpecs": ["80", "443"]},
        {"Memory": 1 << 27},
        {"Dns": None},
        {"AttachStdout": False},
        {"Tty": True},
        {"User": "1"},
    ],
)
def test_c280_a_miss_is_404_without_a_body(api, base, made, change):
    made(CONFIG)
    reply = cached(api, base, CONFIG | change)
    assert (reply.status, reply.body) == (404, b"")


def test_c280_an_unknown_parent_is_a_miss(api):
    reply = cached(api, "ab" * 32, CONFIG)
    assert (reply.status, reply.body) == (404, b"")


def test_c281_fields_stand_beside_the_id_and_open_stdin_never_hits(api, base, made):
    image = made(CONFIG)
    beside = CONFIG | {"Hostname": "h", "Image": "i", "AttachStdin": True, "Volumes": {"/v": {}}}
    assert cached(api, base, beside).json() == {"Id": image}
    assert cached(api, base, CONFIG | {"OpenStdin": True}).status == 404
    made(CONFIG | {"OpenStdin": True, "Env": ["B=1"]})
    assert cached(api, base, CONFIG | {"OpenStdin": True, "Env": ["B=1"]}).status == 404
    assert cached(api, base, CONFIG | {"Env": ["B=1"]}).status == 404


def test_c282_the_start_of_an_id_never_hits(api, base, made):
    made(CONFIG)
    for parent in (base[:12], base[:63], ""):
        assert cached(api, parent, CONFIG).status == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"Id":"x","Cmd":7}'])
def test_what_is_no_config_is_500(api, body):
    assert api.post("/images/getCache", body).status == 500
