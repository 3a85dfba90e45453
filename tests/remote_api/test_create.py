"""Contract of 2013, section "Create": C92 to C108."""

from __future__ import annotations

import contextlib
import re
import sys

import pytest
from tests.support import images
from tests.support.remote import Remote, started

pytestmark = pytest.mark.root
MEMORY_WARNING = "Your kernel does not support memory limit capabilities. Limitation discarded."
SWAP_WARNING = "Your kernel does not support memory swap capabilities. Limitation discarded."
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextlib.contextmanager
def an_image(engine, newest, tag, **config):
    """Have an image with a config of its own for a while; yields its id without algorithm."""
    engine.load(images.tiny_image(tag, config={"Labels": {"tag": tag}, **config}))
    try:
        yield newest.get(f"/images/{tag}/json").json()["Id"].removeprefix("sha256:")
    finally:
        newest.delete(f"/images/{tag}", query={"force": 1})


@pytest.fixture(scope="module")
def talkative(engine, newest):
    """An image with a run config: command, environment, an exposed port, a user."""
    config = {
        "Cmd": ["echo", "from the image"],
        "Env": [SEARCH_PATH, "ONE=1", "TWO=2"],
        "ExposedPorts": {"8099/tcp": {}},
        "User": "1000",
        "Volumes": {"/of-the-image": {}},
    }
    with an_image(engine, newest, "talkative:latest", **config) as image:
        yield image


@pytest.fixture(scope="module")
def silent(engine, newest):
    """An image without a command."""
    with an_image(engine, newest, "silent:latest", Cmd=None) as image:
        yield image


def test_c92_create_with_image_and_command_is_201(api, containers):
    reply = api.post("/containers/create", {"Image": "busybox", "Cmd": ["true"]})
    assert reply.status == 201
    containers.adopt(reply.json()["Id"])


def test_c93_the_id_has_12_characters_and_resolves_everywhere(api, containers):
    container = containers.create("sleep", "600", Tty=True)
    assert re.fullmatch("[0-9a-f]{12}", container)
    for method, path, status in (
        ("GET", "json", 200),
        ("GET", "changes", 200),
        ("GET", "export", 200),
        ("POST", "start", 204),
        ("POST", "resize?h=24&w=80", 200),
        ("POST", "attach", 200),
        ("POST", "restart?t=0", 204),
        ("POST", "stop?t=0", 204),
        ("POST", "kill", 204),
        ("POST", "wait", 200),
    ):
        assert api.call(method, f"/containers/{container}/{path}").status == status, path
    assert api.post("/commit", query={"container": container}).status == 201
    assert api.delete(f"/containers/{container}").status == 204


def test_c94_the_answer_is_json_by_its_type(api, containers):
    reply = api.post("/containers/create", {"Image": "busybox", "Cmd": ["true"]})
    assert reply.type == "application/json"
    containers.adopt(reply.json()["Id"])


def test_c95_there_are_no_warnings_without_a_reason(api, containers):
    reply = api.post("/containers/create", {"Image": "busybox", "Cmd": ["true"]})
    assert list(reply.json()) == ["Id"]
    containers.adopt(reply.json()["Id"])


def test_c96_create_from_an_unknown_image_is_404(api):
    assert api.post("/containers/create", {"Image": "nosuch", "Cmd": ["true"]}).status == 404


@pytest.mark.parametrize("name", ["nosuch", "nosuch:v1", "acme/nosuch", "ABC", "a b"])
def test_c97_the_text_names_the_image_as_given(api, name):
    reply = api.post("/containers/create", {"Image": name, "Cmd": ["true"]})
    assert (reply.status, reply.text) == (404, f"No such image: {name}\n")


@pytest.mark.parametrize("body", [{"Cmd": ["true"]}, {"Image": None, "Cmd": ["true"]}, {}])
def test_c98_create_without_an_image_is_404(api, body):
    reply = api.post("/containers/create", body)
    assert (reply.status, reply.text) == (404, "No such image: \n")


def test_c99_create_without_any_command_is_500(api, silent):
    reply = api.post("/containers/create", {"Image": "silent"})
    assert (reply.status, reply.text) == (500, "No command specified\n")


def test_c100_an_empty_command_means_the_image_s(containers, talkative):
    container = containers.create(image="talkative", Cmd=[])
    seen = containers.inspect(container)
    assert (seen["Path"], seen["Args"]) == ("echo", ["from the image"])
    assert seen["Config"]["Cmd"] == ["echo", "from the image"]


def test_c101_an_environment_is_the_image_s_or_the_request_s_as_a_whole(containers, talkative):
    without = containers.create("true", image="talkative")
    assert containers.inspect(without)["Config"]["Env"] == [SEARCH_PATH, "ONE=1", "TWO=2"]
    with_some = containers.create("true", image="talkative", Env=["TWO=3", "FOUR=4"])
    assert containers.inspect(with_some)["Config"]["Env"] == ["TWO=3", "FOUR=4"]


def test_c102_an_image_s_ports_are_used_when_the_request_has_none(containers, talkative):
    container = containers.create("sleep", "600", image="talkative")
    assert containers.inspect(container)["Config"]["PortSpecs"] == ["8099"]
    containers.start(container)
    mapping = containers.inspect(container)["NetworkSettings"]["PortMapping"]
    assert list(mapping) == ["8099"]
    other = containers.run("sleep", "600", image="talkative", PortSpecs=["8098"])
    seen = containers.inspect(other)
    assert seen["Config"]["PortSpecs"] == ["8098"]
    assert list(seen["NetworkSettings"]["PortMapping"]) == ["8098"]


def test_c103_a_container_is_called_by_its_short_id_inside(containers):
    container = containers.create("hostname")
    assert containers.inspect(container)["Config"]["Hostname"] == container
    called = containers.create("hostname", Hostname="ada")
    assert containers.inspect(called)["Config"]["Hostname"] == "ada"


def test_c104_an_image_is_given_by_name_tag_id_or_prefix(containers, talkative):
    for given in ("talkative", "talkative:latest", talkative, talkative[:12], talkative[:20]):
        seen = containers.inspect(containers.create("true", image=given))
        assert (seen["Image"], seen["Config"]["Image"]) == (talkative, given)


@pytest.mark.versions("1.2")
def test_c105_an_image_is_given_by_name_and_prefix_of_its_id(api, containers, talkative):
    for given in (f"talkative:{talkative[:12]}", f"talkative:{talkative[:7]}"):
        seen = containers.inspect(containers.create("true", image=given))
        assert (seen["Image"], seen["Config"]["Image"]) == (talkative, given)
    for given in (f"busybox:{talkative[:12]}", "talkative:000000000000"):
        reply = api.post("/containers/create", {"Image": given, "Cmd": ["true"]})
        assert (reply.status, reply.text) == (404, f"No such image: {given}\n")


def test_c106_create_does_not_start(containers):
    state = containers.inspect(containers.create("true"))["State"]
    assert (state["Running"], state["Pid"], state["ExitCode"]) == (False, 0, 0)


@pytest.mark.parametrize("spec", ["abc", "1:2:3", "99999", "-1", "80/abc", "x:80", ""])
def test_c107_a_bad_port_spec_is_found_at_start_only(api, containers, spec):
    container = containers.create("true", PortSpecs=[spec])
    assert containers.inspect(container)["Config"]["PortSpecs"] == [spec]
    reply = api.post(f"/containers/{container}/start")
    assert reply.status == 500
    assert reply.text.startswith(f"Error starting container {container}: ")
    assert not containers.inspect(container)["State"]["Running"]


@pytest.fixture(scope="module")
def limitless(tmp_path_factory):
    """The port of a daemon on a host that, as far as it can see, limits no memory."""
    python = tmp_path_factory.mktemp("limitless") / "python"
    hidden = "umount /sys/fs/cgroup/memory || mount -t tmpfs none /sys/fs/cgroup"
    script = f'{hidden}; exec {sys.executable} "$@"'
    python.write_text(
        f"#!/bin/sh\nexec unshare --mount --propagation=private sh -c '{script}' python \"$@\"\n"
    )
    python.chmod(0o755)
    with started("lim", bridge=None, python=str(python)) as (engine, port):
        engine.load(images.busybox_archive())
        yield port


def test_c108_a_limit_that_the_host_cannot_keep_is_warned_of(api, containers, limitless):
    body = {"Image": "busybox", "Cmd": ["true"], "Memory": 64 << 20}
    reply = Remote(api.version, limitless).post("/containers/create", body)
    assert (reply.status, reply.json()["Warnings"]) == (201, [MEMORY_WARNING])
    reply = api.post("/containers/create", body)
    containers.adopt(reply.json()["Id"])
    limits = api.get("/info").json()
    wanted = [] if limits.get("SwapLimit") else [SWAP_WARNING]
    assert reply.json().get("Warnings", []) == (
        wanted if limits.get("MemoryLimit") else [MEMORY_WARNING]
    )
