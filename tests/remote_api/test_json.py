"""Contract of 2013, section "JSON": C48 to C57."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.root

FIELDS = (
    "Hostname User Memory MemorySwap CpuShares AttachStdin AttachStdout AttachStderr PortSpecs Tty"
    " OpenStdin StdinOnce Env Cmd Dns Image Volumes VolumesFrom"
).split()


def test_c48_create_takes_field_names_in_any_case(api, containers):
    reply = api.post(
        "/containers/create", {"image": "busybox", "cmd": ["sh", "-c", "exit 4"], "ENV": ["A=1"]}
    )
    assert reply.status == 201, reply.sent
    config = containers.inspect(containers.adopt(reply.json()["Id"]))["Config"]
    assert config["Cmd"] == ["sh", "-c", "exit 4"]
    assert config["Env"] == ["A=1"]


def test_c49_create_ignores_fields_that_came_later(api, containers, newest):
    later = {
        "HostConfig": {"Privileged": True, "Binds": ["/:/host"]},
        "Entrypoint": ["false"],
        "Binds": ["/:/host"],
        "WorkingDir": "/tmp",
        "Privileged": True,
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"a": "b"},
        "NoSuchField": [1, {}],
    }
    container = containers.finish("sh", "-c", "pwd; test ! -e /host", **later)
    assert containers.inspect(container)["State"]["ExitCode"] == 0
    seen = newest.get(f"/containers/{container}/json").json()
    assert not seen["HostConfig"]["Privileged"]
    assert not seen["HostConfig"]["Binds"]
    assert not seen["Config"]["Entrypoint"]
    assert not seen["Config"].get("ExposedPorts")
    assert seen["Config"]["Labels"] == {}


def test_c50_create_takes_null_for_every_field_but_image_and_command(api, containers):
    nulls = dict.fromkeys(field for field in FIELDS if field not in ("Image", "Cmd"))
    container = containers.create("true", **nulls)
    assert containers.inspect(container)["Config"]["Memory"] == 0


def test_c51_create_with_an_empty_body_is_500(api):
    reply = api.post("/containers/create")
    assert (reply.status, reply.text) == (500, "EOF\n")


@pytest.mark.parametrize("body", [b'{"Image":', b"{'Image': 'busybox'}", b"nonsense", b"{]"])
def test_c52_create_with_malformed_json_is_500(api, body):
    reply = api.post("/containers/create", body)
    assert reply.status == 500, reply.sent
    assert reply.text.count("\n") == 1


def test_c53_create_with_a_string_for_a_list_is_500(api):
    reply = api.post(
        "/containers/create", {"Image": "busybox", "Cmd": ["true"], "PortSpecs": "443"}
    )
    assert reply.status == 500, reply.sent


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "plain/text"])
def test_c54_create_reads_json_whatever_the_content_type_says(api, containers, kind):
    body = json.dumps({"Image": "busybox", "Cmd": ["true"]}).encode()
    reply = api.post("/containers/create", body, headers={"Content-Type": kind} if kind else None)
    assert reply.status == 201, reply.sent
    containers.adopt(reply.json()["Id"])
