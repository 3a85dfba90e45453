"""Requests of older clients upgraded, answers for them downgraded: one table line each."""

import copy
import json

import msgspec
import pytest
from tests.support.api import (
    CONTAINER,
    IMAGE,
    INFO,
    VERSION,
    a_summary,
    an_image,
    an_image_summary,
    an_inspect,
)

from pinnace.api.changes import plan_for
from pinnace.api.changes.change import RequestMessage, ResponseMessage
from pinnace.api.versions import Version
from pinnace.errors import InvalidParameter


def up(operation: str, minor: int, body: dict) -> dict:
    message = RequestMessage(copy.deepcopy(body))
    plan_for(operation, Version(1, minor)).upgrade(message)
    return message.body


def warned(operation: str, minor: int, body: dict) -> list[str]:
    message = RequestMessage(copy.deepcopy(body))
    plan_for(operation, Version(1, minor)).upgrade(message)
    return message.warnings


def up_query(operation: str, minor: int, **query: str) -> dict:
    values = {key.replace("_", "-"): [value] for key, value in query.items()}
    plan_for(operation, Version(1, minor)).upgrade_query(values)
    return {key: value[0] for key, value in values.items()}


def whole(operation: str, minor: int, body, query=None) -> ResponseMessage:
    message = ResponseMessage(200, msgspec.to_builtins(body), query or {})
    plan_for(operation, Version(1, minor)).downgrade(message)
    return message


def down(operation: str, minor: int, body):
    return whole(operation, minor, body).body


def behaviour(operation: str, minor: int):
    return plan_for(operation, Version(1, minor)).behaviour


CREATE_TABLE = [
    # minor, request, what the engine is asked for
    (55, {"HostConfig": {"Umask": 18, "Memory": 1}}, {"HostConfig": {"Memory": 1}}),
    (56, {"HostConfig": {"Umask": 18}}, {"HostConfig": {"Umask": 18}}),
    (
        47,
        {"NetworkingConfig": {"EndpointsConfig": {"a": {"GwPriority": 5, "Links": []}}}},
        {"NetworkingConfig": {"EndpointsConfig": {"a": {"Links": []}}}},
    ),
    (
        43,
        {"Healthcheck": {"StartInterval": 5, "Interval": 6}},
        {"Healthcheck": {"Interval": 6}},
    ),
    (
        44,
        {"Healthcheck": {"StartInterval": 5}},
        {"Healthcheck": {"StartInterval": 5}},
    ),
    (42, {"HostConfig": {"Annotations": {"a": "b"}}}, {"HostConfig": {}}),
    (43, {"HostConfig": {"Annotations": {"a": "b"}}}, {"HostConfig": {"Annotations": {"a": "b"}}}),
    (
        41,
        {
            "HostConfig": {
                "ConsoleSize": [1, 2],
                "Mounts": [
                    {
                        "Type": "bind",
                        "BindOptions": {"CreateMountpoint": True},
                        "TmpfsOptions": {"SizeBytes": 1},
                    }
                ],
            }
        },
        {"HostConfig": {"Mounts": [{"Type": "bind", "BindOptions": {}}]}},
    ),
    (39, {}, {"HostConfig": {"IpcMode": "shareable"}}),
    (39, {"HostConfig": {"IpcMode": "host"}}, {"HostConfig": {"IpcMode": "host"}}),
    (
        24,
        {"HostConfig": {"AutoRemove": True, "IpcMode": "host"}},
        {"HostConfig": {"IpcMode": "host"}},
    ),
    (
        20,
        {"VolumeDriver": "local", "HostConfig": {"IpcMode": "host"}},
        {"HostConfig": {"IpcMode": "host", "VolumeDriver": "local"}},
    ),
    (
        18,
        {"Memory": 5, "CpuShares": 1, "Cpuset": "0", "HostConfig": {"IpcMode": "host"}},
        {
            "HostConfig": {
                "IpcMode": "host",
                "Memory": 5,
                "CpuShares": 2,
                "CpusetCpus": "0",
            }
        },
    ),
    (
        14,
        {
            "PortSpecs": ["80", ":81", "8080:82", "53:53/udp", "0:83"],
            "Dns": ["9.9.9.9"],
            "VolumesFrom": "a,b",
            "HostConfig": {"IpcMode": "host"},
        },
        {
            "ExposedPorts": {"80/tcp": {}, "81/tcp": {}, "82/tcp": {}, "53/udp": {}, "83/tcp": {}},
            "HostConfig": {
                "IpcMode": "host",
                "Dns": ["9.9.9.9"],
                "VolumesFrom": ["a", "b"],
                "PortBindings": {
                    "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}],
                    "81/tcp": [{"HostIp": "0.0.0.0", "HostPort": "81"}],
                    "82/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
                    "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
                    "83/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}],
                },
            },
        },
    ),
    (
        14,
        {"PortSpecs": ["abc", "8080:80", "81:80", "99999"]},
        {
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {
                "IpcMode": "shareable",
                "PortBindings": {
                    "abc/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}],
                    "80/tcp": [
                        {"HostIp": "0.0.0.0", "HostPort": "8080"},
                        {"HostIp": "0.0.0.0", "HostPort": "81"},
                    ],
                    "99999/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}],
                },
            },
        },
    ),
    (
        2,
        {"Image": "x", "Memory": 9, "MemorySwap": 99},
        {"Image": "x", "HostConfig": {"Memory": 9, "MemorySwap": 18, "IpcMode": "shareable"}},
    ),
    (2, {"Image": "x", "MemorySwap": -1}, {"Image": "x", "HostConfig": {"IpcMode": "shareable"}}),
]


@pytest.mark.parametrize(("minor", "request_", "wanted"), CREATE_TABLE)
def test_create_requests_are_upgraded(minor, request_, wanted):
    assert up("ContainerCreate", minor, request_) == wanted


@pytest.mark.parametrize(
    ("minor", "host_config"),
    [
        (47, {"Mounts": [{"Type": "image"}]}),
        (44, {"Mounts": [{"Type": "volume", "VolumeOptions": {"Subpath": "x"}}]}),
        (43, {"Mounts": [{"Type": "bind", "BindOptions": {"ReadOnlyForceRecursive": True}}]}),
        (40, {"Capabilities": ["CAP_CHOWN"]}),
    ],
)
def test_create_refuses_what_the_version_did_not_know(minor, host_config):
    with pytest.raises(InvalidParameter):
        up("ContainerCreate", minor, {"HostConfig": host_config})


def test_create_with_two_endpoints_needs_1_44():
    body = {"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}}
    assert up("ContainerCreate", 44, body) == body
    with pytest.raises(InvalidParameter):
        up("ContainerCreate", 43, body)


def test_a_mac_address_moves_to_the_main_network():
    body = {"MacAddress": "aa", "HostConfig": {"NetworkMode": "mine"}}
    for minor in (51, 44, 43, 40):
        endpoints = up("ContainerCreate", minor, body)["NetworkingConfig"]["EndpointsConfig"]
        assert endpoints == {"mine": {"MacAddress": "aa"}}
    assert warned("ContainerCreate", 51, body)
    assert not warned("ContainerCreate", 43, body)
    assert up("ContainerCreate", 52, body) == body


def test_two_different_mac_addresses_are_refused_from_1_44_and_replaced_before():
    body = {
        "MacAddress": "aa",
        "NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "bb"}}},
    }
    with pytest.raises(InvalidParameter, match="must match"):
        up("ContainerCreate", 50, body)
    old = up("ContainerCreate", 43, body)
    assert old["NetworkingConfig"]["EndpointsConfig"]["bridge"]["MacAddress"] == "aa"
    del body["MacAddress"]
    old = up("ContainerCreate", 43, body)
    assert "MacAddress" not in old["NetworkingConfig"]["EndpointsConfig"]["bridge"]


def test_sysctls_of_the_first_interface_move_to_the_endpoint():
    body = {"HostConfig": {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1", "net.a": "2"}}}
    new = up("ContainerCreate", 47, body)
    assert new["HostConfig"]["Sysctls"] == {"net.a": "2"}
    options = new["NetworkingConfig"]["EndpointsConfig"]["bridge"]["DriverOpts"]
    assert options == {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.forwarding=1"}
    assert warned("ContainerCreate", 47, body)
    assert up("ContainerCreate", 48, body) == body


def test_other_requests_are_upgraded():
    limits = {"BlkioDeviceReadBps": [], "Memory": 1}
    assert up("ContainerUpdate", 54, limits) == {"Memory": 1}
    assert up("ContainerUpdate", 55, limits) == limits
    assert up("ContainerUpdate", 39, {"PidsLimit": 3}) == {}
    assert up("NetworkConnect", 53, {"EndpointConfig": {"MacAddress": "a"}}) == {
        "EndpointConfig": {}
    }
    assert up("ContainerExec", 41, {"ConsoleSize": [1, 2], "Tty": True}) == {"Tty": True}


@pytest.mark.parametrize(
    ("operation", "minor", "query", "wanted"),
    [
        ("ContainerStop", 41, {"signal": "HUP", "t": "1"}, {"t": "1"}),
        ("ContainerStop", 42, {"signal": "HUP"}, {"signal": "HUP"}),
        ("ContainerStop", 2, {"t": "-1"}, {"t": "10"}),
        ("ContainerCreate", 40, {"platform": "linux"}, {}),
        ("ContainerStats", 40, {"one_shot": "1"}, {}),
        ("ContainerLogs", 34, {"until": "1"}, {}),
        ("ContainerWait", 29, {"condition": "removed"}, {}),
        ("ContainerWait", 30, {"condition": "removed"}, {"condition": "removed"}),
        ("ContainerWait", 41, {"condition": "bogus"}, {}),
        ("ContainerWait", 42, {"condition": "bogus"}, {"condition": "bogus"}),
        ("SystemDataUsage", 41, {"type": "image"}, {}),
        ("ImageCommit", 12, {}, {"pause": "0"}),
        ("ImageCommit", 13, {}, {}),
        ("ImageTag", 0, {}, {"force": "1"}),
        ("ImageTag", 0, {"force": "False"}, {"force": "1"}),
        ("ImageTag", 0, {"force": "maybe"}, {"force": "maybe"}),
        ("ImageTag", 1, {}, {}),
        ("ImageList", 2, {"filter": "busy*"}, {"repository": "busy*"}),
    ],
)
def test_queries_are_upgraded(operation, minor, query, wanted):
    assert up_query(operation, minor, **query) == wanted


def test_filters_are_added_for_older_clients():
    pruned = up_query("VolumePrune", 41, filters='{"label":["a"]}')
    assert json.loads(pruned["filters"]) == {"label": ["a"], "all": ["true"]}
    listed = up_query("ImageList", 40, filter="busy*")
    assert json.loads(listed["filters"]) == {"reference": ["busy*"]}
    assert up_query("VolumePrune", 41, filters="broken")["filters"] == "broken"


@pytest.mark.parametrize(
    ("operation", "minor", "name", "value"),
    [
        ("ContainerAttach", 5, "framed", False),
        ("ContainerAttach", 6, "framed", True),
        ("ContainerLogs", 41, "multiplexed_type", False),
        ("ContainerLogs", 42, "multiplexed_type", True),
        ("ContainerWait", 29, "early_head", False),
        ("ContainerWait", 30, "early_head", True),
        ("ContainerCreate", 43, "recursive_read_only", False),
        ("ContainerCreate", 40, "host_cgroupns", True),
        ("ContainerCreate", 23, "hostname_rules", False),
        ("ContainerKill", 19, "kill_stopped", True),
        ("ContainerKill", 20, "kill_stopped", False),
        ("ContainerStart", 23, "start_host_config", True),
        ("ContainerAttachWebsocket", 41, "websocket_streams", False),
        ("ContainerAttachWebsocket", 27, "websocket_binary", False),
        ("SystemEvents", 51, "event_lines", False),
        ("NetworkList", 27, "network_containers", True),
        ("ExecStart", 21, "insist_json", False),
        ("SystemInfo", 2, "strict_booleans", True),
        ("SystemInfo", 3, "strict_booleans", False),
    ],
)
def test_behaviour_by_version(operation, minor, name, value):
    assert getattr(behaviour(operation, minor), name) is value


def test_inspect_up_to_1_51_repeats_the_bridges_addresses():
    settings = down("ContainerInspect", 51, an_inspect())["NetworkSettings"]
    assert (settings["IPAddress"], settings["IPPrefixLen"]) == ("172.17.0.2", 16)
    assert settings["Gateway"] == "172.17.0.1"
    assert (settings["Bridge"], settings["HairpinMode"]) == ("", False)
    newest = down("ContainerInspect", 52, an_inspect())["NetworkSettings"]
    assert "IPAddress" not in newest


def test_inspect_shows_a_mac_address_only_when_it_was_asked_for():
    assert "MacAddress" not in down("ContainerInspect", 51, an_inspect())["Config"]
    body = msgspec.to_builtins(an_inspect())
    body["NetworkSettings"]["Networks"]["bridge"]["MacAddress"] = "02:00:00:00:00:07"
    assert down("ContainerInspect", 51, body)["Config"]["MacAddress"] == "02:00:00:00:00:07"


def test_inspect_of_many_ages():
    endpoint = down("ContainerInspect", 43, an_inspect())["NetworkSettings"]["Networks"]["bridge"]
    assert "DNSNames" not in endpoint
    assert "GwPriority" not in endpoint
    assert down("ContainerInspect", 41, an_inspect())["HostConfig"]["KernelMemory"] == 0
    at_20 = down("ContainerInspect", 20, an_inspect())
    assert "Networks" not in at_20["NetworkSettings"]
    assert at_20["Config"]["VolumeDriver"] == ""
    assert at_20["Mounts"]
    at_19 = down("ContainerInspect", 19, an_inspect())
    assert at_19["Volumes"] == {"/data": "/srv"}
    assert at_19["VolumesRW"] == {"/data": True}
    assert at_19["Config"]["Memory"] == 1 << 20
    at_11 = down("ContainerInspect", 11, an_inspect())
    assert at_11["ID"] == CONTAINER
    assert set(at_11["State"]) == {
        "Running",
        "Pid",
        "ExitCode",
        "StartedAt",
        "FinishedAt",
        "Ghost",
    }
    assert "HostConfig" in at_11
    assert "HostConfig" not in down("ContainerInspect", 7, an_inspect())


def test_inspect_of_2013_has_both_spellings_and_a_port_mapping():
    body = down("ContainerInspect", 2, an_inspect())
    assert body["Id"] == body["ID"] == CONTAINER
    settings = body["NetworkSettings"]
    assert settings["IPAddress"] == settings["IpAddress"] == "172.17.0.2"
    assert settings["IPPrefixLen"] == settings["IpPrefixLen"] == 16
    assert settings["PortMapping"] == {"80": "49153"}
    assert settings["Bridge"] == ""
    assert len(body["Config"]) == 18
    assert body["SysInitPath"]


def test_list_of_many_ages():
    (at_51,) = down("ContainerList", 51, [a_summary()])
    assert "Health" not in at_51
    (at_45,) = down("ContainerList", 45, [a_summary()])
    assert at_45["HostConfig"] == {"NetworkMode": "bridge"}
    (at_24,) = down("ContainerList", 24, [a_summary(state="removing", status="Removal")])
    assert at_24["State"] == "exited"
    (at_22,) = down("ContainerList", 22, [a_summary()])
    assert not {"State", "Mounts"} & set(at_22)
    (at_4,) = down("ContainerList", 4, [a_summary()])
    assert at_4["Ports"] == "0.0.0.0:49153->80/tcp, 443/tcp"


@pytest.mark.parametrize(
    ("status", "old"),
    [
        ("Exited (0) 3 minutes ago", "Exit 0"),
        ("Exited (137) 2 weeks ago", "Exit 137"),
        ("Created", "Exit 0"),
        ("Up 3 minutes", "Up 3 minutes"),
        ("Up 3 minutes (healthy)", "Up 3 minutes"),
        ("Up Less than a second", "Up Less than a second"),
    ],
)
def test_status_texts_of_2013(status, old):
    (entry,) = down("ContainerList", 2, [a_summary(status=status)])
    assert entry["Status"] == old


def test_list_entries_of_2013():
    (entry,) = down("ContainerList", 2, [a_summary(command="env ", size_rw=1, size_root_fs=2)])
    assert entry == {
        "Id": CONTAINER,
        "Image": "acme/web:latest",
        "Command": "env ",
        "Created": 1371201164,
        "Status": "Exit 0",
        "Ports": "49153->80",
        "SizeRw": 1,
        "SizeRootFs": 2,
    }
    (entry,) = down("ContainerList", 1, [a_summary(size_rw=1, image=IMAGE)])
    assert "SizeRw" not in entry
    assert entry["Image"] == IMAGE[7:19]


def test_stats_of_many_ages():
    sample = {"os_type": "linux", "networks": {"eth0": {"rx_bytes": 5}, "eth1": {"rx_bytes": 2}}}
    assert "os_type" not in down("ContainerStats", 51, sample)
    old = down("ContainerStats", 20, sample)
    assert old["network"]["rx_bytes"] == 7
    assert "networks" not in old


def test_images_of_many_ages():
    newest = an_image_summary()
    (at_50,) = down("ImageList", 50, [newest])
    assert at_50["Containers"] == -1
    (at_43,) = down("ImageList", 43, [newest])
    assert at_43["VirtualSize"] == at_43["Size"]
    (at_42,) = down("ImageList", 42, [an_image_summary(repo_tags=[])])
    assert (at_42["RepoTags"], at_42["RepoDigests"]) == (["<none>:<none>"], ["<none>@<none>"])
    at_6 = down("ImageList", 6, [an_image_summary(repo_tags=[]), newest])
    assert [(entry.get("Repository"), entry.get("Tag")) for entry in at_6] == [
        ("acme/web", "latest"),
        ("acme/web", "1"),
        (None, None),
    ]
    assert {entry["Id"] for entry in at_6} == {IMAGE[7:]}
    assert "Size" not in down("ImageList", 1, [newest])[0]


def test_image_inspect_of_many_ages():
    at_51 = down("ImageInspect", 51, an_image())
    assert (at_51["Parent"], at_51["Comment"], at_51["Author"]) == ("", "", "")
    assert at_51["Config"]["Env"] is None
    at_49 = down("ImageInspect", 49, an_image())
    assert (at_49["Config"]["Hostname"], at_49["Config"]["Tty"]) == ("", False)
    at_44 = down("ImageInspect", 44, an_image())
    assert at_44["Container"] == ""
    assert at_44["ContainerConfig"]["Cmd"] is None
    at_43 = down("ImageInspect", 43, an_image())
    assert (at_43["VirtualSize"], at_43["Created"]) == (5, "0001-01-01T00:00:00Z")
    at_11 = down("ImageInspect", 11, an_image())
    assert at_11["id"] == IMAGE[7:]
    assert "Id" not in at_11
    assert at_11["architecture"] == "amd64"


def test_image_delete_of_1_2_tells_short_ids():
    assert down("ImageDelete", 2, [{"Deleted": IMAGE}]) == [{"Deleted": IMAGE[7:19]}]


def test_info_of_many_ages():
    assert "NRI" not in down("SystemInfo", 52, INFO)
    at_49 = down("SystemInfo", 49, INFO)
    assert (at_49["BridgeNfIptables"], "DiscoveredDevices" in at_49) == (False, False)
    at_48 = down("SystemInfo", 48, INFO)
    assert at_48["RuncCommit"] == {"ID": "c", "Expected": "c"}
    assert "FirewallBackend" not in at_48
    at_46 = down("SystemInfo", 46, INFO)
    assert at_46["RegistryConfig"]["AllowNondistributableArtifactsCIDRs"] is None
    assert "Containerd" not in down("SystemInfo", 45, INFO)
    assert "status" not in down("SystemInfo", 43, INFO)["Runtimes"]["crun"]
    assert down("SystemInfo", 38, INFO)["KernelVersion"] == "<unknown>"
    at_24 = down("SystemInfo", 24, INFO)
    assert at_24["SecurityOptions"] == ["seccomp", "cgroupns"]
    assert "ExecutionDriver" in at_24
    for minor, wanted in ((19, True), (18, 1), (9, 1), (8, True)):
        flag = down("SystemInfo", minor, INFO)["MemoryLimit"]
        assert flag is True if wanted is True else (flag == 1 and not isinstance(flag, bool))
    assert down("SystemInfo", 0, INFO)["Version"] == "0.1.0"


def test_version_of_many_ages():
    assert set(VERSION) - set(down("SystemVersion", 34, VERSION)) == {"Components", "Platform"}
    assert "MinAPIVersion" not in down("SystemVersion", 24, VERSION)
    assert "Experimental" not in down("SystemVersion", 18, VERSION)
    assert down("SystemVersion", 2, VERSION) == {"Version": "0.1.0"}


def test_disk_usage_up_to_1_51_has_lists_only():
    usage = {"ImageUsage": {}, "Images": [{"Size": 5}]}
    assert down("SystemDataUsage", 51, usage) == {"Images": [{"Size": 5}]}
    assert down("SystemDataUsage", 43, usage) == {"Images": [{"Size": 5, "VirtualSize": 5}]}


def test_wait_up_to_1_33_hides_a_failed_removal():
    waited = {"StatusCode": 0, "Error": {"Message": "busy"}}
    assert down("ContainerWait", 34, waited) == waited
    assert down("ContainerWait", 33, waited) is None


def test_aliases_up_to_1_44_hold_the_short_id_on_user_networks():
    body = msgspec.to_builtins(an_inspect())
    body["NetworkSettings"]["Networks"]["mine"] = {"Aliases": ["db"]}
    networks = down("ContainerInspect", 44, body)["NetworkSettings"]["Networks"]
    assert networks["mine"]["Aliases"] == ["db", CONTAINER[:12], "web"]
    assert networks["bridge"]["Aliases"] is None


def test_top_of_1_3_is_a_list_of_objects():
    listed = {"Titles": ["PID", "TTY"], "Processes": [["7", "?"]]}
    assert down("ContainerTop", 3, listed) == [{"PID": "7", "Tty": "?"}]
    assert down("ContainerTop", 4, listed) == listed
