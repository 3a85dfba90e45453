"""Contract of 2013, section "Changes, export, resize": C157 to C172."""

from __future__ import annotations

import io
import tarfile

import pytest
from tests.support import images
from tests.support.remote import until

from pinnace.client.image_archive import Entry, directory

pytestmark = pytest.mark.root
MODIFIED, ADDED, DELETED = 0, 1, 2


@pytest.fixture(scope="module")
def image(engine, newest):
    """An image with files to change."""
    files = [directory("srv"), Entry("srv/kept", data=b"old\n"), Entry("srv/gone", data=b"x")]
    engine.load(images.tiny_image("changing:latest", files))
    yield "changing"
    newest.delete("/images/changing:latest", query={"force": 1})


@pytest.fixture
def changes(api):
    def ask(container):
        reply = api.get(f"/containers/{container}/changes")
        assert (reply.status, reply.type) == (200, "application/json")
        return reply.json()

    return ask


@pytest.fixture
def exported(api):
    def ask(container):
        reply = api.get(f"/containers/{container}/export")
        assert reply.status == 200, reply.sent
        return tarfile.open(fileobj=io.BytesIO(reply.body), mode="r:")

    return ask


def test_c157_a_new_file_is_added(changes, containers):
    container = containers.finish("touch", "/test")
    assert changes(container) == [{"Path": "/test", "Kind": ADDED}]


def test_c158_a_changed_file_is_modified(changes, containers, image):
    container = containers.finish("sh", "-c", "echo new > /srv/kept", image=image)
    assert {"Path": "/srv/kept", "Kind": MODIFIED} in changes(container)


def test_c159_a_deleted_file_is_shown_with_its_full_name(changes, containers, image):
    container = containers.finish("rm", "/srv/gone", image=image)
    assert {"Path": "/srv/gone", "Kind": DELETED} in changes(container)


def test_c160_without_changes_the_list_is_empty(api, containers):
    container = containers.finish("true")
    assert api.get(f"/containers/{container}/changes").body == b"[]"


def test_c161_a_container_never_started_has_no_changes(api, containers):
    reply = api.get(f"/containers/{containers.create('true')}/changes")
    assert (reply.status, reply.body) == (200, b"[]")


def test_c162_changes_of_an_unknown_container_are_404(api):
    reply = api.get("/containers/nosuch/changes")
    assert (reply.status, reply.text) == (404, "No such container: nosuch\n")


def test_c163_paths_are_absolute_and_in_order_without_the_root(changes, containers, image):
    script = "mkdir /b /a; touch /b/2 /b/1; rm /srv/gone; echo new > /srv/kept"
    paths = [one["Path"] for one in changes(containers.finish("sh", "-c", script, image=image))]
    assert paths == sorted(paths)
    assert set(paths) >= {"/a", "/b", "/b/1", "/b/2", "/srv/gone", "/srv/kept"}
    assert all(path.startswith("/") and path != "/" for path in paths)


def test_c164_an_export_is_an_uncompressed_tar(exported, containers):
    with exported(containers.finish("true")) as tar:
        assert tar.getnames()


def test_c165_an_export_is_a_stream_of_octets(api, containers):
    reply = api.get(f"/containers/{containers.create('true')}/export")
    assert reply.type == "application/octet-stream"


def test_c166_an_export_holds_the_image_s_and_the_container_s_files(exported, containers, image):
    container = containers.finish("sh", "-c", "echo mine > /mine; rm /srv/gone", image=image)
    with exported(container) as tar:
        names = [name.removeprefix("./") for name in tar.getnames()]
        assert not any(name.startswith("/") for name in names)
        assert {"bin/busybox", "srv/kept", "mine"} <= set(names)
        assert "srv/gone" not in names
        assert tar.extractfile(tar.getmembers()[names.index("mine")]).read() == b"mine\n"


def test_c166_a_running_container_is_exported_too(api, exported, containers):
    container = containers.run("sh", "-c", "echo mine > /mine; echo done; sleep 600")
    until(lambda: api.post(f"/containers/{container}/attach?logs=1&stdout=1").body, "its output")
    with exported(container) as tar:
        assert "mine" in [name.removeprefix("./") for name in tar.getnames()]
    assert containers.inspect(container)["State"]["Running"]


def test_c167_a_container_never_started_can_be_exported(exported, containers):
    with exported(containers.create("true")) as tar:
        assert "bin/busybox" in [name.removeprefix("./") for name in tar.getnames()]


def test_c168_export_of_an_unknown_container_is_404(api):
    reply = api.get("/containers/nosuch/export")
    assert (reply.status, reply.text) == (404, "No such container: nosuch\n")


SHOW_SIZE = "while [ ! -e /go ]; do usleep 10000; done; stty size"


def test_c169_resize_sets_the_size_of_the_terminal(api, containers):
    container = containers.run("sh", "-c", SHOW_SIZE, Tty=True)
    reply = api.post(f"/containers/{container}/resize", query={"h": 40, "w": 100})
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")
    containers.touch(container, "go")
    assert api.post(f"/containers/{container}/wait").json() == {"StatusCode": 0}
    replay = api.post(f"/containers/{container}/attach?logs=1&stdout=1")
    assert replay.body == b"40 100\r\n"


def test_c169_clients_of_the_time_swap_the_two_and_get_what_they_meant(api, containers):
    container = containers.run("sh", "-c", SHOW_SIZE, Tty=True)
    old = {"User-Agent": "Docker-Client/0.4.0"}
    query = {"h": 100, "w": 40}
    assert api.post(f"/containers/{container}/resize", query=query, headers=old).status == 200
    containers.touch(container, "go")
    api.post(f"/containers/{container}/wait")
    assert api.post(f"/containers/{container}/attach?logs=1&stdout=1").body == b"40 100\r\n"


@pytest.mark.parametrize("query", ["", "h=40", "w=100", "h=x&w=100", "h=40&w=", "h=1.5&w=2"])
def test_c170_resize_without_two_numbers_is_500(api, containers, query):
    known = containers.create("true", Tty=True)
    for name in (known, "nosuch"):
        reply = api.post(f"/containers/{name}/resize?{query}")
        assert reply.status == 500, reply.sent
        assert "invalid syntax" in reply.text


def test_c171_resize_of_an_unknown_container_is_404(api):
    reply = api.post("/containers/nosuch/resize", query={"h": 40, "w": 100})
    assert (reply.status, reply.text) == (404, "No such container: nosuch\n")


def test_c172_resize_without_a_terminal_is_500(api, containers):
    query = {"h": 40, "w": 100}
    for container in (containers.sleeper(), containers.create("true", Tty=True)):
        reply = api.post(f"/containers/{container}/resize", query=query)
        assert reply.status == 500, reply.sent
