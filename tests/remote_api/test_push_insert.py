"""Contract of 2013, section "Push, insert": C240 to C252."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
LOGIN = {"username": "ada", "password": "s3cret", "email": "ada@example.org"}


def push(api, name, body=None):
    if body is None and api.is_1_2:
        body = LOGIN
    return api.post(f"/images/{name}/push", body)


@pytest.fixture
def named(stock, registry):
    """A repository of the registry with one image here, of one tag."""
    repo = f"{registry.address}/{stock.name()}"
    stock.imported(repo, "v1")
    return repo


@pytest.mark.versions("1.2")
def test_c241_push_with_an_empty_body_is_500(api, named):
    reply = api.post(f"/images/{named}/push")
    assert (reply.status, reply.text) == (500, "EOF\n")


@pytest.mark.versions("1.0")
def test_c243_push_in_1_0_is_text(api, named):
    reply = push(api, named)
    assert (reply.status, reply.type) == (200, "application/vnd.docker.raw-stream")
    assert "Error" not in reply.text
    assert all("{" not in line for line in reply.text.split("\r\n"))


@pytest.mark.versions("1.1", "1.2")
def test_c244_push_is_a_json_stream(api, named, registry):
    reply = push(api, named)
    assert (reply.status, reply.type) == (200, "application/json")
    for value in reply.values():
        assert set(value) <= {"status", "progress"}
    assert registry.get_manifest(named.partition("/")[2], "v1")


@pytest.mark.versions("1.1", "1.2")
def test_c245_the_first_status_has_the_number_of_tags(api, stock, named):
    stock.tag(f"{named}:v1", named, "v2")
    values = push(api, named).values()
    assert values[0]["status"] == f"The push refers to a repository [{named}] (len: 2)"


def test_a_repository_is_pushed_with_all_its_tags(api, stock, named, registry):
    stock.tag(f"{named}:v1", named, "v2")
    assert push(api, named).status == 200
    path = named.partition("/")[2]
    first, second = (registry.get_manifest(path, tag) for tag in ("v1", "v2"))
    assert first == second


@pytest.mark.parametrize("name", ["no/such", "127.0.0.1:9/nosuch"])
def test_c246_push_of_an_unknown_name_is_404(api, name):
    reply = push(api, name)
    assert (reply.status, reply.text) == (404, f"No such image: {name}\n")


def insert(api, image, url, path):
    return api.post(f"/images/{image}/insert", query={"url": url, "path": path})


def inserted(stock, reply):
    """Return the id that an insert answers at its end, and what came before."""
    assert reply.status == 200, reply.sent
    found = re.search(r'\{"Id":"([0-9a-f]{12})"\}$', reply.text)
    assert found, reply.text
    return found[1], reply.text[: found.start()]


@pytest.mark.versions("1.1", "1.2")
def test_c247_insert_streams_json_with_the_full_id(api, stock, web):
    reply = insert(api, stock.imported(), web.put("/f", b"x" * 5000), "/etc/f")
    assert (reply.status, reply.type) == (200, "application/json")
    image, _ = inserted(stock, reply)
    values = reply.values()
    assert stock.full(image) in [value.get("status") for value in values]
    progress = [value for value in values if value.get("status") == "Downloading"]
    assert progress[-1]["progress"] == "5000/5000 (100%)"


def test_c248_the_last_value_of_an_insert_is_the_short_id(api, stock, web):
    image, _ = inserted(stock, insert(api, stock.imported(), web.put("/f", b"x"), "/f"))
    assert stock.full(image).startswith(image)


def test_c249_the_new_image_stands_on_the_old_one_and_has_the_file(api, stock, web, containers):
    before = len(api.get("/containers/json", query={"all": 1}).json())
    url = web.put("/f", b"put in\n")
    parent = stock.full("busybox")
    image, _ = inserted(stock, insert(api, parent, url, "/new/dir/file"))
    seen = stock.inspect(image)
    assert seen["parent"] == parent
    assert seen["container_config"]["Cmd"] == ["echo", "insert", url, "/new/dir/file"]
    script = 'test "$(cat /new/dir/file)" = "put in" && test "$(stat -c %a:%u /new/dir)" = 755:0'
    container = containers.finish("/bin/sh", "-c", script, image=image)
    assert containers.inspect(container)["State"]["ExitCode"] == 0
    assert len(api.get("/containers/json", query={"all": 1}).json()) == before + 1


def test_c249_an_existing_file_is_replaced_through_links_of_the_image(api, stock, web, containers):
    made = containers.finish(
        "/bin/sh", "-c", "mkdir -p /real && echo old >/real/f && ln -s real /way"
    )
    below = stock.commit(made)
    image, _ = inserted(stock, insert(api, below, web.put("/f", b"new\n"), "/way/f"))
    script = 'test -L /way && test "$(cat /real/f)" = new'
    container = containers.finish("/bin/sh", "-c", script, image=image)
    assert containers.inspect(container)["State"]["ExitCode"] == 0


def test_c250_an_inserted_image_has_no_config(api, stock, web, containers):
    below = stock.commit(containers.create("true"), {"Cmd": ["true"]}, author="Ada", comment="c")
    image, _ = inserted(stock, insert(api, below, web.put("/f", b"x"), "/f"))
    seen = stock.inspect(image)
    assert "config" not in seen
    assert (seen["author"], seen["comment"]) == ("Ada", "c")


def test_c251_insert_into_an_unknown_image_is_404(api, web):
    reply = insert(api, "no/such", web.put("/f", b"x"), "/f")
    assert (reply.status, reply.text) == (404, "No such image: no/such\n")


def test_c252_insert_of_a_url_that_is_not_there_is_500(api, stock, web):
    image = stock.imported()
    before = stock._ids()
    reply = insert(api, image, f"http://{web.address}/nosuch", "/f")
    assert reply.status == 500
    assert "404" in reply.text
    assert stock._ids() == before


@pytest.mark.parametrize(
    ("url", "path"), [("file:///etc/passwd", "/f"), ("", "/f"), ("{}", ""), ("{}", "/dir/")]
)
def test_insert_of_what_is_no_url_or_no_path_is_500(api, stock, web, url, path):
    reply = insert(api, stock.imported(), url.format(web.put("/f", b"x")), path)
    assert reply.status == 500, reply.sent


def test_an_insert_that_breaks_off_leaves_nothing(api, stock, web, engine):
    image = stock.imported()
    before = stock._ids()
    url = web.put("/short", b"x" * 3000)
    with web.cut_short():
        reply = insert(api, image, url, "/f")
    assert reply.status in (200, 500)  # 200 if there was progress to tell before
    assert "unexpected EOF" in reply.text
    assert '{"Id"' not in reply.text
    assert stock._ids() == before
    assert not list((engine.root / "data/builds/contexts").iterdir())


def test_insert_stays_in_the_image(api, stock, web, containers):
    image, _ = inserted(stock, insert(api, "busybox", web.put("/f", b"x"), "/../../up/../here"))
    container = containers.finish("/bin/sh", "-c", "test -f /here", image=image)
    assert containers.inspect(container)["State"]["ExitCode"] == 0
    assert not Path("/here").exists()


def test_push_takes_the_registry_as_host_or_as_address(api, stock, named, registry):
    host, _, name = named.partition("/")
    for form in (host, f"http://{host}/v1", f"https://{host}/v1/"):
        body = LOGIN if api.is_1_2 else None
        reply = api.post(f"/images/{name}/push", body, query={"registry": form})
        assert reply.status == 200, reply.sent
    assert registry.get_manifest(name, "v1")


def test_an_answer_of_an_insert_is_json_in_every_version(api, stock, web):
    reply = insert(api, stock.imported(), web.put("/f", b"x"), "/f")
    image, before = inserted(stock, reply)
    assert json.loads(reply.text[len(before) :]) == {"Id": image}
