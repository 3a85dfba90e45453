"""Contract of 2013, section "Start, stop, restart, kill, wait, remove": C126 to C156."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from tests.support.remote import until

pytestmark = pytest.mark.root
EMPTY = (204, b"")
ON_TERM = "trap 'exit 5' TERM; echo up; sleep 600 & wait"
DEAF = "trap '' TERM; echo up; while true; do sleep 600; done"


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return probe.getsockname()[1]


@pytest.fixture
def state(containers):
    return lambda container: containers.inspect(container)["State"]


def unknown(reply):
    return (reply.status, reply.text) == (404, "No such container: nosuch\n")


def greets(port):
    """Whether something behind a port of this machine says hi."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(16) == b"hi\n"
    except OSError:
        return False


def greeter(port):
    return ("sh", "-c", f"while :; do echo hi | nc -l -p {port}; done")


def test_c126_start_is_204(api, containers):
    reply = api.post(f"/containers/{containers.create('true')}/start")
    assert (reply.status, reply.body) == EMPTY


def test_c127_start_of_an_unknown_container_is_404(api):
    assert unknown(api.post("/containers/nosuch/start"))


def test_c128_start_of_a_running_container_is_500(api, containers):
    container = containers.sleeper()
    full = containers.inspect(container)["ID"]
    reply = api.post(f"/containers/{container}/start")
    wanted = f"Error starting container {container}: The container {full} is already running.\n"
    assert (reply.status, reply.text) == (500, wanted)


@pytest.mark.parametrize(
    "body",
    [{"Binds": ["/:/host"], "Privileged": True}, b"nonsense", b"null", {"id": "x"}, b"[" * 2000],
)
def test_c129_start_ignores_its_body(api, containers, newest, body):
    container = containers.create("true")
    reply = api.post(f"/containers/{container}/start", body)
    assert (reply.status, reply.body) == EMPTY
    host = newest.get(f"/containers/{container}/json").json()["HostConfig"]
    assert (host["Binds"], host["Privileged"]) == (None, False)


def test_c130_start_with_a_bad_port_spec_is_500(api, containers):
    container = containers.create("true", PortSpecs=["abc"])
    reply = api.post(f"/containers/{container}/start")
    assert reply.status == 500
    assert reply.text.startswith("Error starting container")


@pytest.mark.versions("1.2")
def test_c131_a_public_port_is_given_before_the_private_one(containers, free_port):
    container = containers.run(*greeter(80), PortSpecs=[f"{free_port}:80"])
    mapping = containers.inspect(container)["NetworkSettings"]["PortMapping"]
    assert mapping == {"80": str(free_port)}
    assert until(lambda: greets(free_port), "a greeting")


def test_c132_a_colon_publishes_a_port_under_its_own_number(containers, free_port):
    container = containers.run(*greeter(free_port), PortSpecs=[f":{free_port}"])
    mapping = containers.inspect(container)["NetworkSettings"]["PortMapping"]
    assert mapping == {str(free_port): str(free_port)}
    assert until(lambda: greets(free_port), "a greeting")


def test_c133_a_fixed_port_that_is_taken_fails_at_start(api, containers, state, free_port):
    containers.sleeper(PortSpecs=[f":{free_port}"])
    second = containers.create("true", PortSpecs=[f":{free_port}"])
    reply = api.post(f"/containers/{second}/start")
    wanted = f"Error starting container {second}: Port already in use: {free_port}\n"
    assert (reply.status, reply.text) == (500, wanted)
    assert not state(second)["Running"]


def test_c134_stop_is_204_and_the_container_runs_no_more(api, containers, state):
    container = containers.sleeper()
    reply = api.post(f"/containers/{container}/stop", query={"t": 1})
    assert (reply.status, reply.body) == EMPTY
    assert not state(container)["Running"]


def test_c135_stop_of_a_container_that_does_not_run_is_204(api, containers):
    for container in (containers.create("true"), containers.finish("true")):
        reply = api.post(f"/containers/{container}/stop")
        assert (reply.status, reply.body) == EMPTY


def test_c136_stop_sends_term_first(api, containers, state):
    container = containers.run("sh", "-c", ON_TERM)
    until(lambda: api.post(f"/containers/{container}/attach?logs=1&stdout=1").body, "its output")
    begun = time.monotonic()
    assert api.post(f"/containers/{container}/stop", query={"t": 30}).status == 204
    assert time.monotonic() - begun < 30
    assert state(container)["ExitCode"] == 5


def test_c137_stop_kills_what_ignores_term(api, containers, state):
    container = containers.run("sh", "-c", DEAF)
    until(lambda: api.post(f"/containers/{container}/attach?logs=1&stdout=1").body, "its output")
    begun = time.monotonic()
    assert api.post(f"/containers/{container}/stop", query={"t": 1}).status == 204
    assert time.monotonic() - begun >= 1
    assert state(container)["ExitCode"] == 137


def test_c138_stop_of_an_unknown_container_is_404(api):
    assert unknown(api.post("/containers/nosuch/stop"))


def test_c139_restart_is_204_and_starts_anew(api, containers, state):
    container = containers.sleeper()
    before = state(container)
    reply = api.post(f"/containers/{container}/restart", query={"t": 1})
    assert (reply.status, reply.body) == EMPTY
    after = state(container)
    assert after["Running"]
    assert after["StartedAt"] > before["StartedAt"]
    assert after["Pid"] != before["Pid"]


def test_c140_restart_of_a_stopped_container_starts_it(api, containers, state):
    container = containers.create("sleep", "600")
    reply = api.post(f"/containers/{container}/restart", query={"t": 0})
    assert (reply.status, reply.body) == EMPTY
    assert state(container)["Running"]


def test_c141_restart_of_an_unknown_container_is_404(api):
    assert unknown(api.post("/containers/nosuch/restart"))


def test_c142_kill_is_204_and_the_container_runs_no_more(api, containers, state):
    container = containers.run("sleep", "600")
    reply = api.post(f"/containers/{container}/kill")
    assert (reply.status, reply.body) == EMPTY
    assert not state(container)["Running"]


def test_c143_kill_of_a_container_that_does_not_run_is_204(api, containers):
    for container in (containers.create("true"), containers.finish("true")):
        reply = api.post(f"/containers/{container}/kill")
        assert (reply.status, reply.body) == EMPTY


def test_c144_kill_of_an_unknown_container_is_404(api):
    assert unknown(api.post("/containers/nosuch/kill"))


def test_c145_wait_answers_the_exit_code_at_the_end(api, containers, state):
    container = containers.run(
        "sh", "-c", "while [ ! -e /go ]; do usleep 10000; done; exit 3", Tty=True, OpenStdin=True
    )
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(api.post(f"/containers/{container}/wait"))
    )
    waiting.start()
    assert state(container)["Running"]
    assert not answers
    containers.touch(container, "go")
    waiting.join(30)
    (reply,) = answers
    assert (reply.status, reply.body) == (200, b'{"StatusCode":3}')


def test_c146_wait_on_a_stopped_container_answers_at_once(api, containers):
    container = containers.finish("sh", "-c", "exit 4")
    assert api.post(f"/containers/{container}/wait").body == b'{"StatusCode":4}'


def test_c147_wait_on_a_container_never_started_answers_0_at_once(api, containers):
    container = containers.create("sh", "-c", "exit 4")
    assert api.post(f"/containers/{container}/wait").body == b'{"StatusCode":0}'


def test_c148_wait_on_an_unknown_container_is_404(api):
    assert unknown(api.post("/containers/nosuch/wait"))


def test_c149_a_program_that_does_not_exist_ends_with_127(api, containers, state):
    container = containers.create("/no/such/program", "x")
    assert api.post(f"/containers/{container}/start").status == 204
    assert api.post(f"/containers/{container}/wait").body == b'{"StatusCode":127}'
    assert state(container)["ExitCode"] == 127


def test_c150_after_kill_the_exit_code_is_137(api, containers, state):
    container = containers.run("sleep", "600")
    assert api.post(f"/containers/{container}/kill").status == 204
    assert state(container)["ExitCode"] == 137
    assert api.post(f"/containers/{container}/wait").json() == {"StatusCode": 137}


def test_c151_delete_is_204_and_inspect_404_afterwards(api, containers):
    for container in (containers.create("true"), containers.finish("true")):
        reply = api.delete(f"/containers/{container}")
        assert (reply.status, reply.body) == EMPTY
        assert api.get(f"/containers/{container}/json").status == 404


def test_c152_delete_of_a_running_container_stops_it(api, containers, state):
    container = containers.run("sh", "-c", ON_TERM)
    until(lambda: api.post(f"/containers/{container}/attach?logs=1&stdout=1").body, "its output")
    pid = state(container)["Pid"]
    reply = api.delete(f"/containers/{container}")
    assert (reply.status, reply.body) == EMPTY
    assert api.get(f"/containers/{container}/json").status == 404
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_c153_delete_of_an_unknown_container_is_404(api):
    assert unknown(api.delete("/containers/nosuch"))


@pytest.fixture
def exists(newest):
    return lambda volume: newest.get(f"/volumes/{volume}").status == 200


@pytest.fixture
def with_volume(containers, newest):
    """Run a container with a volume to its end; gives it and the volume, removed at the end."""
    made = []

    def run(**settings):
        container = containers.finish("true", **{"Volumes": {"/data": {}}, **settings})
        volume = containers.inspect(container)["Volumes"]["/data"]
        made.append(volume)
        return container, volume

    yield run
    containers.remove()
    for volume in made:
        newest.delete(f"/volumes/{volume}", query={"force": 1})


@pytest.mark.parametrize("word", ["1", "true"])
def test_c154_delete_with_v_removes_volumes_nobody_else_uses(api, with_volume, exists, word):
    container, volume = with_volume()
    assert exists(volume)
    reply = api.delete(f"/containers/{container}", query={"v": word})
    assert (reply.status, reply.body) == EMPTY
    assert not exists(volume)


@pytest.mark.parametrize("query", [{}, {"v": "0"}])
def test_c155_delete_without_v_keeps_volumes(api, with_volume, exists, query):
    container, volume = with_volume()
    assert api.delete(f"/containers/{container}", query=query).status == 204
    assert exists(volume)


def test_c156_delete_with_v_keeps_a_volume_that_another_uses(api, with_volume, exists):
    container, volume = with_volume()
    other, shared = with_volume(Volumes=None, VolumesFrom=container)
    assert shared == volume
    assert api.delete(f"/containers/{container}", query={"v": 1}).status == 204
    assert exists(volume)
    assert api.delete(f"/containers/{other}", query={"v": 1}).status == 204
    assert not exists(volume)
