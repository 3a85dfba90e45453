"""What API 1.0, 1.1, 1.2 and the newest say of the same containers and images agrees."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from tests.support import images
from tests.support.remote import VERSIONS

pytestmark = pytest.mark.root
SLEEP = ["sleep", "600"]
MIB = 1 << 20
# Bodies of create in the words of 1.2, and whether the container is started.
EARLY = (
    ({"Cmd": ["env"]}, False),
    ({"Cmd": ["true"]}, True),
    ({"Cmd": ["sh", "-c", "exit 3"]}, True),
    ({"Cmd": ["/no/such/program"]}, True),
    ({"Cmd": SLEEP}, True),
    ({"Cmd": SLEEP, "PortSpecs": ["80", "443"]}, True),
    ({"Cmd": SLEEP, "PortSpecs": ["80"]}, False),
    ({"Cmd": SLEEP, "PortSpecs": ["abc"]}, False),
    ({"Cmd": SLEEP, "Env": ["A=1", "B=", "C"], "User": "1000", "Hostname": "ada"}, True),
    ({"Cmd": SLEEP, "Memory": 64 * MIB, "CpuShares": 512}, True),
    ({"Cmd": SLEEP, "Memory": 64 * MIB, "MemorySwap": -1}, False),
    ({"Cmd": SLEEP, "Tty": True, "OpenStdin": True, "AttachStdin": True}, True),
    ({"Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True, "AttachStdout": True}, True),
    ({"Cmd": ["true"], "Volumes": {"/data": {}, "/more": {}}}, True),
    ({"Cmd": ["true"], "Volumes": {"/data": {}}}, False),
    ({"Cmd": SLEEP, "Dns": ["9.9.9.9", "8.8.8.8"]}, True),
)
# The same for the newest API.
NEWEST = (
    ({"Cmd": ["echo", "a b", "it's", '"x"']}, True),
    ({"Entrypoint": ["sh", "-c"], "Cmd": ["exit 4"]}, True),
    ({"Cmd": SLEEP, "Labels": {"a": "b"}, "WorkingDir": "/tmp"}, True),
    ({"Cmd": SLEEP, "HostConfig": {"Privileged": True}}, False),
    ({"Cmd": SLEEP, "HostConfig": {"NetworkMode": "none"}}, True),
    ({"Cmd": SLEEP, "HostConfig": {"NetworkMode": "host"}}, True),
    ({"Cmd": SLEEP, "HostConfig": {"Binds": ["/tmp:/host-tmp:ro"]}}, True),
    ({"Cmd": SLEEP, "HostConfig": {"Memory": 32 * MIB, "MemorySwap": 48 * MIB}}, True),
    ({"Cmd": SLEEP, "HostConfig": {"PublishAllPorts": True}, "ExposedPorts": {"9/tcp": {}}}, True),
    ({"Cmd": SLEEP, "HostConfig": {"PortBindings": {"53/udp": [{"HostPort": ""}]}}}, True),
    ({"Cmd": SLEEP, "HostConfig": {"Tmpfs": {"/scratch": ""}}}, True),
    ({"Cmd": SLEEP, "HostConfig": {"CpuShares": 2048, "Dns": ["1.1.1.1"]}}, False),
    ({"Cmd": SLEEP, "Healthcheck": {"Test": ["CMD", "true"]}}, True),
    ({"Cmd": ["sh", "-c", "kill -9 $$"], "HostConfig": {"AutoRemove": False}}, True),
)


@pytest.fixture(scope="module")
def made(shared, tcp, newest, engine):
    """Thirty containers, of two images, some running and some at their end; their ids."""
    other = {"Env": ["PATH=/bin", "OF=image"], "Cmd": ["ls", "/"], "User": "7"}
    engine.load(images.tiny_image("agreeing:v1", config=other))
    apis = [(tcp.at("1.2"), one) for one in EARLY] + [(newest, one) for one in NEWEST]
    found = []
    for number, (api, (body, runs)) in enumerate(apis):
        image = "agreeing:v1" if number % 3 == 0 else "busybox"
        reply = api.post("/containers/create", {"Image": image, **body})
        assert reply.status == 201, reply.sent
        found.append(shared.adopt(reply.json()["Id"]))
        if runs:
            assert api.post(f"/containers/{found[-1]}/start").status == 204
            if body["Cmd"] is not SLEEP and not body.get("OpenStdin"):
                assert api.post(f"/containers/{found[-1]}/wait").status == 200
    assert len(found) == 30
    yield [newest.get(f"/containers/{one}/json").json()["Id"] for one in found]
    shared.remove()
    newest.delete("/images/agreeing:v1", query={"force": 1})


def moment(text):
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text.replace("Z", "+00:00")))


def facts_of_2013(seen):
    """What an inspect of 2013 says, in one form."""
    config, settings = seen["Config"], seen["NetworkSettings"]
    return {
        "id": seen["ID"],
        "created": moment(seen["Created"]),
        "command": [seen["Path"], *seen["Args"]],
        "state": [seen["State"][key] for key in ("Running", "Pid", "ExitCode")],
        "started": moment(seen["State"]["StartedAt"]),
        "image": seen["Image"],
        "image name": config["Image"],
        "host": [config["Hostname"], config["User"]],
        "streams": [config[key] for key in ("Tty", "OpenStdin", "StdinOnce", "AttachStdin")],
        "env": config["Env"] or [],
        "limits": [config["Memory"], config["CpuShares"]],
        "dns": config["Dns"] or [],
        "address": [settings["IPAddress"], settings["IPPrefixLen"], settings["Gateway"]],
        "ports": settings["PortMapping"] or {},
        "volumes": set(seen["Volumes"] or {}),
    }


def facts_of_today(seen):
    """The same of an inspect of the newest version."""
    config, host = seen["Config"], seen["HostConfig"]
    bridge = seen["NetworkSettings"]["Networks"].get("bridge") or {}
    ports = {
        key.removesuffix("/tcp"): bound[0]["HostPort"]
        for key, bound in seen["NetworkSettings"]["Ports"].items()
        if bound and key.endswith("/tcp")
    }
    started = moment(seen["State"]["StartedAt"])
    never = started.year == 1
    return {
        "id": seen["Id"],
        "created": moment(seen["Created"]),
        "command": [seen["Path"], *seen["Args"]],
        "state": [seen["State"][key] for key in ("Running", "Pid", "ExitCode")],
        "started": started,
        "image": seen["Image"].removeprefix("sha256:"),
        "image name": config["Image"],
        "host": [config["Hostname"], config["User"]],
        "streams": [config[key] for key in ("Tty", "OpenStdin", "StdinOnce", "AttachStdin")],
        "env": config["Env"] or [],
        "limits": [host["Memory"], host["CpuShares"]],
        "dns": host["Dns"] or [],
        "address": [
            bridge.get(k, d) for k, d in (("IPAddress", ""), ("IPPrefixLen", 0), ("Gateway", ""))
        ],
        "ports": ports,
        "volumes": set() if never else {one["Destination"] for one in seen["Mounts"]},
    }


def test_every_version_says_the_same_of_thirty_containers(tcp, newest, made):
    for container in made:
        path = f"/containers/{container}/json"
        first, *others = (tcp.at(version).get(path).json() for version in VERSIONS)
        assert others == [first, first]
        assert facts_of_2013(first) == facts_of_today(newest.get(path).json())


def test_the_lists_of_every_version_agree(tcp, newest, made):
    today = {one["Id"]: one for one in newest.get("/containers/json", query={"all": 1}).json()}
    assert set(today) == set(made)
    assert [one["Id"] for one in newest.get("/containers/json?all=1").json()] == made[::-1]
    for version in VERSIONS:
        entries = tcp.at(version).get("/containers/json", query={"all": 1}).json()
        assert [one["Id"] for one in entries] == made[::-1]
        for entry in entries:
            other = today[entry["Id"]]
            seen = newest.get(f"/containers/{entry['Id']}/json").json()
            assert entry["Created"] == other["Created"]
            assert entry["Image"] in ("busybox:latest", "agreeing:v1")
            assert entry["Command"] == f"{seen['Path']} {' '.join(seen['Args'])}"
            running = seen["State"]["Running"]
            assert entry["Status"].startswith("Up ") == running
            assert running or entry["Status"] == f"Exit {seen['State']['ExitCode']}"
            public = [
                f"{port['PublicPort']}->{port['PrivatePort']}"
                for port in other["Ports"]
                if port.get("PublicPort") and port["Type"] == "tcp"
            ]
            assert entry["Ports"] == ", ".join(sorted(set(public)))


def test_every_version_says_the_same_of_images(tcp, newest, made):
    tags = {tag: one for one in newest.get("/images/json").json() for tag in one["RepoTags"]}
    assert {"busybox:latest", "agreeing:v1"} <= set(tags)
    for version in VERSIONS:
        api = tcp.at(version)
        rows = {
            f"{one['Repository']}:{one['Tag']}": one
            for one in api.get("/images/json").json()
            if "Repository" in one
        }
        assert set(rows) == set(tags)
        for tag, row in rows.items():
            seen = api.get(f"/images/{tag}/json").json()
            other = newest.get(f"/images/{tag}/json").json()
            assert f"sha256:{row['Id']}" == tags[tag]["Id"] == other["Id"]
            assert row["Created"] == tags[tag]["Created"]
            assert seen["id"] == row["Id"]
            assert moment(seen["created"]) == moment(other["Created"])
            for key in ("Env", "Cmd"):
                assert seen["config"][key] == other["Config"].get(key)
            assert seen["config"]["User"] == other["Config"].get("User", "")
