"""Contract of 2013, section "Inspect": C109 to C125."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.root
ZERO_TIME = "0001-01-01T00:00:00Z"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
FIELDS = {
    *("Hostname", "User", "Memory", "MemorySwap", "CpuShares", "AttachStdin", "AttachStdout"),
    *("AttachStderr", "PortSpecs", "Tty", "OpenStdin", "StdinOnce", "Env", "Cmd", "Dns"),
    *("Image", "Volumes", "VolumesFrom"),
}


@pytest.fixture(scope="module")
def running(shared):
    return shared.sleeper(Volumes={"/data": {}})


@pytest.fixture(scope="module")
def created(shared):
    return shared.create("env")


@pytest.fixture
def inspected(api):
    def ask(name):
        reply = api.get(f"/containers/{name}/json")
        assert reply.status == 200, reply.sent
        return reply.json()

    return ask


def test_c109_a_container_is_found_by_id_or_prefix(inspected, created):
    full = inspected(created)["ID"]
    for name in (full, created, full[:20], full[:11]):
        assert inspected(name)["ID"] == full


def test_c110_an_unknown_container_is_404(api):
    reply = api.get("/containers/nosuch/json")
    assert (reply.status, reply.text) == (404, "No such container: nosuch\n")


@pytest.fixture(scope="module")
def ambiguous(shared):
    """A digit that begins the ids of two containers."""
    firsts = [shared.create("true")[0] for _ in range(17)]
    return max(firsts, key=firsts.count)


def test_c111_an_ambiguous_prefix_is_404(api, ambiguous):
    for method, path in (
        ("GET", "json"), ("GET", "changes"), ("POST", "start"), ("POST", "stop"), ("POST", "kill"),
        ("POST", "wait"), ("POST", "attach"),
    ):  # fmt: skip
        reply = api.call(method, f"/containers/{ambiguous}/{path}")
        assert (reply.status, reply.text) == (404, f"No such container: {ambiguous}\n")
    assert api.delete(f"/containers/{ambiguous}").status == 404


def test_c112_the_full_id_has_both_spellings(inspected, created):
    seen = inspected(created)
    assert seen["Id"] == seen["ID"]
    assert re.fullmatch("[0-9a-f]{64}", seen["ID"])
    assert seen["ID"].startswith(created)


def test_c113_the_address_has_both_spellings(inspected, running, bridge):
    name, gateway = bridge
    settings = inspected(running)["NetworkSettings"]
    assert settings["IpAddress"] == settings["IPAddress"]
    assert settings["IPAddress"].startswith(gateway.rpartition(".")[0])
    assert settings["IpPrefixLen"] == settings["IPPrefixLen"] == 24
    assert settings["Gateway"] == gateway
    assert settings["Bridge"] == name


def test_c114_path_is_the_program_and_args_the_rest(inspected, created, running):
    seen = inspected(created)
    assert (seen["Path"], seen["Args"]) == ("env", [])
    seen = inspected(running)
    assert (seen["Path"], seen["Args"][0]) == ("sh", "-c")


def test_c115_created_is_a_time(inspected, created):
    assert TIME.fullmatch(inspected(created)["Created"])


def test_c116_image_is_the_full_id_and_config_has_the_name(api, inspected, created):
    seen = inspected(created)
    assert seen["Image"] == api.get("/images/busybox/json").json()["id"]
    assert re.fullmatch("[0-9a-f]{64}", seen["Image"])
    assert seen["Config"]["Image"] == "busybox"


def test_c117_the_config_has_all_18_fields(containers, inspected, created):
    assert set(inspected(created)["Config"]) == FIELDS
    given = {
        "Hostname": "ada",
        "User": "1000",
        "Memory": 64 << 20,
        "CpuShares": 512,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "PortSpecs": ["80", ":4000", "127"],
        "Tty": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "Env": ["A=1", "B=2"],
        "Dns": ["9.9.9.9"],
        "Volumes": {"/data": {}},
        "VolumesFrom": created,
    }
    config = inspected(containers.create("echo", "x", **given))["Config"]
    assert {key: config[key] for key in given} == given
    assert (config["Cmd"], config["Image"]) == (["echo", "x"], "busybox")


def test_c118_a_container_never_started_has_the_zero_time(inspected, created):
    assert inspected(created)["State"]["StartedAt"] == ZERO_TIME


def test_c119_the_state_has_five_fields(inspected, created, running):
    idle, busy = inspected(created)["State"], inspected(running)["State"]
    assert set(idle) >= {"Running", "Pid", "ExitCode", "StartedAt", "Ghost"}
    assert (idle["Running"], idle["Ghost"], idle["Pid"]) == (False, False, 0)
    assert (busy["Running"], busy["Ghost"], busy["ExitCode"]) == (True, False, 0)
    assert busy["Pid"] > 1
    assert TIME.fullmatch(busy["StartedAt"])
    assert not busy["StartedAt"].startswith("0001")


def test_c120_without_a_run_there_is_no_port_mapping(inspected, created):
    assert inspected(created)["NetworkSettings"]["PortMapping"] is None


def test_c121_a_run_without_ports_has_an_empty_mapping(inspected, running):
    assert inspected(running)["NetworkSettings"]["PortMapping"] == {}


def test_c122_the_mapping_leads_from_private_to_public_ports(inspected, containers):
    mapping = inspected(containers.sleeper(PortSpecs=["80", "53"]))["NetworkSettings"][
        "PortMapping"
    ]
    assert set(mapping) == {"80", "53"}
    for public in mapping.values():
        assert isinstance(public, str)
        assert 49153 <= int(public) <= 65535


def test_c123_after_the_end_the_address_is_gone(inspected, containers):
    settings = inspected(containers.finish("true"))["NetworkSettings"]
    assert {settings[key] for key in ("IPAddress", "IpAddress", "Gateway", "Bridge")} == {""}
    assert settings["IPPrefixLen"] == settings["IpPrefixLen"] == 0
    assert settings["PortMapping"] is None


def test_c124_volumes_lead_from_paths_to_ids_once_started(inspected, containers, newest):
    container = containers.create("true", Volumes={"/data": {}, "/more": {}})
    assert inspected(container)["Volumes"] is None
    containers.start(container)
    volumes = inspected(container)["Volumes"]
    assert set(volumes) == {"/data", "/more"}
    for volume in volumes.values():
        assert re.fullmatch("[0-9a-f]{64}", volume)
        assert newest.get(f"/volumes/{volume}").status == 200
    assert inspected(containers.finish("true"))["Volumes"] == {}


def test_c125_two_paths_are_strings(inspected, containers, created):
    seen = inspected(created)
    assert isinstance(seen["SysInitPath"], str)
    assert seen["ResolvConfPath"] == "/etc/resolv.conf"
    own = inspected(containers.create("true", Dns=["9.9.9.9"]))["ResolvConfPath"]
    assert own.startswith("/")
    assert own != "/etc/resolv.conf"
