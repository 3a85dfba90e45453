"""The image service over real storage and a real database."""

import asyncio
import functools
import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.images import busybox_archive

from pinnace.contracts.snapshots import SnapshotKey
from pinnace.engine.images.service import ImageService
from pinnace.errors import ImageNotFound
from pinnace.host.content.blobs import BlobContent
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.oci.platform import Platform
from pinnace.state.db import Database
from pinnace.state.images import SqliteImageStore

pytestmark = pytest.mark.root


class Users:
    def __init__(self):
        self.by_image = {}

    def containers_using(self, image):
        return self.by_image.get(image, [])


class Host:
    """An image service with everything below it."""

    def __init__(self, root):
        self.root = root
        self.pool = ThreadPoolExecutor(2)
        self.events = []
        self.users = Users()
        self.snapshots = OverlaySnapshots(root / "store")
        self.content = BlobContent(root / "content")

    async def start(self):
        self.database = Database.open(self.root / "state.db")
        store = SqliteImageStore(self.database)
        self.images = ImageService(
            store,
            await store.load(),
            snapshots=self.snapshots,
            content=self.content,
            users=self.users,
            offload=functools.partial(asyncio.get_running_loop().run_in_executor, self.pool),
            publish=lambda *event: self.events.append(event),
            host=Platform(),
        )
        return self

    async def load(self, archive, *, quiet=False, chunk=65536):
        async def stream():
            source = io.BytesIO(archive)
            while data := source.read(chunk):
                yield data

        return [m async for m in self.images.load(stream(), quiet=quiet)]

    def close(self):
        self.database.close()
        self.pool.shutdown()


@pytest.fixture
async def host(tmp_path):
    host = await Host(tmp_path).start()
    yield host
    host.close()


async def test_a_loaded_archive_is_found_by_name_id_and_prefix_and_can_be_mounted(host, tmp_path):
    messages = await host.load(busybox_archive())
    assert messages[-1] == {"stream": "Loaded image: busybox:latest\n"}
    image = host.images.resolve("busybox")
    for ref in (image.id, image.id[7:], image.id[7:19], "docker.io/library/busybox:latest"):
        assert host.images.resolve(ref) == image
    host.snapshots.prepare(SnapshotKey("c"), image.top)
    target = tmp_path / "m"
    target.mkdir()
    host.snapshots.mount(SnapshotKey("c"), target)
    assert (target / "bin/sh").exists()
    host.snapshots.unmount(target)
    assert image.config.cmd == ["sh"]
    assert json.loads(await host.images.config_bytes("busybox"))["rootfs"]["diff_ids"]
    assert ("image", "load", image.id, {"name": image.id}) in host.events


async def test_images_are_there_after_a_restart(host):
    await host.load(busybox_archive(), quiet=True)
    image = host.images.resolve("busybox")
    host.database.close()
    await host.start()
    assert host.images.resolve("busybox") == image


async def test_an_unknown_image_is_named_as_docker_names_it(host):
    with pytest.raises(ImageNotFound, match=r"^No such image: nosuch:latest$"):
        host.images.resolve("nosuch")
