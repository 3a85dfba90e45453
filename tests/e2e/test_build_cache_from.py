"""`docker build --cache-from`, ours and dockerd's: images of one are taken by the other.

The taking engine has nothing but the base and the image, which came by load or pull.
"""

from __future__ import annotations

import json
import re

import pytest
from tests.support import dockerd, pinnaced, registry
from tests.support.images import busybox_archive

pytestmark = pytest.mark.root

NAME = "app:1"
DOCKERFILE = """FROM busybox
ENV kind=first
RUN date +%N > /when
WORKDIR /w
COPY f d ./
RUN true
RUN date +%N > /then
CMD ["cat", "/when"]
"""
STEPS = 7


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    first, second = tmp_path_factory.mktemp("c"), tmp_path_factory.mktemp("d")
    with (
        pinnaced.start(first, bridge="pnt28", subnet="10.229.0.1/24") as ours,
        dockerd.start(second, bridge="pnt28d", subnet="10.229.1.1/24") as theirs,
    ):
        yield {"ours": ours, "theirs": theirs}


@pytest.fixture
def context(tmp_path):
    made = tmp_path / "context"
    (made / "d").mkdir(parents=True)
    (made / "f").write_text("one\n")
    (made / "d/g").write_text("two\n")
    (made / "Dockerfile").write_text(DOCKERFILE)
    return made


def fresh(engine) -> None:
    """Leave nothing on the engine but busybox."""
    for arguments in (("image", "prune", "-af"), ("builder", "prune", "-af")):
        done = engine.cli(*arguments)
        assert done.returncode == 0, done
    engine.load(busybox_archive())


def build(engine, context, *options: str, tag: str = NAME) -> str:
    done = engine.cli("build", "-t", tag, *options, str(context))
    assert done.returncode == 0, done
    return done.stdout.decode()


def inspect(engine, name: str = NAME) -> dict:
    return json.loads(engine.cli("image", "inspect", name).stdout)[0]


def layers(engine, name: str = NAME) -> list[str]:
    return inspect(engine, name)["RootFS"]["Layers"]


def made_by(engine, context) -> tuple[bytes, list[str]]:
    """Build on an engine; return the saved image and its layers, and leave nothing there."""
    fresh(engine)
    build(engine, context)
    archive = engine.cli("save", NAME).stdout
    found = layers(engine)
    fresh(engine)
    return archive, found


@pytest.mark.parametrize("taker", ["ours", "theirs"])
@pytest.mark.parametrize("maker", ["ours", "theirs"])
def test_every_step_is_taken_from_a_loaded_image(engines, context, maker, taker):
    archive, wanted = made_by(engines[maker], context)
    engine = engines[taker]
    fresh(engine)
    engine.load(archive)
    text = build(engine, context, "--cache-from", NAME, tag="again:1")
    assert text.count("Using cache") == STEPS, text
    assert layers(engine, "again:1") == wanted
    config = inspect(engine, "again:1")["Config"]
    assert (config["Cmd"], config["WorkingDir"]) == (["cat", "/when"], "/w")
    shown = engine.cli("run", "--rm", "again:1", "sh", "-c", "cat f g; echo $kind")
    assert shown.stdout == b"one\ntwo\nfirst\n"


@pytest.mark.parametrize("taker", ["ours", "theirs"])
def test_from_the_first_step_that_differs_on_everything_is_done_anew(engines, context, taker):
    archive, wanted = made_by(engines["theirs"], context)
    engine = engines[taker]
    fresh(engine)
    engine.load(archive)
    (context / "d/g").write_text("changed\n")
    text = build(engine, context, "--cache-from", NAME, tag="again:1")
    steps = re.split(r"^Step \d+/\d+ : ", text, flags=re.MULTILINE)[2:]
    taken = [step.split()[0] for step in steps if "Using cache" in step]
    assert taken == ["ENV", "RUN", "WORKDIR"], text
    assert layers(engine, "again:1")[:3] == wanted[:3]
    assert layers(engine, "again:1")[3:] != wanted[3:]


@pytest.mark.parametrize("taker", ["ours", "theirs"])
def test_an_image_that_is_not_named_or_not_there_gives_nothing(engines, context, taker):
    archive, wanted = made_by(engines["theirs"], context)
    engine = engines[taker]
    fresh(engine)
    engine.load(archive)
    for options in ((), ("--cache-from", "not-here:1")):
        text = build(engine, context, "--no-cache", *options, tag="again:1")
        assert "Using cache" not in text
        assert layers(engine, "again:1")[1] != wanted[1]


def test_ours_gives_nothing_of_a_loaded_image_to_builds_that_do_not_name_it(engines, context):
    archive, wanted = made_by(engines["theirs"], context)
    ours = engines["ours"]
    fresh(ours)
    ours.load(archive)
    build(ours, context, "--cache-from", NAME, tag="taken:1")
    again = build(ours, context, "--cache-from", NAME, tag="taken:2")
    assert again.count("Using cache") == STEPS
    assert inspect(ours, "taken:1")["Id"] == inspect(ours, "taken:2")["Id"]
    text = build(ours, context, tag="own:1")
    assert "Using cache" not in text
    assert layers(ours, "own:1")[1] != wanted[1]


def test_steps_are_taken_from_a_pulled_image(engines, context, tmp_path):
    with registry.start(tmp_path / "registry") as server:
        name = f"{server.address}/app:1"
        ours = engines["ours"]
        fresh(ours)
        build(ours, context, tag=name)
        wanted = layers(ours, name)
        assert ours.cli("push", name).returncode == 0
        fresh(ours)
        assert ours.cli("pull", name).returncode == 0
        text = build(ours, context, "--cache-from", name, tag="again:1")
        assert text.count("Using cache") == STEPS, text
        assert layers(ours, "again:1") == wanted
        fresh(ours)
