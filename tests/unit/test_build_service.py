"""Whole builds over fakes: what they tell, and what is left of one that fails: nothing."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.archives import file, tar_of
from tests.support.builds import BuildWorld
from tests.support.suspensions import cancelled_everywhere

from pinnace.contracts.snapshots import Change
from pinnace.engine.builds.faults import CommandFailed
from pinnace.engine.builds.params import BuildParams
from pinnace.errors import InvalidParameter, NotSupported, PinnaceError, Unavailable
from pinnace.testing.monitor import Program

# Of everything: stages beside each other, files of stages, heredocs, mounts, downloads.
DOCKERFILE = b"""FROM base AS one
RUN --mount=type=cache,target=/c --mount=target=/ctx make one
FROM base AS two
COPY f /f
RUN make two
FROM base
WORKDIR /w
COPY --from=one /ran .
COPY --from=two /f .
COPY <<EOF /text
words
EOF
ENV a=b
RUN make all
"""
FRESH = BuildParams(no_cache=True, force_remove=True, tags=("made:1",))


@pytest.fixture
async def world():
    async with BuildWorld() as made:
        yield made


def context(dockerfile: bytes = DOCKERFILE, **files: bytes) -> bytes:
    named = {"f": b"one", **files}
    return tar_of(
        file("Dockerfile", dockerfile), *[file(name, content) for name, content in named.items()]
    )


async def assert_nothing_left(world) -> None:
    assert await world.left() == {}
    assert await world.noted() == []
    assert await world.service.drained(1)


async def test_a_build_tells_its_steps_in_order_and_names_the_image(world):
    text = await world.built(context(), FRESH)
    steps = [line.split()[1] for line in text.splitlines() if line.startswith("Step ")]
    assert steps == [f"{number}/12" for number in range(1, 13)]
    assert "make one" in text
    assert "Successfully tagged made:1" in text
    made = world.resolve("made:1")
    assert made.config.env[-1] == "a=b"
    with world.files.tree(made.top) as tree:
        assert tree.children("w") == ["f", "ran"]
        assert tree.entry("text").size == 6
    await assert_nothing_left(world)


async def test_the_second_time_nothing_is_done(world):
    params = BuildParams(tags=("made:1",))
    await world.built(context(), params)
    runs = len(world.host.runs)
    text = await world.built(context(), params)
    assert len(world.host.runs) == runs
    assert text.count("Using cache") == 9
    await world.built(context(f=b"two"), params)
    assert len(world.host.runs) > runs
    await assert_nothing_left(world)


async def test_a_quiet_build_tells_only_the_image_or_everything_when_it_fails(world):
    quiet = BuildParams(quiet=True, force_remove=True)
    text = await world.built(context(), quiet)
    assert text.startswith("sha256:")
    assert text.count("\n") == 1
    world.host.program = lambda _: Program([(1, b"oh\n")], 3)
    seen: list[object] = []
    with pytest.raises(CommandFailed):
        await world.built(context(b"FROM base\nRUN fail\n"), quiet, seen=seen)
    assert "oh\n" in [message.get("stream") for message in seen]
    await assert_nothing_left(world)


async def test_the_failure_of_one_stage_ends_the_others(world):
    world.host.program = lambda words: Program((), 3 if words[-1].endswith("one") else None)
    with pytest.raises(CommandFailed, match="make one' returned a non-zero code: 3"):
        await world.built(context(), FRESH)
    await assert_nothing_left(world)


@pytest.mark.parametrize(
    ("dockerfile", "error", "words"),
    [
        (b"FROM base\nRUN --mount=type=secret,id=x true\n", NotSupported, "session of BuildKit"),
        (b"FROM base\nRUN --mount=type=ssh true\n", NotSupported, "session of BuildKit"),
        (b"FROM base\nRUN --security=insecure true\n", NotSupported, "insecure"),
        (b"FROM base\nCOPY nothing /\n", InvalidParameter, "file does not exist"),
        (b"FROM nowhere\n", PinnaceError, "nowhere"),
        (b"FROM base\nRUN --mount=from=nowhere,target=/x true\n", InvalidParameter, "nowhere"),
    ],
)
async def test_what_cannot_be_built_is_refused_and_leaves_nothing(world, dockerfile, error, words):
    before = b"FROM base AS before\nRUN make\n" + dockerfile
    with pytest.raises(error, match=words):
        await world.built(context(before), FRESH)
    await assert_nothing_left(world)


@pytest.mark.parametrize(
    "archive", [b"no archive" * 100, tar_of(file("x")), context(b"NONSENSE\n"), context()[:700]]
)
async def test_a_build_that_never_begins_leaves_nothing(world, archive):
    seen: list[object] = []
    with pytest.raises(InvalidParameter):
        await world.built(archive, FRESH, seen=seen)
    assert seen == []
    await assert_nothing_left(world)


# What fails: who, and in which verb.
FAILURES = [
    *[("files", verb) for verb in ("receive", "read", "take_files", "apply", "tree")],
    *[("files", verb) for verb in ("open_source", "cache_directory", "remove_stubs")],
    *[("host", verb) for verb in ("create", "start", "wait", "hold")],
    *[("monitor", verb) for verb in ("attach", "create", "start")],
    *[("cache", verb) for verb in ("add_container", "directories", "put_directory", "put")],
    *[("snapshots", verb) for verb in ("prepare", "seal", "mount")],
    ("store", "apply"),
]


@pytest.mark.parametrize(("part", "verb"), FAILURES)
async def test_nothing_remains_when_something_fails(world, part, verb):
    error = Unavailable(f"{part} {verb}")
    whole = (error,) if part == "store" else (verb, error)
    getattr(world, part).fail_next(*whole)
    made = DOCKERFILE.replace(b"make one", b"make one > /f") + b"RUN --mount=target=/x last\n"
    if verb == "remove_stubs":
        world.snapshots.pending_changes = _EverythingAdded()
    with pytest.raises(PinnaceError, match=f"{part} {verb}"):
        await world.built(context(made), FRESH)
    await assert_nothing_left(world)


class _EverythingAdded(dict):
    """Changes of any snapshot: the mount point that was not there before."""

    def get(self, *_: object):
        return [Change("/ctx", 1)]


@pytest.mark.parametrize("times", [1, 2])
async def test_nothing_remains_wherever_a_build_is_cancelled(world, times):
    async def check(_: int) -> None:
        await assert_nothing_left(world)
        await world.forget_images()

    points = await cancelled_everywhere(lambda: world.built(context(), FRESH), check, times=times)
    assert points > 100


async def test_a_client_that_leaves_ends_what_runs(world):
    world.host.program = lambda _: Program([(1, b"on\n")], None)
    seen: list[object] = []
    building = asyncio.create_task(world.built(context(), FRESH, seen=seen))
    async with asyncio.timeout(10):
        while {"stream": "on\n"} not in seen:
            await asyncio.sleep(0)
    assert not await world.service.drained(0)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    await assert_nothing_left(world)


async def test_what_was_done_before_a_failure_is_cached(world):
    fails = {"all": True}
    world.host.program = lambda words: Program((), int(fails["all"] and "make all" in words[-1]))
    params = BuildParams(force_remove=True)
    with pytest.raises(CommandFailed):
        await world.built(context(), params)
    fails["all"] = False
    text = await world.built(context(), params)
    assert text.count("Using cache") == 8
    assert text.count("Running in") == 1
    await assert_nothing_left(world)


async def test_repair_removes_what_an_earlier_daemon_left(world):
    world.host.program = lambda _: Program([(1, b"on\n")], None)
    seen: list[object] = []
    building = asyncio.create_task(world.built(context(b"FROM base\nRUN x\n"), FRESH, seen=seen))
    async with asyncio.timeout(10):
        while {"stream": "on\n"} not in seen:
            await asyncio.sleep(0)
    (container,) = world.host.present
    done = await world.service.repair()
    assert sorted(line.split(" ")[1] for line in done) == ["build", "the"]
    assert any(container[:12] in line for line in done)
    await asyncio.gather(building, return_exceptions=True)
    await assert_nothing_left(world)
