"""Pulls from registries and networks that fail: complete in the end, or clearly failed.

Whatever happens, nothing corrupt is visible, the next pull works, and a sweep leaves no rest.
"""

import asyncio
import contextlib
import gzip
import http.client
import io
import os
import random
import subprocess

import pytest
from tests.support import registry as servers
from tests.support.archives import file, folder, tar_of
from tests.support.bad_proxy import (
    BadProxy,
    Corrupt,
    Cut,
    Drop,
    Header,
    Long,
    NoRanges,
    Short,
    Silence,
    Slow,
    Status,
    redirect,
)
from tests.support.pulls import PullHost, digest_of

from pinnace.contracts.registry import Credentials
from pinnace.contracts.snapshots import UnpackLimits
from pinnace.errors import Internal, InvalidParameter, NotFound, PinnaceError
from pinnace.host.content.blobs import BlobContent
from pinnace.host.registry.client import HttpRegistries
from pinnace.host.registry.settings import RegistrySettings
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.host.snapshots.vfs import VfsSnapshots
from pinnace.state.db import Database
from pinnace.state.images import SqliteImageStore
from pinnace.state.layer_blobs import SqliteLayerBlobs

pytestmark = pytest.mark.root

RANDOM = random.Random(23)
TARS = [
    tar_of(folder(f"d{n}"), *[file(f"d{n}/{m}", RANDOM.randbytes(40_000)) for m in range(5)])
    for n in range(3)
]
BLOBS = [gzip.compress(tar, 1, mtime=0) for tar in TARS]
SIZE = len(BLOBS[0])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with servers.start(tmp_path_factory.mktemp("registry")) as server:
        server.put_image("team/app", "1", layers=BLOBS)
        yield server


@pytest.fixture
def proxy(plain):
    with BadProxy(plain.address) as made:
        yield made


class Pulls(PullHost):
    """Everything real below one directory."""

    def __init__(self, root, *, limits=None, stall_s=20.0, driver=OverlaySnapshots, **settings):
        self.root = root
        self.database = Database.open(root / "state.db")
        super().__init__(
            driver(root / "overlay2", limits=limits),
            BlobContent(root / "content", limits=limits),
            SqliteImageStore(self.database),
            registries=HttpRegistries(RegistrySettings(backoff_s=0.01, stall_s=stall_s)),
            blobs=SqliteLayerBlobs(self.database),
            **settings,
        )

    async def end(self):
        await self.registries.close()
        self.close()
        self.database.close()

    def check(self, name):
        """Check that the image is whole: every layer gives the exact bytes it came as."""
        image = self.catalog.resolve(name)
        for layer in image.layers:
            out = io.BytesIO()
            self.snapshots.export_layer(layer.chain, None, out)
            assert digest_of(out.getvalue()) == layer.diff_id
        return image

    def rests(self):
        """Return what is neither an image's nor where it belongs."""
        found = [*self.snapshots.staged_layers(), *self.content.unfinished()]
        found += (self.root / "overlay2/tmp").iterdir()
        found += (self.root / "content/incoming").iterdir()
        chains = {layer.chain for image in self.catalog.images.values() for layer in image.layers}
        found += [
            path
            for path in (self.root / "overlay2/layers").iterdir()
            if f"sha256:{path.name}" not in chains
        ]
        return found


@contextlib.asynccontextmanager
async def pulls(root, **settings):
    root.mkdir(exist_ok=True)
    host = await Pulls(root, **settings).start()
    try:
        yield host
    finally:
        await host.end()


@pytest.fixture
async def host(tmp_path):
    async with pulls(tmp_path / "data") as made:
        yield made


async def tidy(host):
    await host.library.sweep(0)
    assert host.rests() == []


@pytest.mark.parametrize("tenths", range(11))
async def test_a_layer_cut_off_anywhere_is_gone_on_with(host, proxy, tenths):
    at = SIZE * tenths // 10
    proxy.fail(Cut(after=at), path=f"/blobs/{digest_of(BLOBS[0])}")
    await host.pull(f"{proxy.address}/team/app", "1")
    host.check(f"{proxy.address}/team/app:1")
    asked = [
        seen.headers.get("Range") for seen in proxy.requests if digest_of(BLOBS[0]) in seen.path
    ]
    if 0 < tenths < 10:
        assert len(asked) == 2
        assert asked[1].startswith("bytes=")
        assert asked[1] != "bytes=0-"
    await tidy(host)


async def test_cuts_again_and_again_in_every_layer_are_survived(host, proxy):
    proxy.fail(Cut(after=SIZE // 7), path="/blobs/", times=12)
    await host.pull(f"{proxy.address}/team/app", "1")
    host.check(f"{proxy.address}/team/app:1")
    await tidy(host)


PASSING = {
    "500 bursts": (Status(500), 3),
    "502": (Status(502, content=b"<html>"), 2),
    "429 with Retry-After": (Status(429, {"Retry-After": "0"}), 3),
    "dropped connections": (Drop(), 2),
    "silence": (Silence(after=1000), 1),
    "no ranges": (NoRanges(), 9),
}


@pytest.mark.parametrize("name", PASSING)
async def test_what_passes_is_waited_out(tmp_path, proxy, name):
    fault, times = PASSING[name]
    async with pulls(tmp_path / "data", stall_s=1.0 if name == "silence" else 20.0) as host:
        proxy.fail(Cut(after=5000), path=f"/blobs/{digest_of(BLOBS[1])}")
        proxy.fail(fault, path="/blobs/", times=times)
        await host.pull(f"{proxy.address}/team/app", "1")
        host.check(f"{proxy.address}/team/app:1")
        await tidy(host)


LASTING = {
    "another bit": Corrupt(at=SIZE // 2),
    "a short body": Short(by=100),
    "a long body": Long(by=100),
    "an error page": Status(404, content=b"<html>"),
    "always 500": Status(500),
    "always cut": Cut(after=0),
}


@pytest.mark.parametrize("keep", [True, False], ids=["kept blobs", "no blobs"])
@pytest.mark.parametrize("name", LASTING)
async def test_what_lasts_fails_clearly_and_the_next_pull_works(tmp_path, proxy, name, keep):
    async with pulls(tmp_path / "data", keep_blobs=keep) as host:
        proxy.fail(LASTING[name], path=f"/blobs/{digest_of(BLOBS[1])}", times=-1)
        messages = []
        with pytest.raises(PinnaceError):
            await host.pull(f"{proxy.address}/team/app", "1", messages=messages)
        assert messages[0]["status"] == "Pulling from team/app"
        assert host.catalog.images == {}
        proxy.heal()
        await host.pull(f"{proxy.address}/team/app", "1")
        host.check(f"{proxy.address}/team/app:1")
        await tidy(host)


async def test_a_wrong_content_type_of_a_manifest_is_refused(host, proxy):
    proxy.fail(Header({"Content-Type": "text/html"}), path="/manifests/", times=-1)
    with pytest.raises(PinnaceError, match="text/html"):
        await host.pull(f"{proxy.address}/team/app", "1")
    assert host.catalog.images == {}


async def test_a_manifest_that_is_another_than_its_digest_says_is_refused(host, plain, proxy):
    manifest, _ = plain.get_manifest("team/app", "1")
    proxy.fail(Corrupt(at=10), path="/manifests/", times=-1)
    with pytest.raises(PinnaceError):
        await host.pull(f"{proxy.address}/team/app@{digest_of(manifest)}")
    assert host.catalog.images == {}


async def test_blobs_on_another_host_are_fetched_from_there(host, plain, proxy):
    for blob in BLOBS:
        place = f"/v2/team/app/blobs/{digest_of(blob)}"
        proxy.fail(redirect(f"http://{plain.address}{place}"), path=place, times=-1)
    await host.pull(f"{proxy.address}/team/app", "1")
    host.check(f"{proxy.address}/team/app:1")


async def test_a_trickle_is_given_up_and_gone_on_with_later(tmp_path, proxy):
    proxy.fail(Slow(piece=1, every_s=0.02), path=f"/blobs/{digest_of(BLOBS[2])}", times=1)
    async with pulls(tmp_path / "data", stall_s=1.0) as host, asyncio.timeout(60):
        await host.pull(f"{proxy.address}/team/app", "1")
        host.check(f"{proxy.address}/team/app:1")


async def test_a_token_that_expires_in_the_middle_of_a_layer_is_renewed(host, tmp_path):
    me = Credentials(servers.USERNAME, servers.PASSWORD)
    with (
        servers.start(tmp_path / "registry", kind="token") as server,
        BadProxy(server.address) as proxy,
    ):
        server.put_image("team/app", "1", layers=BLOBS)
        challenge = {"WWW-Authenticate": challenge_of(server)}
        blob = f"/blobs/{digest_of(BLOBS[0])}"
        proxy.fail(Cut(after=SIZE // 2), path=blob)
        proxy.fail(Status(401, challenge), path=blob)
        await host.pull(f"{proxy.address}/team/app", "1", credentials=me)
        host.check(f"{proxy.address}/team/app:1")
        asked = [seen.headers for seen in proxy.requests if blob in seen.path]
        assert [headers.get("Range") for headers in asked][1:] == [asked[1]["Range"]] * 2
        assert asked[1]["Authorization"] != asked[2]["Authorization"]


def challenge_of(server):
    with contextlib.closing(http.client.HTTPConnection(server.address, timeout=20)) as connection:
        connection.request("GET", "/v2/")
        return connection.getresponse().headers["WWW-Authenticate"]


async def test_a_cancelled_pull_keeps_what_came_also_beyond_a_restart(tmp_path, proxy):
    name = f"{proxy.address}/team/app"
    proxy.fail(Silence(after=SIZE // 2), path=f"/blobs/{digest_of(BLOBS[0])}")
    async with pulls(tmp_path / "data") as host:
        messages = []
        pulling = asyncio.create_task(host.pull(name, "1", messages=messages))
        async with asyncio.timeout(20):
            while len(host.snapshots.staged_layers()) < 2 or len(host.content.unfinished()) > 1:
                await asyncio.sleep(0.01)
            while not any(blob.size for blob in host.content.unfinished()):
                await asyncio.sleep(0.01)
        pulling.cancel()
        await asyncio.gather(pulling, return_exceptions=True)
        (left,) = host.content.unfinished()
        assert left.digest == digest_of(BLOBS[0])
        assert 0 < left.size <= SIZE // 2
    proxy.requests.clear()
    async with pulls(tmp_path / "data") as host:
        host.snapshots.repair([], [])
        host.content.repair()
        await host.pull(name, "1")
        host.check(f"{name}:1")
        blobs = [seen for seen in proxy.requests if "/blobs/" in seen.path]
        layers = [seen for seen in blobs if any(digest_of(b) in seen.path for b in BLOBS)]
        assert [seen.headers["Range"] for seen in layers] == [f"bytes={left.size}-"]
        await tidy(host)


async def test_eight_clients_fetch_every_blob_once(host, proxy):
    name = f"{proxy.address}/team/app"
    await asyncio.gather(*(host.pull(name, "1") for _ in range(8)))
    host.check(f"{name}:1")
    fetched = [seen.path for seen in proxy.requests if "/blobs/" in seen.path]
    assert len(fetched) == len(set(fetched)) == 4
    await tidy(host)


async def test_a_bomb_is_stopped_and_leaves_nothing(tmp_path, plain):
    zeros = gzip.compress(tar_of(file("zeros", bytes(200 << 20))), 9)
    plain.put_image("team/bomb", "1", layers=[zeros])
    name = f"{plain.address}/team/bomb"
    for limits in (UnpackLimits(max_bytes=10 << 20), UnpackLimits(max_ratio=100)):
        async with pulls(tmp_path / "data", limits=limits) as host:
            with pytest.raises(InvalidParameter, match="layer"):
                await host.pull(name, "1")
            assert host.catalog.images == {}
            assert host.rests() == []


@contextlib.contextmanager
def small_disk(path, room):
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", room, "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("keep", [True, False], ids=["kept blobs", "no blobs"])
async def test_a_full_disk_fails_the_pull_and_gives_the_space_back(tmp_path, plain, keep):
    big = gzip.compress(tar_of(file("big", os.urandom(12 << 20))), 1)
    plain.put_image("team/big", "1", layers=[*BLOBS, big])
    name = f"{plain.address}/team"
    with small_disk(tmp_path / "disk", "size=10m") as disk:
        async with pulls(disk, keep_blobs=keep) as host:
            with pytest.raises(Internal, match="No space left on device"):
                await host.pull(f"{name}/big", "1")
            assert host.catalog.images == {}
            assert host.snapshots.staged_layers() == host.content.unfinished() == []
            await host.library.sweep(0)  # blobs of layers that had come
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
            assert free > 9 << 20
            await host.pull(f"{name}/app", "1")
            host.check(f"{name}/app:1")
            await tidy(host)


@pytest.mark.parametrize(
    "room", ["size=200k", "size=600k", "size=1000k", "size=1400k", "nr_inodes=32", "nr_inodes=50"]
)
async def test_a_disk_full_at_any_point_fails_the_pull_by_name_and_leaves_nothing(
    tmp_path, plain, room
):
    with small_disk(tmp_path / "disk", room) as disk:
        async with pulls(disk) as host:
            with pytest.raises(Internal, match=r"(?i)no space left on device"):
                await host.pull(f"{plain.address}/team/app", "1")
            assert host.catalog.images == {}
            await tidy(host)


async def test_hundred_pulls_and_deletes_and_sweeps_at_once_end_well(host, plain):
    for number in range(4):
        plain.put_image("team/mix", str(number), layers=[BLOBS[number % 3], BLOBS[0]])
    name = f"{plain.address}/team/mix"
    random_ = random.Random(5)

    async def act(number):
        tag = f"{name}:{number % 4}"
        if number % 3:
            await host.pull(tag)
        else:
            with contextlib.suppress(NotFound):
                await host.library.delete(tag, force=True, prune=True)
            await host.library.sweep(random_.choice((0, 1000)))

    await asyncio.gather(*(act(number) for number in range(100)))
    for image in list(host.catalog.images):
        host.check(image)
    for number in range(4):
        await host.pull(f"{name}:{number}")
        host.check(f"{name}:{number}")
    for tag in list(host.catalog.tags):
        await host.library.delete(tag, force=True, prune=True)
    for image in list(host.catalog.images):
        await host.library.delete(image, force=True, prune=True)
    await tidy(host)
    assert list(host.content.digests()) == []
    assert await host.blobs.everything() == []


async def test_full_copies_are_pulled_shared_and_gone_on_with_as_well(tmp_path, proxy):
    name = f"{proxy.address}/team/app"
    gone = f"/blobs/{digest_of(BLOBS[0])}"
    async with pulls(tmp_path / "data", driver=VfsSnapshots) as host:
        proxy.fail(Status(404), path=gone, times=-1)
        with pytest.raises(NotFound):
            await host.pull(name, "1")
        proxy.heal()
        await asyncio.gather(*(host.pull(name, "1") for _ in range(3)))
        host.check(f"{name}:1")
        await tidy(host)
