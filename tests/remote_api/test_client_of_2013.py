"""A client of 2013, from login to removal, on every prefix and against real registries."""

from __future__ import annotations

import json
import urllib.request

import pytest
from tests.support.archives import file, tar_of
from tests.support.client2013 import Client2013, Failed
from tests.support.registry import PASSWORD, USERNAME
from tests.support.remote import BARE, Remote, until
from tests.support.remote_images import Images

pytestmark = pytest.mark.root
PREFIXES = {"/v1.000000": False, "/v1.0": False, "/v1.1": False, "/v1.2": True, "": True}


@pytest.fixture(params=sorted(PREFIXES), ids=lambda prefix: prefix or "bare")
def docker(request, indexed):
    """The client; what it made is removed at the end."""
    engine, port = indexed
    (engine.root / "data/login.json").unlink(missing_ok=True)
    newest = Remote(BARE, engine.socket)
    made = Images(newest, newest)
    try:
        yield Client2013(port, request.param, PREFIXES[request.param])
    finally:
        for one in newest.get("/containers/json", query={"all": 1}).json():
            newest.delete(f"/containers/{one['Id']}", query={"force": 1, "v": 1})
        made.remove()


@pytest.fixture
def repo(docker, registry):
    """A repository of the open registry that nobody has used."""
    return f"{registry.address}/old/client{docker.prefix.replace('/', '').replace('.', '')}"


def test_run_shows_both_outputs_and_takes_input(docker):
    script = "echo out; echo err >&2; cat"
    container, output = docker.run("busybox", "sh", "-c", script, stdin=b"in\n")
    assert (output.stdout, output.stderr) == (b"out\nin\n", b"err\n")
    assert docker.wait(container) == 0
    found = docker.logs(container)
    assert (found.stdout, found.stderr) == (b"out\nin\n", b"err\n")


def test_run_with_a_terminal_has_its_size(docker):
    script = "sleep 0.2; while ! stty size | grep -q '24 80'; do sleep 0.05; done; stty size"
    container, output = docker.run("busybox", "sh", "-c", script, tty=True)
    assert output.stdout == b"24 80\r\n"
    assert docker.wait(container) == 0


def test_ps_and_port_show_what_runs(docker):
    script = "mkdir /w; echo served >/w/f; exec httpd -f -p 80 -h /w"
    container, _ = docker.run("busybox", "sh", "-c", script, detached=True, PortSpecs=["80"])
    public = docker.port(container, "80")
    (row,) = docker.ps()
    assert row[:3] == [container, "busybox:latest", f"sh -c {script}"]
    assert row[4].startswith("Up ")
    assert row[5] == f"{public}->80"

    def served():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{public}/f", timeout=5) as answer:
                return answer.read() == b"served\n"
        except OSError:
            return False

    until(served, "an answer at the published port")
    docker.stop(container)
    assert docker.ps() == []
    docker.rm(container)
    assert docker.ps(everything=True) == []


def test_build_commit_push_and_pull_again(docker, repo):
    context = tar_of(file("f", b"from the context\n"))
    text = docker.build("FROM busybox\nADD f /d/f\nRUN date >/when\nCMD cat /d/f\n", context, repo)
    assert "RUN date >/when (" in text
    container, output = docker.run(repo)
    assert output.stdout == b"from the context\n"
    image = docker.commit(container, repo, "v2", run={"Cmd": ["cat", "/when"]})
    assert docker.inspect_image(f"{repo}:v2")["id"].startswith(image)
    shown = docker.push(repo)
    assert "(len: 2)" in shown
    steps = docker.history(f"{repo}:v2")
    assert steps[0] == image
    before = dict.fromkeys(tag for _, tag, _ in docker.images(repo))
    assert set(before) == {"latest", "v2"}
    for tag in ("v2", "latest"):
        done = docker.rmi(f"{repo}:{tag}")
        assert {"Untagged": done[0]["Untagged"]} == done[0] if docker.keeps_login else done == []
    assert docker.images(repo) == []
    docker.pull(f"{repo}:v2")
    assert [tag for _, tag, _ in docker.images(repo)] == ["v2"]
    _, output = docker.run(f"{repo}:v2")
    assert output.stdout


def test_run_pulls_what_is_not_here(docker, repo):
    container, _ = docker.run("busybox", "true")
    docker.commit(container, repo)
    docker.rm(container)
    docker.push(repo)
    docker.rmi(repo)
    assert docker.images(repo) == []
    _, output = docker.run(f"{repo}:latest", "echo", "pulled")
    assert output.stdout == b"pulled\n"


def test_login_push_and_pull_at_an_index_that_asks(docker, index):
    name = "ada/web" + docker.prefix.strip("/").replace(".", "")
    docker.tag("busybox", name)
    with pytest.raises(Failed):
        docker.push(name)
    with pytest.raises(Failed, match="Wrong login/password"):
        docker.login(USERNAME, "wrong", "ada@example.org")
    assert docker.login(USERNAME, PASSWORD, "ada@example.org") == "Login Succeeded\n"
    docker.push(name)
    assert index.get_manifest(name, "latest")
    if docker.keeps_login:
        with pytest.raises(Failed):
            docker.pull(name)
        return
    assert "Pulling" in docker.pull(name)


def test_search_shows_what_an_index_finds(docker, web):
    found = {"results": [{"name": "acme/web", "description": "a server"}]}
    web.put("/v1/search?q=web&n=25", json.dumps(found).encode())
    ((name, description),) = docker.search(f"{web.address}/web")
    assert name.endswith("acme/web")
    assert description == "a server"


def test_insert_and_viz(docker, web):
    shown = docker.insert("busybox", web.put("/motd", b"inserted\n"), "/etc/motd")
    image = shown.split('{"Id":"')[1][:12] if '{"Id"' in shown else ""
    if not image:  # the client of JSON streams showed the id as a status
        image = [line for line in shown.split("\n") if len(line) == 64][-1][:12]
    _, output = docker.run(image, "cat", "/etc/motd")
    assert output.stdout == b"inserted\n"
    base = docker.inspect_image("busybox")["id"][:12]
    assert f' "{base}" -> "{image}"\n' in docker.viz()


def test_a_client_of_0_3_3_builds_by_itself(docker):
    run = {"Cmd": ["cat", "/b"]}
    commands = ["echo one >/a", "cp /a /b"]
    image = docker.build_by_steps("busybox", commands, run)
    _, output = docker.run(image)
    assert output.stdout == b"one\n"


def test_mistakes_are_told(docker):
    with pytest.raises(Failed, match="No such image: nosuch"):
        docker.rmi("nosuch")
    with pytest.raises(Failed):
        docker.pull("127.0.0.1:9/nosuch")
    with pytest.raises(Failed, match="returned a non-zero code: 1"):
        docker.build("FROM busybox\nRUN false\n", None)
