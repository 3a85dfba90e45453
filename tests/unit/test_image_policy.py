"""Which images go by themselves when the disk is full."""

import asyncio

import pytest
from tests.support.archives import file, tar_of
from tests.support.pulls import PullHost, put_image

from pinnace.contracts.image_store import ImageChange
from pinnace.daemon.config import Config
from pinnace.daemon.upkeep import keep_images
from pinnace.engine.images.policy import DiskPolicy
from pinnace.errors import Internal
from pinnace.host.content.blobs import BlobContent
from pinnace.host.disk import percent_used
from pinnace.testing.image_store import FakeImageStore
from pinnace.testing.snapshots import FakeSnapshots

NAME = "r.example/app"
OLD_NS = 1_000_000_000


@pytest.fixture
async def host(tmp_path):
    content = BlobContent(tmp_path / "content")
    made = await PullHost(FakeSnapshots(), content, FakeImageStore()).start()
    shelf = made.registries.shelves[NAME]
    for number in range(4):
        put_image(shelf, str(number), [tar_of(file("f", b"x" * number))])
        await made.pull(NAME, str(number))
    yield made
    made.close()


class Disk:
    """Gets emptier with every image removed."""

    def __init__(self, host, full):
        self.host, self.full = host, full

    def __call__(self):
        return self.full - 10 * (4 - len(self.host.catalog.images))


def a_policy(host, *, threshold, full=95, aged=True):
    made = DiskPolicy(host.parts, host.library, threshold=threshold, disk_used=Disk(host, full))
    if aged:
        made._seen = dict.fromkeys(host.catalog.images, OLD_NS)
    return made


async def age(host, **used):
    """Let the images be old; `used` are the last uses by tag."""
    from msgspec.structs import replace

    for number in range(4):
        record = host.catalog.resolve(f"{NAME}:{number}")
        when = used.get(f"t{number}", number) * OLD_NS
        await host.library.apply(ImageChange(update=[replace(record, last_tag_ns=when)]))


def left(host):
    return sorted(tag.rpartition(":")[2] for tag in host.catalog.tags)


async def test_the_images_unused_for_longest_go_until_there_is_room(host):
    await age(host, t0=50)
    assert await a_policy(host, threshold=80).apply() > 0
    assert left(host) == ["0", "3"]


async def test_nothing_goes_while_there_is_room_or_when_it_is_off(host):
    await age(host)
    assert await a_policy(host, threshold=95).apply() == 0
    assert await a_policy(host, threshold=0, full=100).apply() == 0
    assert len(left(host)) == 4


async def test_what_a_container_uses_never_goes_and_is_noted_as_used(host):
    await age(host)
    image = host.catalog.resolve(f"{NAME}:1")
    host.users.by_image[image.id] = [("c" * 64, False)]
    await a_policy(host, threshold=1, full=100).apply()
    assert left(host) == ["1"]
    assert host.catalog.images[image.id].last_used_ns > OLD_NS


async def test_what_has_just_come_stays(host):
    await a_policy(host, threshold=1, full=100).apply()
    assert len(left(host)) == 4
    await age(host)
    await a_policy(host, threshold=1, full=100, aged=False).apply()
    assert len(left(host)) == 4


async def test_an_image_used_between_choice_and_removal_stays(host):
    await age(host)
    image = host.catalog.resolve(f"{NAME}:0")
    using = host.users.containers_using
    asked = []

    def later(wanted):
        asked.append(wanted)
        is_late = wanted == image.id and asked.count(wanted) > 2
        return [("c" * 64, True)] if is_late else using(wanted)

    host.users.containers_using = later
    await a_policy(host, threshold=1, full=100).apply()
    assert left(host) == ["0"]


class Images:
    """An image service whose upkeep fails at first."""

    def __init__(self):
        self.sweeps = self.rounds = 0
        self.library = self
        self.done = asyncio.Event()

    async def sweep(self):
        self.sweeps += 1
        return 5

    def disk_policy(self, *, threshold, disk_used):
        assert threshold == 90
        assert 0 <= disk_used() <= 100
        return self

    async def apply(self):
        self.rounds += 1
        if self.rounds == 61:
            self.done.set()
        if self.rounds % 2:
            raise Internal("the disk is broken")


async def test_upkeep_goes_on_after_failures_and_sweeps_every_60_rounds(tmp_path):
    images = Images()
    config = Config(data_root=str(tmp_path), image_gc_threshold=90)
    running = asyncio.create_task(keep_images(images, config, first_s=0, round_s=0))
    async with asyncio.timeout(20):
        await images.done.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert images.sweeps == 2


def test_a_filesystem_is_between_empty_and_full(tmp_path):
    assert 0 <= percent_used(tmp_path) <= 100
