"""Contract of 2013, section "Commit": C283 to C299."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.root
FORM = "application/x-www-form-urlencoded"
CONFIG = {
    "Hostname": "web",
    "User": "1",
    "Memory": 1 << 26,
    "MemorySwap": -1,
    "CpuShares": 7,
    "AttachStdin": False,
    "AttachStdout": True,
    "AttachStderr": True,
    "PortSpecs": ["8080:80", "443"],
    "Tty": True,
    "OpenStdin": True,
    "StdinOnce": True,
    "Env": ["A=1", "B=2"],
    "Cmd": ["/bin/sh", "-c", "date"],
    "Dns": ["10.0.0.1"],
    "Image": "busybox",
    "Volumes": {"/data": {}},
    "VolumesFrom": "",
}


def commit(api, body=None, *, headers=None, **query):
    return api.post("/commit", body, query=query, headers=headers)


def test_c284_commit_answers_with_json(api, stock, containers):
    reply = commit(api, container=containers.create("true"), repo=stock.name())
    assert reply.type == "application/json"


def test_c283_commit_is_201_with_a_short_id(api, stock, containers):
    repo = stock.name()
    reply = commit(api, container=containers.create("true"), repo=repo)
    assert reply.status == 201
    assert re.fullmatch(r'\{"Id":"[0-9a-f]{12}"\}', reply.text)
    assert stock.full(repo).startswith(reply.json()["Id"])


def test_c285_commit_of_an_unknown_container_is_404(api):
    reply = commit(api, container="nosuch", repo="r")
    assert (reply.status, reply.text) == (404, "No such container: nosuch\n")


def test_c286_commit_without_a_container_is_404(api):
    assert commit(api, repo="r").status == 404
    assert commit(api).status == 404


def test_c287_the_comment_is_shown(stock, containers):
    image = stock.commit(containers.create("true"), comment="first try")
    assert stock.inspect(image)["comment"] == "first try"


def test_c288_the_message_may_be_called_m(stock, containers):
    container = containers.create("true")
    assert stock.inspect(stock.commit(container, m="said"))["comment"] == "said"
    assert stock.inspect(stock.commit(container, m="said", comment="more"))["comment"] == "more"


def test_c289_the_author_is_shown(stock, containers):
    image = stock.commit(containers.create("true"), author="Ada")
    assert stock.inspect(image)["author"] == "Ada"


def test_c290_the_body_becomes_the_config(stock, containers):
    container = containers.create("sleep", "1", Env=["OWN=1"], PortSpecs=["22"])
    assert stock.inspect(stock.commit(container, CONFIG))["config"] == CONFIG


def test_c290_nothing_of_the_container_is_left_in_the_config(stock, containers):
    container = containers.create("sleep", "1", Env=["OWN=1"], PortSpecs=["22"], User="2")
    config = stock.inspect(stock.commit(container, {"Cmd": ["top"]}))["config"]
    assert {key: value for key, value in config.items() if value} == {"Cmd": ["top"]}


def test_c291_the_config_may_be_the_parameter_run(stock, containers):
    container = containers.create("true")
    run = json.dumps({"Cmd": ["top"], "PortSpecs": ["22"]})
    config = stock.inspect(stock.commit(container, run=run))["config"]
    assert (config["Cmd"], config["PortSpecs"]) == (["top"], ["22"])
    config = stock.inspect(stock.commit(container, {"Cmd": ["body"]}, run=run))["config"]
    assert (config["Cmd"], config["PortSpecs"]) == (["body"], None)


@pytest.mark.parametrize(
    "body", [None, b"", b"null", b'{"Cmd":', b"nonsense", b'{"PortSpecs":"443"}']
)
def test_c292_what_is_no_config_is_as_none(api, stock, containers, body):
    reply = commit(api, body, container=containers.create("true"))
    assert reply.status == 201, reply.sent
    assert not any(stock.inspect(reply.json()["Id"])["config"].values())


def test_c293_containers_of_a_committed_image_use_its_config(stock, containers):
    config = {"Cmd": ["/bin/sh", "-c", "sleep 60"], "PortSpecs": ["80"]}
    image = stock.commit(containers.create("true"), config)
    container = containers.run(image=image)
    seen = containers.inspect(container)
    assert (seen["Path"], seen["Args"]) == ("/bin/sh", ["-c", "sleep 60"])
    assert list(seen["NetworkSettings"]["PortMapping"]) == ["80"]


def test_c294_a_committed_image_tells_its_parent_and_its_container(stock, containers):
    container = containers.create("echo", "hi", Env=["A=1"], PortSpecs=["80"], Tty=True)
    image = stock.inspect(stock.commit(container))
    assert image["parent"] == stock.full("busybox")
    assert image["container"] == containers.inspect(container)["ID"]
    seen = image["container_config"]
    assert (seen["Cmd"], seen["PortSpecs"], seen["Tty"]) == (["echo", "hi"], ["80"], True)
    assert "A=1" in seen["Env"]


def test_c295_without_a_tag_it_is_latest_and_moves(stock, containers):
    repo, container = stock.name(), containers.create("true")
    first = stock.commit(container, repo=repo)
    assert stock.full(f"{repo}:latest").startswith(first)
    second = stock.commit(container, repo=repo, comment="again")
    assert stock.full(f"{repo}:latest").startswith(second)
    third = stock.commit(container, repo=repo, tag="v1")
    assert stock.full(f"{repo}:v1").startswith(third)


def test_c296_without_a_repository_the_image_has_no_name(stock, containers):
    image = stock.full(stock.commit(containers.create("true")))
    (entry,) = [one for one in stock.list() if one["Id"] == image]
    assert "Repository" not in entry


def test_c297_the_config_is_read_whatever_the_content_type_says(api, stock, containers):
    body = json.dumps({"Cmd": ["top"]}).encode()
    reply = commit(api, body, container=containers.create("true"), headers={"Content-Type": FORM})
    assert stock.inspect(reply.json()["Id"])["config"]["Cmd"] == ["top"]


def test_parameters_of_a_commit_may_come_as_a_form(api, stock, containers):
    container = containers.create("true")
    body = f"container={container}&comment=by+form".encode()
    reply = commit(api, body, headers={"Content-Type": FORM})
    assert reply.status == 201, reply.sent
    assert stock.inspect(reply.json()["Id"])["comment"] == "by form"


def test_c298_a_running_container_is_committed_and_runs_on(stock, containers):
    container = containers.sleeper()
    containers.touch(container, "new")
    image = stock.commit(container)
    state = containers.inspect(container)["State"]
    assert state["Running"]
    looking = containers.finish("/bin/sh", "-c", "test -e /new", image=image)
    assert containers.inspect(looking)["State"]["ExitCode"] == 0


def test_c299_a_container_that_never_ran_is_committed(stock, containers):
    image = stock.commit(containers.create("true"))
    looking = containers.finish("true", image=image)
    assert containers.inspect(looking)["State"]["ExitCode"] == 0


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"repo": "a:b"}, "Illegal repository name: a:b\n"),
        ({"repo": "a", "tag": "b:c"}, "Illegal tag name: b:c\n"),
    ],
)
def test_an_illegal_name_is_500_and_nothing_is_made(api, stock, containers, query, text):
    before = stock._ids()
    reply = commit(api, container=containers.create("true"), **query)
    assert (reply.status, reply.text) == (500, text)
    assert stock._ids() == before
