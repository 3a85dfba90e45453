"""Contract of 2013, section "Tag": C253 to C263."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root


def tag(api, image, **query):
    return api.post(f"/images/{image}/tag", query=query)


def test_c253_tagging_is_201_without_a_body(api, stock):
    reply = tag(api, stock.imported(), repo=stock.name())
    assert (reply.status, reply.body) == (201, b"")


def test_c254_without_a_tag_it_is_latest(api, stock):
    repo, image = stock.name(), stock.imported()
    assert tag(api, image, repo=repo).status == 201
    assert stock.full(f"{repo}:latest").startswith(image)


def test_c255_a_tag_is_set_as_given(api, stock):
    repo, image = stock.name(), stock.imported()
    assert tag(api, image, repo=repo, tag="v2").status == 201
    assert stock.full(f"{repo}:v2").startswith(image)
    assert not stock.exists(repo)


def test_c256_tagging_an_unknown_image_is_404(api):
    reply = tag(api, "no/such", repo="r")
    assert (reply.status, reply.text) == (404, "Image does not exist: no/such\n")


def test_c257_tagging_without_a_repository_is_500(api, stock):
    reply = tag(api, stock.imported())
    assert (reply.status, reply.text) == (500, "Repository name can't be empty\n")


def test_c258_a_repository_with_a_colon_is_500(api, stock):
    reply = tag(api, stock.imported(), repo="a:b")
    assert (reply.status, reply.text) == (500, "Illegal repository name: a:b\n")


@pytest.mark.parametrize("label", ["a/b", "a:b"])
def test_c259_a_tag_with_a_slash_or_a_colon_is_500(api, stock, label):
    reply = tag(api, stock.imported(), repo=stock.name(), tag=label)
    assert (reply.status, reply.text) == (500, f"Illegal tag name: {label}\n")


@pytest.mark.versions("1.1", "1.2")
def test_c260_a_tag_of_another_image_is_a_conflict_without_force(api, stock):
    repo = stock.name()
    first, second = stock.imported(repo, "v1"), stock.imported()
    for force in ({}, {"force": "0"}):
        reply = tag(api, second, repo=repo, tag="v1", **force)
        assert reply.status == 409
        assert reply.text == f"Conflict: Tag {repo}:v1 is already set to {first}\n"
    assert stock.full(f"{repo}:v1").startswith(first)


def test_c261_a_tag_of_another_image_moves_by_force(api, stock):
    repo = stock.name()
    stock.imported(repo)
    second = stock.imported()
    assert tag(api, second, repo=repo, force="1").status == 201
    assert stock.full(repo).startswith(second)


@pytest.mark.parametrize("force", [{}, {"force": "1"}])
def test_c262_a_tag_the_image_has_already_is_201(api, stock, force):
    repo = stock.name()
    image = stock.imported(repo)
    assert tag(api, image, repo=repo, **force).status == 201
    assert stock.full(repo).startswith(image)


@pytest.mark.versions("1.0")
def test_c263_in_1_0_a_tag_moves_without_force(api, stock):
    repo = stock.name()
    stock.imported(repo)
    second = stock.imported()
    assert tag(api, second, repo=repo).status == 201
    assert stock.full(repo).startswith(second)
