"""Contract of 2013, section "Images: list, inspect, history, graph, search": C193 to C212."""

from __future__ import annotations

import re

import pytest
from tests.support import images as archives
from tests.support.remote import started

from pinnace.client.image_archive import Entry

pytestmark = pytest.mark.root
LAYERS = ([Entry("one", data=b"1")], [Entry("two", data=b"2")])


def of(entries, **wanted):
    """Return the entries of a list that have these values."""
    return [one for one in entries if all(one.get(key) == value for key, value in wanted.items())]


def test_c193_the_list_has_an_entry_for_each_tag(stock):
    repo = stock.name()
    image = stock.imported(repo, "v1")
    stock.tag(image, repo, "v2")
    entries = of(stock.list(), Repository=repo)
    assert {one["Tag"] for one in entries} == {"v1", "v2"}
    for one in entries:
        assert one["Id"].startswith(image)
        assert isinstance(one["Created"], int)


def test_c194_ids_in_the_list_are_full(stock):
    stock.imported(stock.name())
    assert all(re.fullmatch("[0-9a-f]{64}", one["Id"]) for one in stock.list(all=1))


def test_c195_an_untagged_head_is_listed_without_repository_and_tag(stock):
    image = stock.full(stock.imported())
    (entry,) = of(stock.list(), Id=image)
    assert not {"Repository", "Tag"} & set(entry)


def test_c196_an_untagged_image_with_children_is_listed_with_all_only(stock, containers):
    repo = stock.name()
    below = stock.full(stock.imported())
    named = stock.full(stock.imported(repo))
    for image in (below, named):
        stock.commit(containers.create("true", image=image))
    assert not of(stock.list(), Id=below)
    assert len(of(stock.list(all=1), Id=below)) == 1
    assert len(of(stock.list(), Id=named)) == 1
    assert len(of(stock.list(all=1), Id=named)) == 1


def test_c197_a_filter_lists_the_tags_of_exactly_that_repository(stock):
    repo = stock.name()
    image = stock.imported(repo, "v1")
    stock.tag(image, repo, "v2")
    stock.tag(image, f"{repo}0", "v3")
    stock.imported()
    for everything in (0, 1):
        found = stock.list(filter=repo, all=everything)
        assert {(one["Repository"], one["Tag"]) for one in found} == {(repo, "v1"), (repo, "v2")}
    assert stock.list(filter=repo[:-1] + "*") == []


def test_c198_a_filter_that_nothing_has_gives_an_empty_list(api, stock):
    stock.imported()
    reply = api.get("/images/json", query={"filter": "nosuch"})
    assert (reply.status, reply.body) == (200, b"[]")


@pytest.mark.parametrize("path", ["/images/", "/images"])
def test_c199_a_list_without_its_format_is_an_unknown_path(api, path):
    reply = api.get(path)
    assert (reply.status, reply.text) == (404, "404 page not found\n")


def test_c200_an_image_is_found_by_its_names_its_id_and_the_start_of_it(api, stock):
    repo = stock.name()
    full = stock.full(stock.imported(repo, "latest"))
    for name in (repo, f"{repo}:latest", full, full[:12], full[:20]):
        reply = api.get(f"/images/{name}/json")
        assert reply.status == 200, reply.sent
        assert reply.json()["id"] == full


@pytest.mark.parametrize("name", ["nosuch", "nosuch:tag", "no/such", "ffffffffffffffff"])
def test_c201_an_unknown_image_is_named_in_the_404(api, name):
    reply = api.get(f"/images/{name}/json")
    assert (reply.status, reply.text) == (404, f"No such image: {name}\n")


def test_c202_keys_of_an_image_are_lower_case(stock, containers):
    image = stock.inspect(stock.commit(containers.create("true")))
    assert {"id", "created", "container_config"} <= set(image)
    assert not {"Id", "Created", "ContainerConfig", "Config", "Parent"} & set(image)


def test_c203_an_imported_image_has_an_empty_container_config_and_no_parent(stock):
    image = stock.inspect(stock.imported())
    assert len(image["container_config"]) == 18
    assert not any(image["container_config"].values())
    assert not {"parent", "container", "config"} & set(image)


def test_c204_images_made_here_tell_the_version_and_the_architecture(stock, containers, newest):
    version = newest.get("/version").json()["Version"]
    for made in (stock.imported(), stock.commit(containers.create("true"))):
        image = stock.inspect(made)
        assert image["docker_version"] == version
        assert image["architecture"] in ("x86_64", "aarch64")


def test_c205_history_leads_from_an_image_to_its_base(stock, containers):
    base = stock.imported(stock.name())
    middle = stock.commit(containers.create("one", image=base))
    top = stock.commit(containers.create("two", image=middle))
    steps = stock.history(top)
    assert [one["Id"] for one in steps] == [top, middle, base]
    assert all(isinstance(one["Created"], int) for one in steps)


def test_c205_history_of_an_image_from_elsewhere_has_an_id_for_each_step(stock, engine):
    repo = stock.name()
    engine.load(archives.tiny_image(f"{repo}:latest", *LAYERS))
    (entry,) = of(stock.list(), Repository=repo)
    steps = stock.history(entry["Id"])
    assert len(steps) == 3
    assert steps[0]["Id"] == entry["Id"][:12]
    parent = stock.inspect(entry["Id"])["parent"]
    for one in steps[1:]:
        assert parent.startswith(one["Id"])
        assert stock.history(parent)[0]["Id"] == one["Id"]
        parent = stock.inspect(one["Id"]).get("parent")
    assert parent is None


def test_c206_created_by_is_the_command_joined_by_spaces(stock, containers):
    container = containers.create("/bin/sh", "-c", "echo a  b")
    steps = stock.history(stock.commit(container))
    assert steps[0]["CreatedBy"] == "/bin/sh -c echo a  b"


def test_c207_created_by_is_absent_without_a_command(stock):
    (step,) = stock.history(stock.imported())
    assert "CreatedBy" not in step


def test_c208_history_of_an_unknown_image_is_404_in_its_own_words(api):
    reply = api.get("/images/no/such/history")
    assert (reply.status, reply.text) == (404, "Image does not exist: no/such\n")


def test_c209_the_graph_is_text_in_the_language_of_dot(api, stock):
    stock.imported()
    reply = api.get("/images/viz")
    assert reply.status == 200
    assert reply.type.partition(";")[0] == "text/plain"
    assert reply.text.startswith("digraph docker {\n")
    assert reply.text.rstrip("\n").endswith("\n base [style=invisible]\n}")


def test_c210_the_graph_has_a_line_for_each_image_with_and_without_parent(
    api, stock, containers, engine
):
    base = stock.imported()
    child = stock.commit(containers.create("true", image=base))
    engine.load(archives.tiny_image(f"{stock.name()}:latest", *LAYERS))
    graph = api.get("/images/viz").text
    assert f' base -> "{base}" [style=invis]\n' in graph
    assert f' "{base}" -> "{child}"\n' in graph
    for one in stock.list(all=1):
        parent = stock.inspect(one["Id"]).get("parent")
        line = f' "{parent[:12]}" -> ' if parent else " base -> "
        end = "" if parent else " [style=invis]"
        assert graph.count(f'{line}"{one["Id"][:12]}"{end}\n') == 1


def test_c211_a_named_image_has_a_label_with_its_names(api, stock):
    repo = stock.name()
    image = stock.imported(repo, "v1")
    stock.tag(image, repo, "v2")
    lines = [line for line in api.get("/images/viz").text.splitlines() if repo in line]
    assert lines == [
        f' "{image}" [label="{image}\\n{repo}:v1\\n{repo}:v2",shape=box,'
        'fillcolor="paleturquoise",style="filled,rounded"];'
    ]


@pytest.fixture(scope="module")
def empty():
    """The port of a daemon without images."""
    with started("viz", bridge=None) as (_, port):
        yield port


def test_c212_without_images_there_is_no_graph(api, empty):
    reply = type(api)(api.version, empty).get("/images/viz")
    assert (reply.status, reply.body) == (200, b"")
