"""The image service over real storage and a real database."""

import asyncio
import functools
import gzip
import hashlib
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from tests.support.archives import file, folder, tar_of
from tests.support.images import busybox_archive

from pinnace.contracts.registry import TransferLimits
from pinnace.contracts.snapshots import SnapshotKey
from pinnace.engine.filters import Filters
from pinnace.engine.images.service import ImageService
from pinnace.errors import Conflict, ImageNotFound, Internal, InvalidParameter
from pinnace.host.content.blobs import BlobContent
from pinnace.host.downloads import HttpDownloads
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.model.image_import import ImportParams
from pinnace.oci.platform import Platform
from pinnace.state.db import Database
from pinnace.state.images import SqliteImageStore
from pinnace.state.layer_blobs import SqliteLayerBlobs
from pinnace.testing.registry import FakeRegistries

pytestmark = pytest.mark.root


class Users:
    def __init__(self):
        self.by_image = {}
        self.layers = []

    def containers_using(self, image):
        return self.by_image.get(image, [])

    def layers_in_use(self):
        return self.layers


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
        self.store = store = SqliteImageStore(self.database)
        self.blobs = SqliteLayerBlobs(self.database)
        self.images = ImageService(
            store,
            await store.load(),
            snapshots=self.snapshots,
            content=self.content,
            layer_blobs=self.blobs,
            downloads=HttpDownloads(),
            registries=FakeRegistries(),
            limits=TransferLimits(),
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


def docker_archive(*layers, tags=("test:1",), config=None, **more):
    """Return a docker-archive in the form older dockerds save."""
    diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-05-06T07:08:09.123456789Z",
        "config": config or {"Cmd": ["/bin/x"], "Env": ["A=1"]},
        "history": [
            {"created": "2024-05-06T07:08:09Z", "created_by": f"step {number}"}
            for number in range(len(layers))
        ],
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        **more,
    }
    encoded = json.dumps(document).encode()
    name = hashlib.sha256(encoded).hexdigest() + ".json"
    manifest = [
        {
            "Config": name,
            "RepoTags": list(tags),
            "Layers": [f"{number}/layer.tar" for number in range(len(layers))],
        }
    ]
    members = [file(f"{number}/layer.tar", layer) for number, layer in enumerate(layers)]
    return tar_of(
        *members, file(name, encoded), file("manifest.json", json.dumps(manifest).encode())
    )


BASE = tar_of(folder("etc"), file("etc/base", b"base"))
UPPER = tar_of(file("etc/upper", b"upper" * 100))


async def saved(host, *refs):
    return b"".join([chunk async for chunk in host.images.save(refs)])


async def test_a_saved_image_loads_again_with_the_same_id_and_layers(host, tmp_path):
    await host.load(docker_archive(BASE, UPPER, tags=("a:1", "b/c:2")))
    before = host.images.resolve("a:1")
    archive = await saved(host, "a:1", "b/c:2")
    assert await saved(host, "a:1", "b/c:2") == archive
    other = await Host(make(tmp_path / "other")).start()
    await other.load(archive)
    after = other.images.resolve("b/c:2")
    assert after.id == before.id == other.images.resolve("a:1").id
    assert after.layers == before.layers
    names = tarfile.open(fileobj=io.BytesIO(archive)).getnames()
    assert names[:6] == [
        "blobs",
        "blobs/sha256",
        "oci-layout",
        "index.json",
        "manifest.json",
        "repositories",
    ]
    for member in tarfile.open(fileobj=io.BytesIO(archive)):
        if member.isfile() and member.name.startswith("blobs/"):
            content = tarfile.open(fileobj=io.BytesIO(archive)).extractfile(member).read()
            assert member.name == "blobs/sha256/" + hashlib.sha256(content).hexdigest()
    other.close()


def make(path):
    path.mkdir()
    return path


async def test_an_oci_layout_loads_with_compressed_layers_and_its_names(host):
    await host.load(docker_archive(BASE, UPPER))
    layers = [gzip.compress(BASE), zstandard.compress(UPPER)]
    config = await host.images.config_bytes("test:1")
    blobs = {hashlib.sha256(blob).hexdigest(): blob for blob in (*layers, config)}

    def descriptor(blob, kind, **more):
        return {
            "mediaType": kind,
            "digest": "sha256:" + hashlib.sha256(blob).hexdigest(),
            "size": len(blob),
            **more,
        }

    kind = "application/vnd.oci.image."
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind + "manifest.v1+json",
            "config": descriptor(config, kind + "config.v1+json"),
            "layers": [
                descriptor(layers[0], kind + "layer.v1.tar+gzip"),
                descriptor(layers[1], kind + "layer.v1.tar+zstd"),
            ],
        }
    ).encode()
    blobs[hashlib.sha256(manifest).hexdigest()] = manifest
    index = {
        "schemaVersion": 2,
        "manifests": [
            descriptor(
                manifest,
                kind + "manifest.v1+json",
                annotations={"org.opencontainers.image.ref.name": "example.com/x/y:z"},
            )
        ],
    }
    archive = tar_of(
        file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        file("index.json", json.dumps(index).encode()),
        *(file(f"blobs/sha256/{name}", blob) for name, blob in blobs.items()),
    )
    await host.images.delete("test:1")
    await host.load(gzip.compress(archive))
    image = host.images.resolve("example.com/x/y:z")
    assert image.id == "sha256:" + hashlib.sha256(config).hexdigest()
    assert image.manifest.digest == "sha256:" + hashlib.sha256(manifest).hexdigest()


async def test_deleting_the_last_name_deletes_image_and_layers_and_says_so(host):
    await host.load(docker_archive(BASE, UPPER))
    image = host.images.resolve("test:1")
    await host.images.tag("test:1", "other", "")
    assert [item.untagged for item in await host.images.delete("test:1")] == ["test:1"]
    items = await host.images.delete("other")
    assert items[0].untagged == "other:latest"
    assert [item.deleted for item in items[1:]] == [
        image.id,
        image.layers[1].chain,
        image.layers[0].chain,
    ]
    assert not host.snapshots.has_layer(image.top)
    actions = [event[1] for event in host.events]
    assert actions == ["load", "tag", "untag", "untag", "delete"]


async def test_layers_that_another_image_or_a_container_needs_stay(host):
    await host.load(docker_archive(BASE, UPPER, tags=["a:1"]))
    await host.load(docker_archive(BASE, tags=["b:1"]))
    image = host.images.resolve("a:1")
    host.users.layers = [image.top]
    await host.images.delete("a:1")
    assert host.snapshots.has_layer(image.top)
    host.users.layers = []
    await host.images.repair([])
    assert not host.snapshots.has_layer(image.layers[1].chain)
    assert host.snapshots.has_layer(image.layers[0].chain)


@pytest.mark.parametrize(
    ("ref", "users", "force", "text"),
    [
        ("test:1", [("c" * 64, False)], False,
         'conflict: unable to remove repository reference "test:1" (must force) - container'
         " cccccccccccc is using its referenced image {short}"),
        ("{short}", [("c" * 64, False)], False,
         "conflict: unable to delete {short} (must be forced) - image is being used by stopped"
         " container cccccccccccc"),
        ("{short}", [("c" * 64, True)], True,
         "conflict: unable to delete {short} (cannot be forced) - image is being used by running"
         " container cccccccccccc"),
    ],
)  # fmt: skip
async def test_a_used_image_is_refused_in_dockers_words(host, ref, users, force, text):
    await host.load(docker_archive(BASE))
    image = host.images.resolve("test:1")
    short = image.id[7:19]
    host.users.by_image[image.id] = users
    with pytest.raises(Conflict) as raised:
        await host.images.delete(ref.format(short=short), force=force)
    assert str(raised.value) == text.format(short=short)
    assert host.images.resolve("test:1")


async def test_an_image_with_two_repositories_is_deleted_by_id_only_with_force(host):
    await host.load(docker_archive(BASE))
    await host.images.tag("test:1", "other", "2")
    short = host.images.resolve("test:1").id[7:19]
    with pytest.raises(Conflict, match=r"must be forced\) - image is referenced in multiple rep"):
        await host.images.delete(short)
    items = await host.images.delete(short, force=True)
    assert {item.untagged for item in items} >= {"test:1", "other:2"}


async def test_commit_makes_a_child_whose_parent_cannot_be_deleted(host, tmp_path):
    await host.load(docker_archive(BASE))
    parent = host.images.resolve("test:1")
    key = SnapshotKey("c")
    host.snapshots.prepare(key, parent.top)
    target = make(tmp_path / "m")
    host.snapshots.mount(key, target)
    (target / "new").write_bytes(b"12345")
    host.snapshots.unmount(target)
    child = await host.images.commit(
        key,
        parent.id,
        parent.config,
        repo="child",
        author="me",
        comment="hello",
        changes=["ENV B=2", 'CMD ["run"]', "EXPOSE 80"],
    )
    record = host.images.resolve("child")
    assert record.id == child
    assert record.parent == parent.id
    assert record.config.env == ["A=1", "B=2"]
    assert record.config.cmd == ["run"]
    assert record.config.exposed_ports == {"80/tcp": {}}
    assert [item.size for item in await host.images.history("child")] == [5, 4]
    assert (await host.images.history("child"))[0].comment == "hello"
    with pytest.raises(Conflict, match="image has dependent child images"):
        await host.images.delete(parent.id)
    assert host.images.descendants("test:1") == {parent.id, child}
    await host.images.delete("test:1")
    assert parent.id in host.images.catalog.images
    items = await host.images.delete("child")
    assert {parent.id, child} <= {item.deleted for item in items}
    assert host.images.catalog.images == {}


async def test_a_commit_without_changes_adds_no_layer(host):
    await host.load(docker_archive(BASE))
    parent = host.images.resolve("test:1")
    host.snapshots.prepare(SnapshotKey("c"), parent.top)
    child = await host.images.commit(SnapshotKey("c"), parent.id, parent.config)
    assert host.images.resolve(child).layers == parent.layers
    assert len(list((host.root / "store/layers").iterdir())) == 1


async def test_an_imported_tar_is_an_image_of_one_layer(host):
    async def stream():
        yield gzip.compress(BASE)

    messages = [
        m
        async for m in host.images.import_tar(
            stream(),
            ImportParams(
                repo="imported",
                tag="v1",
                changes=["LABEL a=b"],
                message="hi",
                platform="linux/arm64",
            ),
        )
    ]
    image = host.images.resolve("imported:v1")
    assert messages == [{"status": image.id}]
    assert image.config.labels == {"a": "b"}
    assert image.architecture == "arm64"
    assert image.history[0].comment == "hi"


async def test_prune_removes_untagged_images_and_counts_bytes(host):
    await host.load(docker_archive(BASE, UPPER, tags=()))
    await host.load(docker_archive(BASE, tags=["keep:1"]))
    report = await host.images.prune(Filters())
    assert report.space_reclaimed == 500
    assert host.images.resolve("keep:1")
    assert len(host.images.catalog.images) == 1
    everything = await host.images.prune(Filters({"dangling": ["false"]}))
    assert everything.space_reclaimed == 4
    assert host.images.catalog.images == {}
    assert host.events[-1][1:] == ("prune", "", {"reclaimed": "4"})


async def test_lists_filter_as_docker_does(host):
    await host.load(docker_archive(BASE, tags=["a/b:1", "x:2"], config={"Labels": {"k": "v"}}))
    await host.load(docker_archive(UPPER, tags=(), created="2025-01-01T00:00:00Z"))

    async def names(**filters):
        found = await host.images.list(Filters({k: [v] for k, v in filters.items()}))
        return [item.repo_tags for item in found]

    assert await names() == [[], ["a/b:1", "x:2"]]
    assert await names(dangling="true") == [[]]
    assert await names(dangling="false") == [["a/b:1", "x:2"]]
    assert await names(reference="*/b") == [["a/b:1"]]
    assert await names(reference="x:[12]") == [["x:2"]]
    assert await names(reference="nothing") == []
    assert await names(label="k=v") == [["a/b:1", "x:2"]]
    assert await names(since="x:2") == [[]]
    assert await names(until="2024-12-31") == [["a/b:1", "x:2"]]
    with pytest.raises(InvalidParameter, match="invalid filter 'bad'"):
        await names(bad="x")


async def test_disk_usage_counts_shared_layers_once(host):
    await host.load(docker_archive(BASE, UPPER, tags=["a:1"]))
    await host.load(docker_archive(BASE, tags=["b:1"]))
    host.users.by_image[host.images.resolve("b:1").id] = [("c", False)]
    usage = await host.images.disk_usage()
    assert (usage.total_count, usage.active_count, usage.total_size) == (2, 1, 504)
    assert usage.reclaimable == 500
    assert {item.shared_size for item in usage.items} == {4}


async def test_inspect_shows_names_layers_and_driver(host):
    await host.load(docker_archive(BASE, UPPER))
    view = await host.images.inspect("test:1")
    assert view.repo_tags == ["test:1"]
    assert view.size == 504
    assert view.graph_driver.name == "overlay2"
    assert len(view.root_fs.layers) == 2
    assert view.created == "2024-05-06T07:08:09.123456789Z"


async def test_a_broken_archive_leaves_nothing(host):
    archive = docker_archive(BASE, UPPER)
    wrong = docker_archive(
        BASE,
        UPPER,
        rootfs={
            "type": "layers",
            "diff_ids": ["sha256:" + hashlib.sha256(BASE).hexdigest(), "sha256:" + "0" * 64],
        },
    )
    for broken in (archive[:3000], wrong, b"", b"junk" * 1000, tar_of(file("x"))):
        with pytest.raises(InvalidParameter):
            await host.load(broken)
        assert host.images.catalog.images == {}
        for folder_ in ("store/layers", "store/l", "store/tmp", "content/incoming"):
            assert not any((host.root / folder_).iterdir())


async def test_a_client_that_leaves_during_a_load_leaves_nothing(host):
    archive = docker_archive(BASE, UPPER)
    started = asyncio.Event()

    async def stream():
        yield archive[:1000]
        started.set()
        await asyncio.Event().wait()

    async def load():
        async for _ in host.images.load(stream()):
            pass

    task = asyncio.create_task(load())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any((host.root / "content/incoming").iterdir())
    assert not any((host.root / "store/layers").iterdir())


async def test_a_reader_that_leaves_during_a_save_ends_the_worker(host):
    await host.load(docker_archive(tar_of(file("big", bytes(20 << 20)))))
    stream = host.images.save(["test:1"])
    await anext(stream)
    await stream.aclose()
    await host.images.delete("test:1")
    assert not any((host.root / "store/layers").iterdir())


def legacy_archive():
    """Return an archive as `docker save` wrote it in 2013."""
    low, top = "1" * 64, "2" * 64
    documents = {
        low: {
            "id": low,
            "created": "2013-06-01T00:00:00Z",
            "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) ADD base"]},
        },
        top: {
            "id": top,
            "parent": low,
            "created": "2013-06-02T00:00:00Z",
            "author": "old",
            "config": {"Cmd": ["/bin/old"], "Env": None},
            "container_config": {"Cmd": ["touch", "x"]},
            "architecture": "amd64",
        },
    }
    members = [file("repositories", json.dumps({"old/app": {"1.0": top}}).encode())]
    for name, layer in ((low, BASE), (top, UPPER)):
        members += [
            folder(name),
            file(f"{name}/VERSION", b"1.0"),
            file(f"{name}/json", json.dumps(documents[name]).encode()),
            file(f"{name}/layer.tar", layer),
        ]
    return tar_of(*members)


async def test_an_archive_of_2013_loads_and_always_gets_the_same_id(host):
    messages = await host.load(legacy_archive())
    assert messages[-1] == {"stream": "Loaded image: old/app:1.0\n"}
    image = host.images.resolve("old/app:1.0")
    assert image.config.cmd == ["/bin/old"]
    assert [step.created_by for step in reversed(await host.images.history("old/app:1.0"))] == [
        "/bin/sh -c #(nop) ADD base",
        "touch x",
    ]
    assert [layer.diff_id[7:] for layer in image.layers] == [
        hashlib.sha256(layer).hexdigest() for layer in (BASE, UPPER)
    ]
    await host.images.delete("old/app:1.0")
    await host.load(legacy_archive())
    assert host.images.resolve("old/app:1.0").id == image.id


@pytest.mark.parametrize(
    "repositories",
    [{"a": {"1": "../../etc"}}, {"a": {"1": "missing"}}, {"A": {"1": "2" * 64}}, {"a": 1}],
)
async def test_a_legacy_archive_that_contradicts_itself_is_refused(host, repositories):
    with pytest.raises(InvalidParameter):
        await host.load(tar_of(file("repositories", json.dumps(repositories).encode())))


async def test_a_failing_store_leaves_images_as_they_were(host, monkeypatch):
    await host.load(docker_archive(BASE, tags=["a:1"]))
    before = host.images.resolve("a:1")

    async def fail(change):
        raise Internal("the database refused a write")

    with monkeypatch.context() as patch:
        patch.setattr(host.store, "apply", fail)
        for attempt in (
            host.load(docker_archive(UPPER, tags=["b:1"])),
            host.images.tag("a:1", "c", ""),
            host.images.delete("a:1"),
        ):
            with pytest.raises(Internal):
                await attempt
    assert host.images.resolve("a:1") == before
    assert list(host.images.catalog.tags) == ["docker.io/library/a:1"]
    assert host.snapshots.has_layer(before.top)
    assert len(list((host.root / "store/layers").iterdir())) == 1


async def test_loading_and_deleting_shared_layers_at_once_never_loses_one(host):
    await host.load(docker_archive(BASE, UPPER, tags=["x:0"]))
    for number in range(15):
        await asyncio.gather(
            host.load(docker_archive(BASE, UPPER, tags=[f"x:{number + 1}"], author=str(number))),
            host.images.delete(f"x:{number}"),
        )
        image = host.images.resolve(f"x:{number + 1}")
        assert all(host.snapshots.has_layer(layer.chain) for layer in image.layers)
