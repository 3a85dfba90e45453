"""Layers that are unpacked while their archive comes in."""

import asyncio
import hashlib
import io
import json

import pytest
from tests.integration.test_image_service import BASE, UPPER, Host, docker_archive
from tests.support.archives import file, folder, symlink, tar_of

from pinnace.engine.images.arriving import ArrivingLayers
from pinnace.engine.images.leases import Leases
from pinnace.errors import InvalidParameter, NotFound, Unavailable
from pinnace.oci.chain import chain_id
from pinnace.testing.snapshots import FakeSnapshots

pytestmark = pytest.mark.root
BROKEN = tar_of(file("x", b"y" * 2000))[:1000]


@pytest.fixture
async def host(tmp_path):
    host = await Host(tmp_path).start()
    staged = host.snapshots.stage_layer
    host.unpacked = []

    def stage_layer(source, **checks):
        stat = staged(source, **checks)
        host.unpacked.append(stat.diff_id)
        return stat

    host.snapshots.stage_layer = stage_layer
    yield host
    host.close()


def digest_of(layer):
    return "sha256:" + hashlib.sha256(layer).hexdigest()


def named_by_digest(*layers, tag, more=()):
    """Return an archive that calls its layers by their digests, as those of today do."""
    document = json.dumps(
        {"rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}
    ).encode()
    names = [f"blobs/sha256/{digest_of(layer)[7:]}" for layer in layers]
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": names}]
    return tar_of(
        *more,
        *(file(name, layer) for name, layer in zip(names, layers, strict=True)),
        file("config.json", document),
        file("manifest.json", json.dumps(manifest).encode()),
    )


def remains(host):
    incoming = list((host.root / "content/incoming").iterdir())
    layers = list((host.root / "store/layers").iterdir())
    return host.snapshots.staged_layers(), incoming, layers


async def test_layers_are_unpacked_once_and_what_is_staged_goes_to_the_image(host):
    await host.load(docker_archive(BASE, UPPER, tags=["a:1"]))
    assert host.unpacked == [digest_of(BASE), digest_of(UPPER)]
    assert host.snapshots.staged_layers() == []
    assert [layer.size for layer in host.images.resolve("a:1").layers] == [4, 500]


async def test_a_layer_that_an_image_has_twice_is_placed_twice(host):
    await host.load(docker_archive(BASE, UPPER, BASE, tags=["a:1"]))
    layers = host.images.resolve("a:1").layers
    assert len({layer.chain for layer in layers}) == 3
    assert [layer.diff_id for layer in layers] == [digest_of(one) for one in (BASE, UPPER, BASE)]
    assert host.snapshots.staged_layers() == []


async def test_a_layer_called_by_its_digest_is_not_unpacked_again(host):
    await host.load(named_by_digest(BASE, UPPER, tag="a:1"))
    host.unpacked.clear()
    await host.load(named_by_digest(BASE, UPPER, tag="a:2"))
    assert host.unpacked == []
    assert host.images.resolve("a:1") == host.images.resolve("a:2")
    await host.load(named_by_digest(UPPER, BASE, tag="b:1"))  # known, but on other layers
    layers = [layer.diff_id for layer in host.images.resolve("b:1").layers]
    assert layers == [digest_of(UPPER), digest_of(BASE)]


async def test_a_layer_may_be_a_link_to_another_file_of_the_archive(host):
    document = json.dumps(
        {"rootfs": {"type": "layers", "diff_ids": [digest_of(BASE), digest_of(BASE)]}}
    ).encode()
    layers = ["a/layer.tar", "b/layer.tar"]
    manifest = [{"Config": "config.json", "RepoTags": ["a:1"], "Layers": layers}]
    archive = tar_of(
        symlink("b/layer.tar", "../a/layer.tar"),
        file("a/layer.tar", BASE),
        file("config.json", document),
        file("manifest.json", json.dumps(manifest).encode()),
    )
    await host.load(archive)
    assert len(host.images.resolve("a:1").layers) == 2


async def test_a_broken_tar_counts_only_where_an_image_wants_it(host):
    await host.load(named_by_digest(BASE, tag="a:1", more=[file("notes/old.tar", BROKEN)]))
    assert host.images.resolve("a:1")
    with pytest.raises(InvalidParameter, match="unexpected end inside a file"):
        await host.load(docker_archive(BASE, BROKEN, tags=["b:1"]))
    staged, incoming, layers = remains(host)
    assert (staged, incoming, len(layers)) == ([], [], 1)


async def test_another_layer_than_the_config_names_is_refused_and_leaves_nothing(host):
    archive = docker_archive(BASE, tags=["a:1"]).replace(
        digest_of(BASE)[7:].encode(), digest_of(UPPER)[7:].encode()
    )
    with pytest.raises(InvalidParameter, match="invalid diffID for layer: expected"):
        await host.load(archive)
    assert remains(host) == ([], [], [])


async def test_a_client_that_leaves_in_mid_layer_leaves_nothing(host):
    large = tar_of(folder("d"), file("d/large", bytes(3_000_000)))
    archive = docker_archive(BASE, large, tags=["a:1"])
    begun = asyncio.Event()

    async def stream():
        yield archive[: len(archive) // 2]
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(anext(aiter(host.images.load(stream(), quiet=True))))
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert remains(host) == ([], [], [])


async def test_loads_of_one_archive_at_the_same_time_share_its_layers(host):
    archives = [docker_archive(BASE, UPPER, tags=[f"a:{number}"]) for number in range(4)]
    await asyncio.gather(*(host.load(archive, chunk=700) for archive in archives))
    assert len({host.images.resolve(f"a:{number}").id for number in range(4)}) == 1
    staged, incoming, layers = remains(host)
    assert (staged, incoming, len(layers)) == ([], [], 2)


def test_a_layer_that_somebody_else_used_up_is_asked_for_again():
    snapshots = FakeSnapshots()
    arriving = ArrivingLayers(snapshots, None, known={}, leases=Leases(), show=lambda _: None)
    assert arriving.take("layer.tar", len(BASE), io.BytesIO(BASE))
    diff_id = arriving.find("layer.tar").diff_id
    snapshots.adopt_layer(None, diff_id)  # by a pull
    arriving.place(diff_id, None, chain_id(None, diff_id))  # the same: it is there
    other, _ = snapshots.ingest_layer(None, io.BytesIO(UPPER))
    late = ArrivingLayers(snapshots, None, known={}, leases=Leases(), show=lambda _: None)
    with pytest.raises(Unavailable, match="please try again"):
        late.place(diff_id, other, chain_id(other, diff_id))
    with pytest.raises(NotFound):
        snapshots.adopt_layer(other, diff_id)
