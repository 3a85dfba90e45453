import pytest
from tests.support.api import CONTAINER, NOT_MODIFIED

from pinnace.errors import Conflict, InvalidParameter


async def test_list_of_a_current_client_is_the_newest_shape(client):
    reply = await client.get("/v1.56/containers/json?all=1&limit=3")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()[0]["Health"] == {"Status": "none", "FailingStreak": 0}


async def test_list_parameters_reach_the_engine(client, engine):
    await client.get('/containers/json?all=1&limit=3&size=1&filters={"label":["a=b"]}')
    (params,) = engine.last("containers.list").args
    assert (params.all, params.limit, params.size) == (True, 3, True)
    assert params.filters.get("label") == ["a=b"]


async def test_filters_of_go_clients_are_understood(client, engine):
    await client.get('/containers/json?filters={"label":{"a=b":true}}')
    assert engine.last("containers.list").args[0].filters.get("label") == ["a=b"]


async def test_create_answers_201_with_id_and_warnings(client, engine):
    engine.answers["containers.create"] = (CONTAINER, ["careful"])
    reply = await client.post("/v1.50/containers/create?name=web", {"Image": "busybox"})
    assert reply.status == 201
    assert reply.json() == {"Id": CONTAINER, "Warnings": ["careful"]}
    (params,) = engine.last("containers.create").args
    assert params.name == "web"
    assert params.config.image == "busybox"


async def test_create_takes_keys_in_any_case_and_nulls(client, engine):
    body = {
        "image": "busybox",
        "CMD": "env",
        "entrypoint": None,
        "Env": ["A=1"],
        "exposedPorts": {"80/tcp": {}},
        "Unknown": {"x": 1},
        "hostconfig": {"MEMORY": 5, "binds": None, "PortBindings": {"80/tcp": None}},
        "NetworkingConfig": {"EndpointsConfig": {"bridge": None}},
    }
    assert (await client.post("/containers/create", body)).status == 201
    (params,) = engine.last("containers.create").args
    assert params.config.cmd == ["env"]
    assert params.host_config.memory == 5
    assert params.host_config.port_bindings == {"80/tcp": None}
    assert list(params.networking) == ["bridge"]


async def test_create_without_content_type_is_400(client):
    reply = await client.ask("POST", "/containers/create", b'{"Image":"x"}')
    assert reply.status == 400
    assert "Content-Type" in reply.message


async def test_create_with_a_wrong_type_says_so_in_gos_words(client):
    reply = await client.post("/containers/create", {"Image": "x", "Env": "A=1"})
    assert reply.status == 400
    assert "json: cannot unmarshal string into Go struct field" in reply.message


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"HostConfig":{}}'])
async def test_create_without_a_config_is_400(client, body):
    headers = {"Content-Type": "application/json"}
    reply = await client.ask("POST", "/containers/create", body, headers=headers)
    assert reply.status == 400
    assert "config cannot be empty" in reply.message


async def test_create_with_malformed_json_is_400(client):
    headers = {"Content-Type": "application/json"}
    reply = await client.ask("POST", "/containers/create", b'{"Image":', headers=headers)
    assert reply.status == 400


async def test_container_wide_mac_address_is_refused_today(client):
    body = {"Image": "x", "MacAddress": "02:42:ac:11:00:07"}
    reply = await client.post("/v1.52/containers/create", body)
    assert reply.status == 400


async def test_container_wide_mac_address_of_older_clients_moves_to_the_endpoint(client, engine):
    body = {"Image": "x", "macaddress": "02:42:ac:11:00:07"}
    reply = await client.post("/v1.50/containers/create", body)
    assert reply.status == 201
    assert "deprecated" in reply.json()["Warnings"][0]
    (params,) = engine.last("containers.create").args
    assert params.networking["bridge"].mac_address == "02:42:ac:11:00:07"


async def test_verbs_answer_204_without_body(client, engine):
    for target in ("start", "stop?t=1", "restart", "kill", "pause", "unpause", "rename?name=b"):
        reply = await client.post(f"/v1.45/containers/web/{target}")
        assert (reply.status, reply.body) == (204, b"")
        assert "content-length" not in reply.headers
    assert engine.last("containers.stop").kwargs == {"timeout": 1, "signal": None}
    assert engine.last("containers.rename").args == ("web", "b")


async def test_nothing_to_do_is_304_without_body(client, engine):
    engine.answers["containers.start"] = NOT_MODIFIED
    reply = await client.post("/containers/web/start")
    assert (reply.status, reply.body) == (304, b"")


async def test_start_with_a_body_is_400(client):
    reply = await client.post("/containers/web/start", {"Binds": ["/a:/b"]})
    assert reply.status == 400


async def test_clients_before_1_24_give_the_host_config_with_start(client, engine):
    reply = await client.post("/v1.14/containers/web/start", {"binds": ["/a:/b"]})
    assert (reply.status, reply.body) == (204, b"")
    assert engine.last("containers.start").kwargs["host_config"].binds == ["/a:/b"]


async def test_an_empty_host_config_with_start_means_the_one_given_before(client, engine):
    await client.post("/v1.18/containers/web/start", {"Binds": None, "Memory": 0})
    assert engine.last("containers.start").kwargs == {"host_config": None}


async def test_unknown_container_is_404_with_message(client):
    reply = await client.get("/containers/nosuch/json")
    assert reply.status == 404
    assert reply.body == b'{"message":"No such container: nosuch"}\n'


async def test_conflict_is_409(client, engine):
    engine.answers["containers.remove"] = Conflict("in use")
    assert (await client.ask("DELETE", "/containers/web")).status == 409


async def test_remove_passes_its_flags(client, engine):
    reply = await client.ask("DELETE", "/containers/web?force=true&v=1&link=0")
    assert reply.status == 204
    assert engine.last("containers.remove").kwargs == {
        "force": True,
        "volumes": True,
        "link": False,
    }


async def test_wait_sends_the_status_code(client, engine):
    reply = await client.post("/containers/web/wait?condition=removed")
    assert reply.json() == {"StatusCode": 3}
    assert reply.headers["transfer-encoding"] == "chunked"
    assert engine.last("containers.wait").args == ("web", "removed")


async def test_wait_of_an_unknown_container_is_404(client):
    assert (await client.post("/containers/nosuch/wait")).status == 404


async def test_update_passes_only_what_was_given(client, engine):
    body = {"memory": 1 << 20, "RestartPolicy": {"Name": "always"}}
    reply = await client.post("/containers/web/update", body)
    assert reply.json() == {"Warnings": None}
    ref, changes = engine.last("containers.update").args
    assert ref == "web"
    assert changes == {"Memory": 1 << 20, "RestartPolicy": {"Name": "always"}}


async def test_changes_top_and_prune(client):
    assert (await client.get("/containers/web/changes")).json() == [{"Path": "/test", "Kind": 1}]
    assert (await client.get("/containers/web/top")).json()["Titles"] == ["PID", "TTY", "CMD"]
    assert (await client.post("/containers/prune")).json()["SpaceReclaimed"] == 7


async def test_stats_stream_of_one_sample(client, engine):
    reply = await client.get("/containers/web/stats?stream=0")
    assert reply.json()["os_type"] == "linux"
    assert engine.last("stats.stream").kwargs == {"stream": False, "one_shot": False}


async def test_a_bug_is_500_and_the_daemon_goes_on(client, engine):
    engine.answers["containers.inspect"] = ZeroDivisionError("bug")
    assert (await client.get("/containers/web/json")).status == 500
    assert (await client.get("/_ping")).status == 200


async def test_bad_filters_are_400(client):
    assert (await client.get("/containers/json?filters=nonsense")).status == 400


async def test_an_error_of_the_engine_keeps_its_text(client, engine):
    engine.answers["containers.create"] = InvalidParameter('say "what"')
    reply = await client.post("/containers/create", {"Image": "x"})
    assert (reply.status, reply.message) == (400, 'say "what"')
