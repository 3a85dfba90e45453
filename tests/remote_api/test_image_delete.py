"""Contract of 2013, section "Delete image": C264 to C278."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root
UNTAGGED, DELETED = "Untagged", "Deleted"


def child(stock, containers, image, **names):
    """Return an image made from another; the container goes again."""
    container = containers.create("true", image=image)
    made = stock.commit(container, **names)
    containers.remove()
    return made


@pytest.mark.versions("1.0", "1.1")
def test_c264_delete_is_204_without_a_body(api, stock):
    image = stock.imported()
    reply = api.delete(f"/images/{image}")
    assert (reply.status, reply.body) == (204, b"")
    assert not stock.exists(image)


@pytest.mark.versions("1.0", "1.1")
def test_c265_delete_forgets_the_image_whatever_names_it_or_stands_on_it(api, stock, containers):
    repo = stock.name()
    image = stock.imported(repo, "v1")
    stock.tag(image, repo, "v2")
    above = child(stock, containers, image)
    assert api.delete(f"/images/{repo}:v1").status == 204
    assert not stock.exists(image)
    assert not [one for one in stock.list(all=1) if one.get("Repository") == repo]
    assert stock.exists(above)
    assert containers.finish("/bin/true", image="busybox")  # nothing else has gone


@pytest.mark.versions("1.0", "1.1")
def test_c265_a_container_of_a_forgotten_image_goes_on(api, stock, containers):
    repo = stock.name()
    image = child(stock, containers, "busybox", repo=repo)
    container = containers.create("cat", "/etc/passwd", image=repo)
    assert api.delete(f"/images/{repo}").status == 204
    assert not stock.exists(image)
    containers.start(container)
    assert api.post(f"/containers/{container}/wait").json() == {"StatusCode": 0}


@pytest.mark.parametrize("name", ["nosuch", "no/such:tag"])
def test_c266_deleting_an_unknown_image_is_404(api, name):
    reply = api.delete(f"/images/{name}")
    assert (reply.status, reply.text) == (404, f"No such image: {name}\n")


@pytest.mark.versions("1.2")
def test_c267_deleting_a_name_answers_with_an_array(api, stock):
    repo = stock.name()
    stock.imported(repo, "v1")
    reply = api.delete(f"/images/{repo}:v1")
    assert (reply.status, reply.type) == (200, "application/json")
    assert isinstance(reply.json(), list)


@pytest.mark.versions("1.2")
def test_c268_elements_have_one_key(api, stock, containers):
    repo = stock.name()
    child(stock, containers, stock.imported(), repo=repo)
    done = api.delete(f"/images/{repo}").json()
    assert len(done) == 3
    assert all(list(one) in ([UNTAGGED], [DELETED]) for one in done)


@pytest.mark.versions("1.2")
def test_c269_elements_hold_short_ids(api, stock, containers):
    repo = stock.name()
    leaf = child(stock, containers, stock.imported(), repo=repo)
    done = api.delete(f"/images/{repo}").json()
    assert [value for one in done for value in one.values()][:2] == [leaf, leaf]
    assert all(len(value) == 12 for one in done for value in one.values())


@pytest.mark.versions("1.2")
def test_c270_an_image_with_two_names_loses_one(api, stock):
    repo = stock.name()
    image = stock.imported(repo, "v1")
    stock.tag(image, repo, "v2")
    assert api.delete(f"/images/{repo}:v1").json() == [{UNTAGGED: image}]
    assert stock.full(f"{repo}:v2").startswith(image)
    assert not stock.exists(f"{repo}:v1")


@pytest.mark.versions("1.2")
def test_c271_an_image_with_a_named_child_loses_its_name_only(api, stock, containers):
    repo = stock.name()
    image = stock.imported(repo, "base")
    child(stock, containers, image, repo=repo, tag="child")
    assert api.delete(f"/images/{repo}:base").json() == [{UNTAGGED: image}]
    assert stock.exists(image)


@pytest.mark.versions("1.2")
def test_c272_a_leaf_is_untagged_and_then_deleted(api, stock, containers):
    repo = stock.name()
    base = stock.imported(repo, "base")
    leaf = child(stock, containers, base, repo=repo, tag="leaf")
    assert api.delete(f"/images/{repo}:leaf").json() == [{UNTAGGED: leaf}, {DELETED: leaf}]
    assert not stock.exists(leaf)
    assert stock.exists(base)


@pytest.mark.versions("1.2")
def test_c273_unnamed_parents_go_too_up_to_the_first_named_one(api, stock, containers):
    repo = stock.name()
    base = stock.imported(repo, "base")
    middle = child(stock, containers, base)
    upper = child(stock, containers, middle)
    leaf = child(stock, containers, upper, repo=repo, tag="leaf")
    done = api.delete(f"/images/{repo}:leaf").json()
    assert done == [{UNTAGGED: leaf}, {DELETED: leaf}, {DELETED: upper}, {DELETED: middle}]
    assert [stock.exists(one) for one in (leaf, upper, middle, base)] == [False] * 3 + [True]


@pytest.mark.versions("1.2")
def test_c274_the_id_of_a_named_image_is_a_conflict(api, stock):
    repo = stock.name()
    image = stock.imported(repo)
    reply = api.delete(f"/images/{image}")
    assert (reply.status, reply.text) == (409, f"Conflict, {image} wasn't deleted\n")
    assert stock.exists(repo)


@pytest.mark.versions("1.2")
def test_c275_the_id_of_an_unnamed_image_with_a_named_child_is_a_conflict(api, stock, containers):
    image = stock.imported()
    child(stock, containers, image, repo=stock.name())
    reply = api.delete(f"/images/{image}")
    assert (reply.status, reply.text) == (409, f"Conflict, {image} wasn't deleted\n")
    assert stock.exists(image)


@pytest.mark.versions("1.2")
def test_c276_a_tag_the_repository_does_not_have_is_404(api, stock):
    repo = stock.name()
    stock.imported(repo, "v1")
    assert api.delete(f"/images/{repo}:nosuchtag").status == 404
    assert stock.exists(f"{repo}:v1")


@pytest.mark.versions("1.2")
def test_c277_a_bare_name_is_its_latest_alone(api, stock):
    repo = stock.name()
    latest, other = stock.imported(repo, "latest"), stock.imported(repo, "v1")
    assert api.delete(f"/images/{repo}").json() == [{UNTAGGED: latest}, {DELETED: latest}]
    assert stock.full(f"{repo}:v1").startswith(other)


@pytest.mark.versions("1.2")
def test_c278_a_repository_without_latest_is_404_by_its_bare_name(api, stock):
    repo = stock.name()
    stock.imported(repo, "v1")
    reply = api.delete(f"/images/{repo}")
    assert (reply.status, reply.text) == (404, f"No such image: {repo}\n")
    assert stock.exists(f"{repo}:v1")
