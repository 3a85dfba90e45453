"""What the solver does with a step, and that nothing is left of one that fails or is cancelled."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.archives import file, tar_of
from tests.support.builds import BuildWorld
from tests.support.suspensions import cancelled_everywhere

from pinnace.contracts.build_files import CopyJob, DirectoryJob, Origin, Selection
from pinnace.contracts.bundles import snapshot_key
from pinnace.engine.builds.faults import CommandFailed
from pinnace.engine.builds.graph import Copying, Execution, Making, StepMount, Vertex
from pinnace.engine.builds.output import StageOutput
from pinnace.engine.builds.solver import StepPolicy
from pinnace.errors import Internal, PinnaceError, Unavailable
from pinnace.model.container import ContainerConfig
from pinnace.testing.monitor import Program

CONFIG = ContainerConfig(env=["A=b"])
CONTEXT = tar_of(file("f", b"one"))
FRESH = StepPolicy(no_cache=True, force_remove=True)
KINDS = ["execution", "copying", "making", "config"]


@pytest.fixture
async def world():
    async with BuildWorld() as made:
        entries = made.files.receive("context", io.BytesIO(CONTEXT))
        selection = Selection("f", "f", is_directory=False, entries=entries)
        made.job = CopyJob(origin=Origin("context"), selections=[selection], target="/x")
        yield made


def an_execution(world, *words: str, mounts=True) -> Execution:
    shown = StepMount(type="bind", target="/m", source="x", job=world.job, digest="d")
    kept = StepMount(type="cache", target="/c", id="apt", sharing="locked")
    return Execution(
        words=words or ("make",), config=CONFIG, mounts=(shown, kept) if mounts else ()
    )


def a_vertex(world, kind="execution", **more) -> Vertex:
    operation = {
        "execution": lambda: an_execution(world),
        "copying": lambda: Copying((world.job,), "digest"),
        "making": lambda: Making(DirectoryJob("/w")),
        "config": lambda: None,
    }[kind]()
    fields = {"operation": operation, "config": CONFIG, "created_by": f"a {kind}", **more}
    return Vertex(parent=world.base, **fields)


async def told(out: StageOutput) -> str:
    out.close()
    return "".join([str(message["stream"]) async for message in out])


async def solved(world, vertex, policy=FRESH):
    return await world.solver.solve(vertex, StageOutput(), policy)


async def assert_nothing_left(world, images: int = 1) -> None:
    left = await world.left()
    assert left.pop("contexts") == ["context"]  # the test's own
    assert left == {}
    assert await world.noted() == []
    assert len(world.library.catalog.images) == images


@pytest.mark.parametrize("kind", KINDS)
async def test_a_step_becomes_an_image_on_its_parent_and_is_done_once(world, kind):
    vertex = a_vertex(world, kind)
    out = StageOutput()
    built = await world.solver.solve(vertex, out, StepPolicy())
    text = await told(out)
    assert ("Running in" in text) == (kind == "execution")
    assert built.record.parent == world.base.id
    assert built.record.history[-1].created_by == f"a {kind}"
    assert len(built.layers) == (1 if kind == "config" else 2)
    await assert_nothing_left(world, images=2)
    out = StageOutput()
    assert (await world.solver.solve(vertex, out, StepPolicy())).id == built.id
    assert await told(out) == " ---> Using cache\n"


async def test_equal_steps_at_the_same_time_are_done_once(world):
    vertex = a_vertex(world)
    built = await asyncio.gather(*[solved(world, vertex, StepPolicy()) for _ in range(5)])
    assert len({one.id for one in built}) == 1
    assert len(world.host.runs) == 1


async def test_one_who_leaves_does_not_end_the_step_of_another(world):
    vertex = a_vertex(world)
    first = asyncio.create_task(solved(world, vertex, StepPolicy()))
    second = asyncio.create_task(solved(world, vertex, StepPolicy()))
    await asyncio.sleep(0)
    first.cancel()
    built = await second
    assert built.record is not None
    assert first.cancelled()
    await assert_nothing_left(world, images=2)


async def test_a_step_whose_image_is_gone_is_done_again(world):
    vertex = a_vertex(world)
    await solved(world, vertex, StepPolicy())
    await world.forget_images()
    await solved(world, vertex, StepPolicy())
    assert len(world.host.runs) == 2


async def test_a_command_that_fails_tells_its_code_and_leaves_its_container_unless_forced(world):
    world.host.program = lambda _: Program([(2, b"oh\n")], 42)
    out = StageOutput()
    with pytest.raises(CommandFailed, match="returned a non-zero code: 42") as raised:
        await world.solver.solve(a_vertex(world), out, FRESH)
    assert raised.value.code == 42
    assert "oh" in await told(out)
    await assert_nothing_left(world)
    with pytest.raises(CommandFailed):
        await solved(world, a_vertex(world), replace(FRESH, force_remove=False))
    (container,) = world.host.present
    assert await world.noted() == []
    await world.host.remove(container)
    await assert_nothing_left(world)


# What fails at each step: who, in which of its verbs, and for which kinds of step.
FAILURES = [
    *[("files", "apply", kind) for kind in ("copying", "making")],
    *[("files", verb, "execution") for verb in ("open_source", "cache_directory")],
    *[("host", verb, "execution") for verb in ("create", "start", "wait", "hold")],
    *[("monitor", verb, "execution") for verb in ("attach", "create", "start")],
    *[
        ("cache", verb, "execution")
        for verb in ("add_container", "directories", "put_directory", "put")
    ],
    *[("snapshots", "seal", kind) for kind in ("execution", "copying", "making")],
    *[("store", "apply", kind) for kind in KINDS],
    *[("cache", "put", kind) for kind in KINDS],
]


@pytest.mark.parametrize(("part", "verb", "kind"), FAILURES)
async def test_nothing_remains_when_a_step_fails(world, part, verb, kind):
    error = Unavailable(f"{part} {verb}")
    whole = (error,) if part == "store" else (verb, error)
    getattr(world, part).fail_next(*whole)
    with pytest.raises(PinnaceError, match=f"{part} {verb}"):
        await solved(world, a_vertex(world, kind))
    done = (part, verb) == ("cache", "put")  # then the image is there, only not remembered
    await assert_nothing_left(world, images=2 if done else 1)
    await solved(world, a_vertex(world, kind))
    await assert_nothing_left(world, images=3 if done else 2)


@pytest.mark.parametrize("kind", ["execution", "copying", "making"])
async def test_the_files_of_a_step_become_its_layer(world, kind):
    world.snapshots.fail_next("commit", AssertionError())
    await solved(world, a_vertex(world, kind))
    await assert_nothing_left(world, images=2)


async def test_the_container_that_stays_keeps_its_files(world):
    world.snapshots.fail_next("seal", AssertionError())
    built = await solved(world, a_vertex(world), StepPolicy(remove=False))
    (container,) = world.host.present
    assert world.snapshots.active == {snapshot_key(container)}
    assert len(built.layers) == 2


async def test_files_that_are_still_mounted_are_copied(world):
    def mounted(words):
        (container,) = world.host.present
        world.snapshots.mounts[Path("/elsewhere")] = snapshot_key(container)
        return Program([], 0)

    world.host.program = mounted
    built = await solved(world, a_vertex(world))
    assert len(built.layers) == 2
    world.snapshots.unmount(Path("/elsewhere"))
    await assert_nothing_left(world, images=2)


async def test_a_container_that_cannot_be_removed_stays_noted_for_the_next_start(world):
    world.host.fail_next("remove", Internal("busy"))
    await solved(world, a_vertex(world))
    left = await world.noted()
    assert left == list(world.host.present) != []
    assert await world.steps.remove_left() == left
    await assert_nothing_left(world, images=2)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_remains_wherever_a_step_is_cancelled(world, kind, times):
    async def check(_: int) -> None:
        await assert_nothing_left(world, images=len(world.library.catalog.images))
        await world.forget_images()

    points = await cancelled_everywhere(
        lambda: solved(world, a_vertex(world, kind)), check, times=times
    )
    assert points > (20 if kind == "execution" else 1)
    await solved(world, a_vertex(world, kind))
    await assert_nothing_left(world, images=2)


async def test_a_running_command_is_killed_when_its_build_is_cancelled(world):
    world.host.program = lambda _: Program([(1, b"on\n")], None)
    out = StageOutput()
    running = asyncio.create_task(world.solver.solve(a_vertex(world), out, FRESH))
    async for message in out:
        if message["stream"] == "on\n":
            break
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await assert_nothing_left(world)


async def test_a_step_that_waits_for_a_locked_cache_can_be_cancelled(world):
    world.host.program = lambda _: Program([(1, b"on\n")], None)
    out = StageOutput()
    first = asyncio.create_task(world.solver.solve(a_vertex(world), out, FRESH))
    async for message in out:
        if message["stream"] == "on\n":
            break
    other = a_vertex(world, operation=an_execution(world, "other"))
    waiting = asyncio.create_task(solved(world, other))
    async with asyncio.timeout(10):
        while len(world.files.sources) < 2:  # the next thing it needs is the cache
            await asyncio.sleep(0)
    for task in (waiting, first):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert world.host.runs == [["make"]]
    await assert_nothing_left(world)


async def test_a_layer_that_another_step_kept_for_a_moment_goes_with_that_step(world):
    for _ in range(10):
        world.store.fail_next(Unavailable("no"))
        steps = [a_vertex(world, "copying"), a_vertex(world, "making"), a_vertex(world)]
        done = await asyncio.gather(
            *[solved(world, step) for step in steps], return_exceptions=True
        )
        assert [type(one) for one in done].count(Unavailable) == 1
        await assert_nothing_left(world, images=3)
        await world.forget_images()


async def test_a_policy_that_keeps_containers_leaves_nothing_else_when_cancelled(world):
    policy = StepPolicy(no_cache=True, remove=False, keep=True)

    async def check(_: int) -> None:
        for task in world.monitor.tasks.values():
            assert task.exit is not None
        for container in list(world.host.present):
            await world.host.remove(container)
        await assert_nothing_left(world, images=len(world.library.catalog.images))
        await world.forget_images()

    points = await cancelled_everywhere(lambda: solved(world, a_vertex(world), policy), check)
    assert points > 15


async def test_a_step_that_is_not_to_be_cached_is_done_each_time_and_not_remembered(world):
    vertex = a_vertex(world, cached=False)
    for _ in range(2):
        await solved(world, vertex, StepPolicy())
    assert len(world.host.runs) == 2
    assert list(await world.cache.steps()) == []
    await assert_nothing_left(world, images=3)
