"""Pushing: what travels, what does not, what is told, over registries in memory."""

import asyncio
import dataclasses
import gzip
import io
import json

import pytest
from tests.support.archives import file, tar_of

from pinnace.contracts.image_store import ImageChange, StoredImage
from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.contracts.registry import ANONYMOUS, Credentials, TransferLimits
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.push import Pusher
from pinnace.engine.images.records import image_record
from pinnace.errors import InvalidParameter, NotFound, Unauthorized
from pinnace.host.content.blobs import BlobContent
from pinnace.model.image import ImageLayer
from pinnace.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
)
from pinnace.oci.digest import sha256_digest
from pinnace.oci.platform import Platform
from pinnace.testing.image_store import FakeImageStore
from pinnace.testing.layer_blobs import FakeLayerBlobs
from pinnace.testing.registry import FakeRegistries
from pinnace.testing.snapshots import FakeSnapshots

REPOSITORY = "localhost:5000/team/app"
LOWER = tar_of(file("a", b"lower" * 1000))
UPPER = tar_of(file("b", b"upper" * 1000))


class Host:
    """Everything a pusher needs, in memory but for the blobs."""

    def __init__(self, root):
        self.store = FakeImageStore()
        self.snapshots = FakeSnapshots()
        self.content = BlobContent(root)
        self.layer_blobs = FakeLayerBlobs()
        self.registries = FakeRegistries()
        self.events = []
        given = {
            "store": self.store,
            "snapshots": self.snapshots,
            "content": self.content,
            "layer_blobs": self.layer_blobs,
            "registries": self.registries,
            "limits": TransferLimits(),
            "offload": asyncio.to_thread,
            "transfer": asyncio.to_thread,
            "publish": lambda *event: self.events.append(event),
            "host": Platform(),
        }
        names = [field.name for field in dataclasses.fields(ImageParts)]
        self.parts = ImageParts(**{name: given.get(name) for name in names})

    async def start(self):
        self.library = ImageLibrary(self.parts, await self.store.load())
        self.pusher = Pusher(self.parts, self.library)
        return self

    async def add(self, *names, layers=(LOWER, UPPER), manifest=None, architecture="amd64"):
        """Store an image under the names; return its id."""
        chain, kept = None, []
        for tar in layers:
            chain, stat = self.snapshots.ingest_layer(chain, io.BytesIO(tar))
            kept.append(ImageLayer(chain=chain, diff_id=stat.diff_id, size=stat.size))
        config = config_of(layers, architecture=architecture)
        described = None
        if manifest is not None:
            kind = json.loads(manifest)["mediaType"]
            described = Descriptor(
                media_type=kind, digest=sha256_digest(manifest), size=len(manifest)
            )
        record = image_record(config, kept, manifest=described)
        tags = {f"{REPOSITORY}:{name}" if "/" not in name else name: record.id for name in names}
        image = StoredImage(record, config, manifest)
        await self.library.apply(ImageChange(put=[image], set_tags=tags))
        return record.id

    async def push(self, name=REPOSITORY, tag="1", *, platform=None, credentials=ANONYMOUS):
        pushing = self.pusher.push(name, tag=tag, platform=platform, credentials=credentials)
        return [message async for message in pushing]

    async def until_uploads(self, count):
        async with asyncio.timeout(20):
            while self.registries.count("upload_blob") < count:
                await asyncio.sleep(0.001)

    def shelf(self, name=REPOSITORY):
        return self.registries.shelves[name]


def config_of(layers, *, architecture="amd64"):
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": {"team": "a"}},
        "rootfs": {"type": "layers", "diff_ids": [sha256_digest(tar) for tar in layers]},
    }
    return json.dumps(document).encode()


def manifest_of(blobs, *, oci=False, indent=2):
    """Return a manifest of an image of LOWER and UPPER with these layer blobs."""
    config = config_of((LOWER, UPPER))
    kinds = (
        (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER + "+gzip")
        if oci
        else (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER)
    )

    def described(kind, content):
        return {"mediaType": kind, "digest": sha256_digest(content), "size": len(content)}

    document = {
        "schemaVersion": 2,
        "mediaType": kinds[0],
        "config": described(kinds[1], config),
        "layers": [described(kinds[2], blob) for blob in blobs],
    }
    return json.dumps(document, indent=indent).encode()


def statuses(messages):
    return [(m.get("id"), m["status"]) for m in messages if "status" in m and "progress" not in m]


def label(tar):
    return sha256_digest(tar)[7:19]


@pytest.fixture
async def host(tmp_path):
    return await Host(tmp_path).start()


async def test_a_first_push_sends_layers_config_and_manifest(host):
    image = await host.add("1")
    messages = await host.push()
    shelf = host.shelf()
    manifest = json.loads(shelf.manifests[shelf.tags["1"]].content)
    assert manifest["mediaType"] == DOCKER_MANIFEST
    assert manifest["config"]["digest"] == image
    assert shelf.blobs[image] == config_of((LOWER, UPPER))
    tars = [gzip.decompress(shelf.blobs[layer["digest"]]) for layer in manifest["layers"]]
    assert tars == [LOWER, UPPER]
    told = statuses(messages)
    assert told[0] == (None, f"The push refers to repository [{REPOSITORY}]")
    assert told[1:3] == [(label(UPPER), "Preparing"), (label(LOWER), "Preparing")]
    assert sorted(told[3:5]) == sorted([(label(UPPER), "Pushed"), (label(LOWER), "Pushed")])
    digest, size = shelf.tags["1"], len(shelf.manifests[shelf.tags["1"]].content)
    assert told[5:] == [(None, f"1: digest: {digest} size: {size}")]
    assert messages[-1]["aux"] == {"Tag": "1", "Digest": digest, "Size": size}
    assert host.library.catalog.digests == {f"{REPOSITORY}@{digest}": image}
    assert host.events == [("image", "push", f"{REPOSITORY}:1", {"team": "a", "name": REPOSITORY})]


async def test_a_second_push_sends_no_blob(host):
    await host.add("1")
    await host.push()
    before = host.registries.count("upload_blob")
    messages = await host.push()
    assert host.registries.count("upload_blob") == before
    assert [m["status"] for m in messages if m.get("status", "").startswith("Layer")] == [
        "Layer already exists"
    ] * 2


async def test_a_push_after_the_memory_was_lost_still_sends_no_layer(host):
    await host.add("1")
    await host.push()
    await host.layer_blobs.forget([sha256_digest(LOWER), sha256_digest(UPPER)])
    before = host.registries.count("upload_blob")
    await host.push()
    assert host.registries.count("upload_blob") == before


async def test_a_layer_of_another_repository_is_taken_over(host):
    await host.add("1", "localhost:5000/other:2")
    await host.push()
    uploads = host.registries.count("upload_blob")
    messages = await host.push("localhost:5000/other", "2")
    assert host.registries.count("upload_blob") == uploads + 1  # the config
    assert (label(LOWER), "Mounted from team/app") in statuses(messages)


async def test_what_cannot_be_taken_over_is_sent(host):
    await host.add("1", "localhost:5000/other:2")
    await host.push()
    host.registries.may_mount = False
    messages = await host.push("localhost:5000/other", "2")
    assert (label(LOWER), "Pushed") in statuses(messages)


async def test_repositories_of_other_registries_are_not_asked_for_layers(host):
    await host.add("1", "other.example/app:2")
    await host.push()
    await host.push("other.example/app", "2")
    assert host.registries.count("mount_blob") == 0
    one, two = host.shelf(), host.shelf("other.example/app")
    assert one.tags["1"] == two.tags["2"]  # compressed again, to the same bytes


async def test_a_neighbour_that_may_not_be_read_does_not_end_the_push(host):
    await host.add("1", "localhost:5000/other:2")
    await host.push()
    host.registries.fail_next("mount_blob", Unauthorized("denied"), NotFound("unknown"))
    messages = await host.push("localhost:5000/other", "2")
    assert (label(LOWER), "Pushed") in statuses(messages)


@pytest.mark.parametrize("oci", [False, True])
async def test_a_kept_layer_goes_as_it_came_and_so_does_the_manifest(host, oci):
    blobs = [gzip.compress(tar, 1, mtime=7) for tar in (LOWER, UPPER)]
    for blob in blobs:
        host.content.ingest(io.BytesIO(blob))
    manifest = manifest_of(blobs, oci=oci)
    await host.add("1", manifest=manifest)
    await host.push()
    shelf = host.shelf()
    assert shelf.manifests[shelf.tags["1"]].content == manifest
    assert all(sha256_digest(blob) in shelf.blobs for blob in blobs)


async def test_the_manifest_it_came_by_is_used_when_the_registry_has_its_layers(host):
    blobs = [gzip.compress(tar, 1, mtime=7) for tar in (LOWER, UPPER)]
    for blob in blobs:
        host.shelf("localhost:5000/origin").put_blob(blob)
    tars = (LOWER, UPPER)
    for tar, blob in zip(tars, blobs, strict=True):
        known = LayerBlob(sha256_digest(tar), sha256_digest(blob), len(blob), DOCKER_LAYER)
        await host.layer_blobs.remember(known, source="localhost:5000/origin")
    manifest = manifest_of(blobs)
    await host.add("1", manifest=manifest)
    await host.push()
    assert host.shelf().tags["1"] == sha256_digest(manifest)
    assert host.registries.count("upload_blob") == 1  # the config


async def test_without_the_bytes_of_its_manifest_an_image_gets_a_new_one_of_its_kind(host):
    blobs = [gzip.compress(tar, 1, mtime=7) for tar in (LOWER, UPPER)]
    await host.add("1", manifest=manifest_of(blobs, oci=True))
    await host.push()
    shelf = host.shelf()
    manifest = json.loads(shelf.manifests[shelf.tags["1"]].content)
    assert manifest["mediaType"] == OCI_MANIFEST
    assert manifest["config"]["mediaType"] == OCI_CONFIG
    assert {layer["mediaType"] for layer in manifest["layers"]} == {OCI_LAYER + "+gzip"}


async def test_zstd_layers_are_not_listed_in_dockers_manifest(host):
    known = LayerBlob(sha256_digest(LOWER), sha256_digest(b"z"), 1, OCI_LAYER + "+zstd")
    await host.layer_blobs.remember(known, source=REPOSITORY)
    host.shelf().put_blob(b"z")
    await host.add("1")
    await host.push()
    shelf = host.shelf()
    manifest = json.loads(shelf.manifests[shelf.tags["1"]].content)
    assert {layer["mediaType"] for layer in manifest["layers"]} == {DOCKER_LAYER}


async def test_kept_bytes_that_rotted_are_dropped_and_made_again(host, tmp_path):
    blobs = [gzip.compress(tar, 1, mtime=7) for tar in (LOWER, UPPER)]
    digests = [host.content.ingest(io.BytesIO(blob))[0] for blob in blobs]
    rotten = tmp_path / "blobs/sha256" / digests[0][7:]
    rotten.write_bytes(b"\0" * len(blobs[0]))
    await host.add("1", manifest=manifest_of(blobs))
    await host.push()
    shelf = host.shelf()
    manifest = json.loads(shelf.manifests[shelf.tags["1"]].content)
    assert gzip.decompress(shelf.blobs[manifest["layers"][0]["digest"]]) == LOWER
    assert not rotten.exists()


async def test_a_layer_that_an_image_has_twice_is_sent_once(host):
    await host.add("1", layers=(LOWER, UPPER, LOWER))
    await host.push()
    shelf = host.shelf()
    manifest = json.loads(shelf.manifests[shelf.tags["1"]].content)
    assert manifest["layers"][0] == manifest["layers"][2]
    assert host.registries.count("upload_blob") == 3  # two layers and the config


async def test_an_image_without_layers_is_pushed(host):
    await host.add("1", layers=())
    await host.push()
    shelf = host.shelf()
    assert json.loads(shelf.manifests[shelf.tags["1"]].content)["layers"] == []


async def test_without_a_tag_all_of_the_repository_are_pushed_with_one_event(host):
    await host.add("1", "2", "localhost:5000/other:3")
    await host.add("10", layers=(LOWER,))
    messages = await host.push(tag="")
    assert sorted(host.shelf().tags) == ["1", "10", "2"]
    assert [m["aux"]["Tag"] for m in messages if "aux" in m] == ["1", "10", "2"]
    assert [event[2] for event in host.events] == [REPOSITORY]


async def test_the_tag_wins_over_the_one_in_the_name(host):
    await host.add("1", "2")
    await host.push(f"{REPOSITORY}:1", "2")
    assert sorted(host.shelf().tags) == ["2"]
    await host.push(f"{REPOSITORY}:1", "")
    assert sorted(host.shelf().tags) == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "tag", "kind", "text"),
    [
        (REPOSITORY, "9", NotFound, f"tag does not exist: {REPOSITORY}:9"),
        (
            "busybox",
            "9",
            NotFound,
            "An image does not exist locally with the tag: busybox",
        ),
        (
            f"{REPOSITORY}@sha256:{'a' * 64}",
            "",
            InvalidParameter,
            "cannot push a digest reference",
        ),
        (
            "x/Upper",
            "1",
            InvalidParameter,
            "invalid reference format: repository name (x/Upper) must be lowercase",
        ),
        (REPOSITORY, "a b", InvalidParameter, "invalid tag format"),
    ],
)
async def test_what_cannot_be_pushed_is_told_in_dockers_words(host, name, tag, kind, text):
    await host.add("1")
    with pytest.raises(kind) as raised:
        await host.push(name, tag)
    assert raised.value.message == text
    assert host.registries.asked == []
    assert host.events == []


async def test_another_platform_than_the_images_is_refused(host):
    await host.add("1")
    with pytest.raises(NotFound, match=r"its platform \(linux/amd64\) does not match"):
        await host.push(platform=Platform("linux", "arm64"))
    await host.push(platform=Platform())
    assert host.shelf().tags


async def test_credentials_are_those_of_the_client(host):
    await host.add("1")
    await host.push(credentials=Credentials("ann", "secret"))
    assert host.registries.credentials == [Credentials("ann", "secret")]
    assert host.registries.asked[0] == ("repository", REPOSITORY, "push")


async def test_a_refusal_ends_the_push_without_manifest_digest_or_event(host):
    await host.add("1")
    host.registries.fail_next("upload_blob", Unauthorized("no basic auth credentials"))
    with pytest.raises(Unauthorized, match="no basic auth credentials"):
        await host.push()
    assert host.shelf().tags == {}
    assert host.library.catalog.digests == {}
    assert host.events == []
    await host.push()
    assert host.shelf().tags


async def test_two_clients_pushing_the_same_send_each_layer_once(host):
    await host.add("1")
    await asyncio.gather(host.push(), host.push(), host.push())
    uploads = [what for method, _, what in host.registries.asked if method == "upload_blob"]
    assert len(uploads) == 3


async def test_a_client_that_leaves_ends_what_travels(host):
    await host.add("1")
    host.registries.gate.clear()
    pushing = asyncio.ensure_future(host.push())
    await host.until_uploads(3)
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    host.registries.gate.set()
    assert host.shelf().blobs == {}
    assert host.shelf().tags == {}
    assert not [task for task in asyncio.all_tasks() if "push" in task.get_name()]
    await host.push()
    assert host.shelf().tags


async def test_layers_are_held_while_they_travel(host):
    image = await host.add("1")
    chains = [layer.chain for layer in host.library.catalog.images[image].layers]
    host.registries.gate.clear()
    pushing = asyncio.ensure_future(host.push())
    await host.until_uploads(1)
    await host.library.apply(ImageChange(drop=[image]))
    for chain in chains:
        assert not host.library.leases.unless_held(chain, lambda _: None)
    host.registries.gate.set()
    await pushing
    assert host.library.catalog.digests == {}  # the image is gone: no name leads to it
    assert host.library.leases.unless_held(chains[0], lambda _: None)


async def test_a_damaged_layer_is_not_pushed(host):
    await host.add("1")
    host.snapshots.fail_next("export_layer", InvalidParameter("layer is damaged"))
    with pytest.raises(InvalidParameter, match="damaged"):
        await host.push()
    assert host.shelf().tags == {}


class Indexed:
    """An image pulled by an index of two platforms from `localhost:5000/origin`."""

    def __init__(self, host):
        blobs = [gzip.compress(tar, 1, mtime=7) for tar in (LOWER, UPPER)]
        self.manifest = manifest_of(blobs)
        self.other_blob, self.other_config = b"layer for arm", b'{"architecture": "arm64"}'
        self.other = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER_MANIFEST,
                "config": _described(DOCKER_CONFIG, self.other_config),
                "layers": [_described(DOCKER_LAYER, self.other_blob)],
            }
        ).encode()
        self.index = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER_LIST,
                "manifests": [
                    _described(DOCKER_MANIFEST, self.manifest),
                    _described(DOCKER_MANIFEST, self.other),
                ],
            }
        ).encode()
        self.digest = sha256_digest(self.index)
        for blob in blobs:
            host.content.ingest(io.BytesIO(blob))
        host.content.ingest(io.BytesIO(self.index))

    async def pulled(self, host, name="localhost:5000/origin"):
        """Store it as pulled from `name`, tagged as `REPOSITORY:1` and with its old name."""
        image = await host.add("1", f"{name}:1", manifest=self.manifest)
        change = ImageChange(set_digests={f"{name}@{self.digest}": image})
        await host.library.apply(change)
        shelf = host.shelf(name)
        for blob in (self.other_blob, self.other_config):
            shelf.put_blob(blob)
        shelf.put_manifest(self.other, DOCKER_MANIFEST, sha256_digest(self.other))
        return image


def _described(kind, content):
    return {"mediaType": kind, "digest": sha256_digest(content), "size": len(content)}


async def test_an_index_goes_back_to_where_it_came_from(host):
    indexed = Indexed(host)
    await indexed.pulled(host)
    messages = await host.push("localhost:5000/origin", "1")
    assert host.shelf("localhost:5000/origin").tags == {"1": indexed.digest}
    assert messages[-1]["aux"]["Digest"] == indexed.digest


async def test_a_neighbour_takes_over_the_other_platforms_of_an_index(host):
    indexed = Indexed(host)
    image = await indexed.pulled(host)
    await host.push()
    shelf = host.shelf()
    assert shelf.tags == {"1": indexed.digest}
    assert shelf.manifests[indexed.digest].content == indexed.index
    assert sha256_digest(indexed.other) in shelf.manifests
    assert sha256_digest(indexed.other_blob) in shelf.blobs
    assert host.library.catalog.digests[f"{REPOSITORY}@{indexed.digest}"] == image


@pytest.mark.parametrize("reason", ["elsewhere", "not mounted", "gone"])
async def test_the_platforms_manifest_goes_when_the_rest_of_its_index_cannot(host, reason):
    indexed = Indexed(host)
    origin = "registry.example/origin" if reason == "elsewhere" else "localhost:5000/origin"
    await indexed.pulled(host, origin)
    host.registries.may_mount = reason != "not mounted"
    if reason == "gone":
        host.shelf(origin).manifests.clear()
    messages = await host.push()
    assert host.shelf().tags == {"1": sha256_digest(indexed.manifest)}
    told = [m["aux"] for m in messages if "aux" in m]
    assert told[0]["manifestPushedInsteadOfIndex"] is True
    assert told[0]["originalIndex"]["digest"] == indexed.digest
    assert told[1]["Digest"] == sha256_digest(indexed.manifest)


async def test_a_platform_asked_for_goes_without_its_index(host):
    indexed = Indexed(host)
    await indexed.pulled(host)
    messages = await host.push(platform=Platform())
    assert host.shelf().tags == {"1": sha256_digest(indexed.manifest)}
    assert len([m for m in messages if "aux" in m]) == 1
