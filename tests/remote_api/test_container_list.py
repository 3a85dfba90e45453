"""Contract of 2013, section "Container list": C66 to C91."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from dataclasses import dataclass

import pytest
from tests.support import images
from tests.support.remote import Remote, await_listener, started

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Row:
    """Containers of every kind, oldest first."""

    ended: str
    created: str
    running: str
    failed: str

    @property
    def newest_first(self):
        return [self.failed, self.running, self.created, self.ended]


@pytest.fixture(scope="module")
def row(shared):
    return Row(
        ended=shared.finish("echo", "1"),
        created=shared.create("env"),
        running=shared.sleeper(),
        failed=shared.finish("sh", "-c", "exit 3"),
    )


@pytest.fixture
def listed(api, row):
    """The short ids that a list holds, in its order."""

    def ask(**query):
        reply = api.get("/containers/json", query=query)
        assert reply.status == 200, reply.sent
        return [one["Id"][:12] for one in reply.json()]

    return ask


@pytest.fixture
def entry(api, row):
    """The entry of one container."""

    def find(container):
        entries = api.get("/containers/json", query={"all": 1}).json()
        return next(one for one in entries if one["Id"].startswith(container))

    return find


def test_c66_the_list_holds_running_containers_only(listed, row):
    assert listed() == [row.running]


def test_c67_ps_is_the_same_list(api, row):
    for query in ("", "?all=1", "?limit=2", f"?before={row.failed}"):
        one, other = api.get(f"/containers/ps{query}"), api.get(f"/containers/json{query}")
        assert (one.status, one.type, one.body) == (200, other.type, other.body)


def test_c68_all_adds_those_that_do_not_run(listed, row):
    assert set(listed(all=1)) == set(row.newest_first)


def test_c69_the_order_is_newest_first(listed, row):
    assert listed(all=1) == row.newest_first


def test_c70_a_limit_counts_containers_that_do_not_run_too(listed, row):
    assert listed(limit=1) == [row.failed]
    assert listed(limit=3) == row.newest_first[:3]
    assert listed(limit=-1) == [row.running]
    assert listed(limit=-5) == row.newest_first


def test_c71_a_limit_of_0_gives_none(api, listed):
    assert listed(limit=0) == []
    assert api.get("/containers/json", query={"limit": 0}).body == b"[]"


def test_c72_since_gives_the_newer_ones_only(listed, row):
    assert listed(since=row.created) == [row.failed, row.running]
    assert listed(since=row.failed) == []


def test_c73_before_gives_the_older_ones_only(listed, row):
    assert listed(before=row.running) == [row.created, row.ended]
    assert listed(before=row.ended) == []


def test_c74_before_an_unknown_one_gives_none(api, listed, row):
    assert listed(before="nosuch") == []
    assert listed(before="0123456789ab") == []
    full = api.get(f"/containers/{row.failed}/json").json()["ID"]
    assert listed(before=full) == []
    assert listed(before=row.failed[:6]) == []


def test_c75_since_an_unknown_or_a_full_id_gives_all(api, listed, row):
    assert listed(since="nosuch") == row.newest_first
    full = api.get(f"/containers/{row.created}/json").json()["ID"]
    assert listed(since=full) == row.newest_first


def test_c76_before_and_limit_combine(listed, row):
    assert listed(before=row.failed, limit=2) == [row.running, row.created]
    assert listed(before=row.failed, limit=0) == []
    assert listed(before=row.failed, since=row.ended) == [row.running, row.created]


def test_c77_ids_have_64_characters(api, row):
    for one in api.get("/containers/json", query={"all": 1}).json():
        assert re.fullmatch("[0-9a-f]{64}", one["Id"])


def test_c78_a_command_without_arguments_ends_in_a_space(entry, row):
    assert entry(row.created)["Command"] == "env "


def test_c79_a_command_has_its_arguments_after_spaces(entry, row):
    assert entry(row.ended)["Command"] == "echo 1"
    assert entry(row.failed)["Command"] == "sh -c exit 3"


def test_c80_created_is_in_unix_seconds(entry, row):
    created = entry(row.created)["Created"]
    assert type(created) is int
    assert time.time() - 600 < created <= time.time()


def test_c81_the_image_is_shown_by_name_and_tag(entry, row):
    assert entry(row.created)["Image"] == "busybox:latest"


@pytest.fixture
def image(engine, newest, api):
    """Load an image of one's own; takes its names away afterwards."""
    tags = ["c8x:latest", "c8x:aaa", "b8x:zzz"]
    engine.load(images.tiny_image("c8x:latest", config={"Labels": {"for": api.version}}))
    yield newest.get("/images/c8x/json").json()["Id"].removeprefix("sha256:")
    for tag in tags:
        newest.delete(f"/images/{tag}", query={"force": 1})


def test_c82_an_image_without_a_name_is_shown_by_its_short_id(entry, image, containers, newest):
    by_name = containers.create("true", image="c8x")
    by_id = containers.create("true", image=image)
    assert newest.delete("/images/c8x:latest", query={"force": 1}).status == 200
    assert entry(by_name)["Image"] == image[:12]
    assert entry(by_id)["Image"] == image[:12]


def test_c83_of_several_names_the_first_in_the_alphabet_is_shown(entry, image, containers, newest):
    for repository, tag in (("c8x", "aaa"), ("b8x", "zzz")):
        query = {"repo": repository, "tag": tag}
        assert newest.post("/images/c8x/tag", query=query).status == 201
    container = containers.create("true", image="c8x:latest")
    assert entry(container)["Image"] == "b8x:zzz"
    assert entry(containers.create("true", image=image))["Image"] == "b8x:zzz"


def test_c84_ports_are_a_string_empty_without_ports(entry, row):
    assert entry(row.running)["Ports"] == ""
    assert entry(row.created)["Ports"] == ""


def test_c85_a_published_port_is_shown_after_an_arrow(entry, containers):
    container = containers.sleeper(PortSpecs=["80", "443"])
    texts = entry(container)["Ports"].split(", ")
    assert texts == sorted(texts)
    ports = [re.fullmatch("([0-9]{5})->(80|443)", text) for text in texts]
    assert {port[2] for port in ports} == {"80", "443"}
    assert all(49153 <= int(port[1]) <= 65534 for port in ports)


def test_c86_an_ended_container_is_shown_with_its_exit_code(entry, row):
    assert entry(row.ended)["Status"] == "Exit 0"
    assert entry(row.failed)["Status"] == "Exit 3"


def test_c87_a_container_never_started_is_shown_as_exit_0(entry, row):
    assert entry(row.created)["Status"] == "Exit 0"


def test_c88_a_container_just_started_is_up_for_less_than_a_second(entry, containers, api):
    # Within a second of the start; on a busy machine a later look may see "1 seconds".
    seen = set()
    for _ in range(10):
        begun = time.monotonic()
        status = entry(containers.sleeper())["Status"]
        seen.add(status)
        assert re.fullmatch("Up (Less than a second|[0-9]+ seconds)", status)
        if time.monotonic() - begun < 1:
            break
    assert "Up Less than a second" in seen


AGES_S = {"half a minute": 30, "a minute and a half": 90, "five minutes": 300, "five weeks": 3e6}


@pytest.fixture(scope="module")
def aged():
    """A daemon whose running containers were started long ago, and its port.

    Time is not waited for: the record of the start is put back while the daemon is down.
    """
    with started("aged", bridge=None) as (engine, port):
        engine.load(images.busybox_archive())
        made = {}
        for name in AGES_S:
            body = {"Image": "busybox", "Cmd": ["sleep", "600"], "Labels": {"age": name}}
            made[name] = engine.request("POST", "/containers/create", body).json()["Id"]
            assert engine.request("POST", f"/containers/{made[name]}/start").status == 204
        engine.stop()
        with contextlib.closing(sqlite3.connect(engine.root / "data" / "state.db")) as state:
            for name, age_s in AGES_S.items():
                begun = time.time_ns() - int(age_s * 1e9)
                state.execute(
                    "UPDATE containers SET record ="
                    " CAST(json_set(CAST(record AS TEXT), '$.State.StartedNs', ?) AS BLOB)"
                    " WHERE id = ?",
                    (begun, made[name]),
                )
            state.commit()
        engine.launch()
        await_listener(port)
        yield port, made


@pytest.fixture
def status(api, aged):
    """The status of a container of some age."""
    port, made = aged

    def find(age):
        entries = Remote(api.version, port).get("/containers/json").json()
        return next(one["Status"] for one in entries if one["Id"] == made[age])

    return find


def test_c89_after_half_a_minute_the_seconds_are_counted(status):
    assert re.fullmatch("Up (3[0-9]|[45][0-9]) seconds", status("half a minute"))


def test_c90_after_a_minute_and_a_half_it_is_about_a_minute(status):
    assert status("a minute and a half") == "Up About a minute"


def test_c91_after_five_minutes_the_minutes_are_counted(status):
    assert status("five minutes") == "Up 5 minutes"
    assert status("five weeks") == "Up 4 weeks"
