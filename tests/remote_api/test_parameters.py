"""Contract of 2013, section "Booleans and integers": C35 to C47."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.remote import VERSIONS, until

pytestmark = pytest.mark.root
BAD = (400, "Bad parameter\n")


@pytest.fixture(scope="module")
def created(shared):
    return shared.create("true")


@pytest.fixture
def listed(api, created):
    """Whether a list, asked with a raw query, holds the container that never ran."""

    def ask(query):
        reply = api.get(f"/containers/json?{query}")
        assert reply.status == 200, reply.sent
        return any(one["Id"].startswith(created) for one in reply.json())

    return ask


@pytest.mark.parametrize("word", ["1", "True", "true"])
def test_c35_1_and_true_mean_true(api, listed, word):
    assert listed(f"all={word}")
    assert api.get("/images/json", query={"all": word}).status == 200


@pytest.mark.parametrize("word", ["TRUE", "tRuE"])
def test_c36_true_counts_in_any_case(listed, word):
    assert listed(f"all={word}")


@pytest.mark.parametrize("query", ["all=0", "all=False", "all=false", ""])
def test_c37_0_and_false_and_nothing_mean_false(api, listed, query):
    assert not listed(query)
    assert api.get(f"/images/json?{query}").status == 200


def test_c38_an_empty_word_means_false(listed):
    assert not listed("all=")


def test_c39_another_number_is_400(api):
    assert api.get("/containers/json", query={"all": 2}).status == 400


def test_c40_the_text_of_that_is_bad_parameter(api):
    reply = api.get("/containers/json", query={"all": 2})
    assert (reply.status, reply.text) == BAD


@pytest.mark.parametrize("word", ["yes", "on", "t", "01", " 1", "no", "none"])
def test_c41_other_words_are_400(api, word):
    reply = api.get("/containers/json", query={"all": word})
    assert (reply.status, reply.text) == BAD


def test_c42_images_refuse_a_bad_boolean_too(api):
    reply = api.get("/images/json", query={"all": "maybe"})
    assert (reply.status, reply.text) == BAD


def test_c43_tag_checks_force_before_it_looks_for_the_image(api):
    reply = api.post("/images/nosuch/tag", query={"repo": "r", "force": "maybe"})
    assert (reply.status, reply.text) == BAD


def test_c44_delete_checks_v_before_it_looks_for_the_container(api):
    reply = api.delete("/containers/nosuch", query={"v": "maybe"})
    assert (reply.status, reply.text) == BAD


@pytest.mark.parametrize("name", ["logs", "stream", "stdin", "stdout", "stderr"])
def test_c45_attach_checks_each_boolean_before_it_looks_for_the_container(api, name):
    reply = api.post("/containers/nosuch/attach", query={name: 2})
    assert (reply.status, reply.text) == BAD


@pytest.mark.parametrize("word", ["abc", "1.5", "%2B", "1x"])
def test_c46_a_limit_that_is_no_number_is_none(api, created, word):
    reply = api.get(f"/containers/json?limit={word}")
    assert (reply.status, reply.json()) == (200, api.get("/containers/json").json())
    assert not any(one["Id"].startswith(created) for one in reply.json())


@pytest.mark.parametrize("word", ["abc", "-1"])
def test_c47_a_grace_that_is_no_number_or_negative_means_ten_seconds(api, containers, word):
    # It takes a moment to end, so neither 0 (killed: 137) nor an endless grace would do.
    script = "trap 'usleep 300000; exit 5' TERM; echo up; sleep 600 & wait"
    container = containers.run("sh", "-c", script)
    until(lambda: api.post(f"/containers/{container}/attach?logs=1&stdout=1").body, "its output")
    begun = time.monotonic()
    reply = api.post(f"/containers/{container}/stop", query={"t": word})
    assert reply.status == 204, reply.sent
    assert time.monotonic() - begun < 10
    assert containers.inspect(container)["State"]["ExitCode"] == 5


def test_c47_a_process_deaf_to_term_is_killed_after_those_ten_seconds(tcp, shared):
    assert all(took >= 9.5 for took in stop_deaf(tcp, shared, {"t": "abc"}))


def stop_deaf(tcp, shared, query):
    """Stop a container in each version, all at once; returns how long each took."""
    script = "trap '' TERM; echo up; while true; do sleep 600; done"
    deaf = {version: shared.run("sh", "-c", script) for version in VERSIONS}
    for container in deaf.values():
        logs = f"/containers/{container}/attach?logs=1&stdout=1"
        until(functools.partial(lambda path: tcp.post(path).body, logs), "its output")

    def stop(version):
        begun = time.monotonic()
        reply = tcp.at(version).post(f"/containers/{deaf[version]}/stop", query=query)
        assert reply.status == 204
        return time.monotonic() - begun

    with ThreadPoolExecutor() as threads:
        times = list(threads.map(stop, VERSIONS))
    for container in deaf.values():
        assert shared.inspect(container)["State"]["ExitCode"] == 137
    return times
