"""Steps of the images of `--cache-from`: only the same ones are taken, and only layers."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import msgspec
import pytest
from tests.support.archives import file, tar_of
from tests.support.builds import BASE, BuildWorld

from pinnace.contracts.build_files import CopyJob, DirectoryJob, Origin, Selection
from pinnace.engine.builds.graph import Copying, Execution, Making, StepMount, Vertex
from pinnace.engine.builds.output import StageOutput
from pinnace.engine.builds.solver import StepPolicy
from pinnace.model.container import ContainerConfig
from pinnace.oci.platform import Platform

CONFIG = ContainerConfig(env=["A=b"])
RAN, OTHER = tar_of(file("ran", b"elsewhere")), tar_of(file("other", b"x"))
THEN = "2020-02-02T02:02:02.000000002Z"
BASE_STEP = {"created_by": "base", "created": THEN}
EVIL = {"Env": ["LD_PRELOAD=/evil"], "Entrypoint": ["/evil"], "User": "evil", "OnBuild": ["RUN x"]}


def diff_id(tar: bytes) -> str:
    return "sha256:" + hashlib.sha256(tar).hexdigest()


def a_config(*steps: dict, tars=(BASE,), platform=("linux", "amd64"), **more) -> bytes:
    document = {
        "os": platform[0],
        "architecture": platform[1],
        "rootfs": {"type": "layers", "diff_ids": [diff_id(tar) for tar in tars]},
        "history": [{"created": THEN, **step} for step in steps],
        **more,
    }
    return msgspec.json.encode(document)


@pytest.fixture
async def world():
    async with BuildWorld() as made:
        made.parent = await made.add_image("parent", a_config(BASE_STEP), BASE)
        yield made


def run(text="make", **more) -> Execution:
    return Execution(words=(text,), config=CONFIG, **more)


def a_vertex(world, operation=None, **more) -> Vertex:
    fields = {"parent": world.parent, "operation": operation or run(), "created_by": "make"}
    return Vertex(**{**fields, "config": CONFIG, **more})


async def solve(world, vertex, *names, **policy):
    """Solve; return what came out, and whether it was taken from an image."""
    images = [world.resolve(name) for name in names]
    out = StageOutput()
    built = await world.solver.solve(vertex, out, StepPolicy(cache_from=images, **policy))
    out.close()
    text = "".join([message["stream"] async for message in out])
    return built, "Using cache" in text


async def trusted(world, *steps, tars=(BASE, RAN), **more):
    """Add the image `trusted` with the parent's step and these."""
    await world.add_image("trusted", a_config(BASE_STEP, *steps, tars=tars, **more), *tars)


async def test_the_layer_of_the_same_step_on_the_same_parent_is_taken(world):
    await trusted(world, {"created_by": "make"})
    built, is_taken = await solve(world, a_vertex(world), "trusted")
    assert is_taken
    assert world.host.runs == []
    assert [layer.diff_id for layer in built.layers] == [diff_id(BASE), diff_id(RAN)]
    assert built.record.parent == world.parent.id
    assert await world.left() == {}


async def test_a_step_without_a_layer_is_taken_without_one(world):
    await trusted(world, {"created_by": "make", "empty_layer": True}, tars=(BASE,))
    built, is_taken = await solve(world, a_vertex(world), "trusted")
    assert is_taken
    assert [layer.diff_id for layer in built.layers] == [diff_id(BASE)]


async def test_several_steps_are_taken_one_after_the_other_with_empty_ones_between(world):
    await trusted(
        world,
        {"created_by": "ENV a", "empty_layer": True},
        {"created_by": "make"},
        {"created_by": "CMD x", "empty_layer": True},
        {"created_by": "again"},
        tars=(BASE, RAN, OTHER),
    )
    parent = world.parent
    for text in ("ENV a", "make", "CMD x", "again"):
        vertex = a_vertex(world, parent=parent, created_by=text)
        parent, is_taken = await solve(world, vertex, "trusted")
        assert is_taken, text
    assert [layer.diff_id for layer in parent.layers] == [diff_id(t) for t in (BASE, RAN, OTHER)]


async def test_only_the_layer_is_taken_and_the_config_is_ours(world):
    await trusted(
        world, {"created_by": "make", "author": "evil", "comment": "evil"}, config=EVIL,
        author="evil", comment="evil",
    )  # fmt: skip
    built, is_taken = await solve(world, a_vertex(world, author="Ada"), "trusted")
    assert is_taken
    assert b"evil" not in built.config
    assert built.record.config.env == ["A=b"]
    assert built.record.author == "Ada"


async def test_it_is_the_same_image_whenever_it_is_taken(world):
    await trusted(world, {"created_by": "make"})
    first, _ = await solve(world, a_vertex(world), "trusted")
    second, _ = await solve(world, a_vertex(world), "trusted")
    assert first.id == second.id
    assert first.record.created == THEN


async def test_who_does_not_trust_the_image_gets_nothing_of_it(world):
    await trusted(world, {"created_by": "make"})
    for _ in range(2):
        await solve(world, a_vertex(world), "trusted")
    built, is_taken = await solve(world, a_vertex(world))
    assert not is_taken
    assert world.host.runs == [["make"]]
    assert built.layers[-1].diff_id != diff_id(RAN)


async def test_without_the_cache_nothing_is_taken(world):
    await trusted(world, {"created_by": "make"})
    assert not (await solve(world, a_vertex(world), "trusted", no_cache=True))[1]


async def test_the_first_image_that_has_the_step_counts(world):
    await world.add_image("no", a_config({"created_by": "other"}, tars=(OTHER,)), OTHER)
    await trusted(world, {"created_by": "make"})
    built, is_taken = await solve(world, a_vertex(world), "no", "trusted")
    assert is_taken
    assert built.layers[-1].diff_id == diff_id(RAN)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(a_config(BASE_STEP), id="ends with the parent"),
        pytest.param(a_config(tars=(BASE, RAN)), id="no history"),
        pytest.param(
            a_config({"created_by": "make"}, tars=(BASE, RAN)), id="the history lacks the parent"
        ),
        pytest.param(
            a_config({"created_by": "else"}, {"created_by": "make"}, tars=(BASE, RAN)),
            id="another parent of the same layers",
        ),
        pytest.param(
            a_config(BASE_STEP, {"created_by": "make"}, tars=(OTHER, RAN)),
            id="the same words over other layers",
        ),
        pytest.param(
            a_config(BASE_STEP, {"created_by": "make "}, tars=(BASE, RAN)), id="other words"
        ),
        pytest.param(
            a_config(BASE_STEP, {}, tars=(BASE, RAN)), id="a step without words"
        ),
        pytest.param(
            a_config(
                BASE_STEP, {"created_by": "ENV", "empty_layer": True}, {"created_by": "make"},
                tars=(BASE, RAN),
            ),
            id="one more step before it",
        ),
        pytest.param(
            a_config(
                {**BASE_STEP, "empty_layer": True}, {"created_by": "make"}, tars=(BASE, RAN)
            ),
            id="the parent's layer is of no step",
        ),
        pytest.param(
            a_config(
                BASE_STEP, {"created_by": "make"}, tars=(BASE, RAN), platform=("linux", "arm64")
            ),
            id="another architecture",
        ),
        pytest.param(
            a_config(
                BASE_STEP, {"created_by": "make"}, tars=(BASE, RAN), platform=("windows", "amd64")
            ),
            id="another system",
        ),
        pytest.param(
            a_config(BASE_STEP, {"created_by": "make"}, tars=(BASE, RAN), variant="v7"),
            id="another variant",
        ),
    ],
)  # fmt: skip
async def test_another_history_is_not_taken(world, config):
    document = msgspec.json.decode(config)
    by_digest = {diff_id(tar): tar for tar in (BASE, RAN, OTHER)}
    tars = [by_digest[one] for one in document["rootfs"]["diff_ids"]]
    await world.add_image("trusted", config, *tars)
    built, is_taken = await solve(world, a_vertex(world), "trusted")
    assert not is_taken
    assert world.host.runs == [["make"]]
    assert built.layers[-1].diff_id != diff_id(RAN)


async def test_on_scratch_the_platform_must_be_that_of_the_build(world):
    config = a_config({"created_by": "make"}, tars=(RAN,))
    await world.add_image("trusted", config, RAN)
    operation = Making(DirectoryJob("/w"))
    for platform, is_wanted in (
        (Platform("linux", "arm64"), False),
        (Platform("linux", "amd64"), True),
    ):
        parent = replace(world.parent, record=None, config=b"", platform=platform)
        vertex = a_vertex(world, operation, parent=parent)
        assert (await solve(world, vertex, "trusted"))[1] == is_wanted


def a_copy(world, **more) -> Copying:
    if "context" not in world.files.contexts:
        world.entries = world.files.receive("context", io.BytesIO(tar_of(file("d/f", b"one"))))
    selection = Selection(
        **{"name": "f", "base": "d/f", "is_directory": False, "entries": world.entries}
        | more.pop("selection", {})
    )
    job = CopyJob(origin=Origin("context"), selections=[selection], target="/x/")
    return Copying((replace(job, **more),), "digest")


async def test_copying_and_making_are_taken_as_commands_are(world):
    await trusted(world, {"created_by": "make"})
    for operation in (a_copy(world), a_copy(world, owner="1:1"), Making(DirectoryJob("/w"))):
        assert (await solve(world, a_vertex(world, operation), "trusted"))[1]


MOUNT = StepMount(type="cache", target="/c", id="c")


# Two steps that differ in one of these have the same words in their history.
@pytest.mark.parametrize(
    "make",
    [
        lambda _: run(mounts=(MOUNT,)),
        lambda _: run(network="none"),
        lambda world: a_copy(world, mode="600"),
        lambda world: a_copy(world, link=True),
        lambda world: a_copy(world, selection={"name": "d/f"}),
        lambda world: a_copy(world, selection={"name": "d", "base": "d", "is_directory": True}),
    ],
    ids=["mounts", "network", "chmod", "link", "parents", "parents of a directory"],
)
async def test_what_the_history_does_not_tell_is_not_taken_by_its_words(world, make):
    await trusted(world, {"created_by": "make"})
    built, is_taken = await solve(world, a_vertex(world, make(world)), "trusted")
    assert not is_taken
    assert built.layers[-1].diff_id != diff_id(RAN)


async def test_with_a_time_of_its_own_only_steps_of_that_time_are_taken(world):
    then_ns = 1_580_608_922 * 1_000_000_000 + 2
    await trusted(world, {"created_by": "make"})
    assert (await solve(world, a_vertex(world, created_ns=then_ns), "trusted"))[1]
    assert not (await solve(world, a_vertex(world, created_ns=then_ns + 1), "trusted"))[1]


async def test_an_image_that_went_since_the_build_began_is_passed_over(world):
    await trusted(world, {"created_by": "make"})
    images = [world.resolve("trusted")]
    await world.forget_images()
    world.parent = world.base
    policy = StepPolicy(cache_from=images)
    built = await world.solver.solve(a_vertex(world), StageOutput(), policy)
    assert world.host.runs == [["make"]]
    assert world.snapshots.has_layer(built.top)
