"""Pulling images, with everything but blobs in memory."""

import asyncio
import io
import json
import re

import pytest
from tests.support.archives import file, tar_of
from tests.support.pulls import (
    PullHost,
    digest_of,
    gzip_layer,
    image_config,
    put_image,
    put_index,
    put_manifest,
)

from pinnace.engine.images.pull_plan import PullLimits, pull_reference
from pinnace.errors import InvalidParameter, NotFound, Unauthorized, Unavailable
from pinnace.host.content.blobs import BlobContent
from pinnace.oci.descriptor import DOCKER_MANIFEST, OCI_MANIFEST
from pinnace.testing.image_store import FakeImageStore
from pinnace.testing.snapshots import FakeSnapshots

NAME = "r.example/team/app"
LAYERS = [tar_of(file(f"f{number}", b"x" * 100 * number)) for number in range(4)]


def make(tmp_path, **settings):
    content = BlobContent(tmp_path / "content")
    return PullHost(FakeSnapshots(), content, FakeImageStore(), **settings)


@pytest.fixture
async def host(tmp_path):
    made = await make(tmp_path).start()
    yield made
    made.close()


@pytest.fixture
def shelf(host):
    return host.registries.shelves[NAME]


def statuses(messages):
    return [(message["status"], message.get("id")) for message in messages]


def labels(manifest):
    return [layer["digest"][7:19] for layer in json.loads(manifest.content)["layers"]]


async def test_a_pulled_image_has_its_names_its_bytes_and_its_event(host, shelf):
    manifest = put_image(shelf, "1", LAYERS)
    messages = await host.pull(NAME, "1")
    digest = manifest.descriptor.digest
    ids = labels(manifest)
    said = statuses(messages)
    assert said[0] == ("Pulling from team/app", "1")
    assert said[1:5] == [("Pulling fs layer", one) for one in ids]
    for one in ids:
        mine = [status for status, label in said if label == one]
        for word in ("Verifying Checksum", "Download complete", "Pull complete"):
            assert word in mine
    finished = [label for status, label in said if status == "Pull complete"]
    assert finished == ids
    assert said[-2:] == [
        (f"Digest: {digest}", None),
        (f"Status: Downloaded newer image for {NAME}:1", None),
    ]
    image = host.catalog.resolve(f"{NAME}:1")
    assert image.id == json.loads(manifest.content)["config"]["digest"]
    assert host.catalog.digests_of(image.id) == [f"{NAME}@{digest}"]
    assert await host.store.manifest_bytes(image.id) == manifest.content
    assert [layer.size for layer in image.layers] == [0, 100, 200, 300]
    assert host.events == [("image", "pull", f"{NAME}:1", {"name": NAME})]
    for layer, tar in zip(image.layers, LAYERS, strict=True):
        (blob,) = await host.blobs.of_layer(layer.diff_id)
        assert blob.digest == digest_of(gzip_layer(tar))
        assert await host.blobs.sources(blob.digest) == [NAME]
        assert host.content.size(blob.digest) == blob.size
    assert host.snapshots.staged_layers() == []


async def test_pulling_again_asks_only_what_the_tag_names(host, shelf):
    manifest = put_image(shelf, "1", LAYERS)
    await host.pull(NAME, "1")
    host.registries.asked.clear()
    messages = await host.pull(NAME, "1")
    assert statuses(messages) == [
        ("Pulling from team/app", "1"),
        (f"Digest: {manifest.descriptor.digest}", None),
        (f"Status: Image is up to date for {NAME}:1", None),
    ]
    assert [method for method, _, _ in host.registries.asked] == ["repository", "resolve"]


async def test_a_tag_that_moved_is_newer_and_brings_only_new_layers(host, shelf):
    put_image(shelf, "1", LAYERS[:2])
    await host.pull(NAME, "1")
    before = host.catalog.resolve(f"{NAME}:1")
    manifest = put_image(shelf, "1", LAYERS[:3])
    said = statuses(await host.pull(NAME, "1"))
    ids = labels(manifest)
    assert said[1:4] == [
        ("Already exists", ids[0]),
        ("Already exists", ids[1]),
        ("Pulling fs layer", ids[2]),
    ]
    assert said[-1][0] == f"Status: Downloaded newer image for {NAME}:1"
    assert host.catalog.resolve(f"{NAME}:1").id != before.id
    assert host.catalog.tags_of(before.id) == []


async def test_another_tag_of_an_image_that_is_here_downloads_nothing(host, shelf):
    put_image(shelf, "1", LAYERS)
    put_image(shelf, "2", LAYERS)
    await host.pull(NAME, "1")
    count = host.registries.count("blob")
    said = statuses(await host.pull(NAME, "2"))
    assert len(said) == 3
    assert said[-1][0] == f"Status: Downloaded newer image for {NAME}:2"
    assert host.registries.count("blob") == count


async def test_pulling_by_digest_names_the_digest_only(host, shelf):
    manifest = put_image(shelf, "1", LAYERS[:1])
    digest = manifest.descriptor.digest
    said = statuses(await host.pull(f"{NAME}@{digest}"))
    assert said[0] == ("Pulling from team/app", f"{NAME}@{digest}")
    assert said[-1][0] == f"Status: Downloaded newer image for {NAME}@{digest}"
    image = host.catalog.resolve(f"{NAME}@{digest}")
    assert host.catalog.tags_of(image.id) == []
    said = statuses(await host.pull(NAME, digest))
    assert said[-1][0] == f"Status: Image is up to date for {NAME}@{digest}"


async def test_all_tags_of_a_repository_are_pulled(host, shelf):
    put_image(shelf, "1", LAYERS[:1])
    put_image(shelf, "2", LAYERS[:2])
    said = statuses(await host.pull(NAME))
    assert ("Pulling from team/app", "1") in said
    assert ("Pulling from team/app", "2") in said
    assert said[-1][0] == f"Status: Downloaded newer image for {NAME}"
    assert sorted(host.catalog.tags) == [f"{NAME}:1", f"{NAME}:2"]
    assert [event[2] for event in host.events] == [NAME]


async def test_an_index_gives_the_image_of_the_platform_and_its_own_digest(host, shelf):
    ours = put_image(shelf, "a", LAYERS[:1])
    theirs = put_image(shelf, "b", LAYERS[:2], architecture="s390x")
    index = put_index(
        shelf, "1", {"linux/s390x": theirs, "unknown/unknown": ours, "linux/amd64": ours}
    )
    await host.pull(NAME, "1")
    image = host.catalog.resolve(f"{NAME}:1")
    digest = index.descriptor.digest
    assert image.architecture == "amd64"
    assert host.catalog.digests_of(image.id) == [f"{NAME}@{digest}"]
    with host.content.open(digest) as kept:
        assert kept.read() == index.content
    await host.pull(NAME, "1", platform="linux/s390x")
    assert host.catalog.resolve(f"{NAME}:1").architecture == "s390x"
    await host.pull(NAME, "1")
    assert host.catalog.resolve(f"{NAME}:1").id == image.id


async def test_an_index_without_the_platform_says_so(host, shelf):
    index = {"linux/s390x": put_image(shelf, "b", LAYERS[:1], architecture="s390x")}
    put_index(shelf, "1", index)
    messages = []
    text = "no matching manifest for linux/arm64/v8 in the manifest list entries"
    with pytest.raises(NotFound, match=text):
        await host.pull(NAME, "1", platform="linux/arm64/v8", messages=messages)
    assert statuses(messages) == [("Pulling from team/app", "1")]


@pytest.mark.parametrize(
    ("entries", "wanted", "found"),
    [
        (["linux/arm/v6", "linux/arm/v7", "linux/arm/v5"], "linux/arm/v7", "v7"),
        (["linux/arm/v6", "linux/arm/v5"], "linux/arm/v7", "v6"),
        (["linux/arm64/v8"], "linux/arm64", "v8"),
        (["linux/arm64"], "linux/arm64/v8", ""),
        ([""], "linux/arm64", ""),
    ],
)
async def test_the_best_variant_is_taken(host, shelf, entries, wanted, found):
    index = {}
    for number, platform in enumerate(entries):
        variant = platform.split("/")[2] if platform.count("/") == 2 else ""
        index[platform] = put_image(
            shelf, str(number), LAYERS[: number + 1], architecture="any", variant=variant
        )
    put_index(shelf, "x", index)
    await host.pull(NAME, "x", platform=wanted)
    assert host.catalog.resolve(f"{NAME}:x").variant == found


async def test_a_layer_that_is_twice_in_an_image_comes_once(host, shelf):
    put_image(shelf, "1", [LAYERS[1], LAYERS[2], LAYERS[1]])
    await host.pull(NAME, "1")
    image = host.catalog.resolve(f"{NAME}:1")
    assert [layer.size for layer in image.layers] == [100, 200, 100]
    assert len({layer.chain for layer in image.layers}) == 3
    blobs = [what for method, _, what in host.registries.asked if method == "blob"]
    assert len(blobs) == len(set(blobs)) == 3


@pytest.mark.parametrize(
    ("keep", "said"), [(True, "Download complete"), (False, "Already exists")]
)
async def test_a_layer_that_is_here_on_another_stack_is_not_downloaded(tmp_path, keep, said):
    host = await make(tmp_path, keep_blobs=keep).start()
    try:
        shelf = host.registries.shelves[NAME]
        put_image(shelf, "1", LAYERS[:2])
        await host.pull(NAME, "1")
        manifest = put_image(shelf, "2", [LAYERS[1], LAYERS[3]])
        count = host.registries.count("blob")
        messages = statuses(await host.pull(NAME, "2"))
        assert (said, labels(manifest)[0]) in messages
        assert host.registries.count("blob") == count + 2  # the config and one layer
    finally:
        host.close()


async def test_an_image_without_layers_and_one_of_empty_layers_are_images(host, shelf):
    put_image(shelf, "none", [])
    await host.pull(NAME, "none")
    assert host.catalog.resolve(f"{NAME}:none").layers == []
    empty = tar_of()
    put_image(shelf, "empty", [LAYERS[1], empty, empty, LAYERS[2], empty])
    await host.pull(NAME, "empty")
    sizes = [layer.size for layer in host.catalog.resolve(f"{NAME}:empty").layers]
    assert sizes == [100, 0, 0, 200, 0]


async def test_several_clients_share_every_download(host, shelf):
    put_image(shelf, "1", LAYERS)
    host.registries.gate.clear()
    pulls = [asyncio.create_task(host.pull(NAME, "1")) for _ in range(8)]
    while host.registries.count("manifest") < 8:
        await asyncio.sleep(0)
    host.registries.gate.set()
    for messages in await asyncio.gather(*pulls):
        assert statuses(messages)[-1][0].startswith("Status: ")
    blobs = [what for method, _, what in host.registries.asked if method == "blob"]
    assert len(blobs) == len(set(blobs)) == 5


async def test_images_that_share_layers_share_their_downloads(host, shelf):
    put_image(shelf, "1", LAYERS[:3])
    put_image(shelf, "2", [*LAYERS[:2], LAYERS[3]])
    host.registries.gate.clear()
    pulls = [asyncio.create_task(host.pull(NAME, tag)) for tag in ("1", "2")]
    await until(lambda: host.registries.count("manifest") == 2)
    host.registries.gate.set()
    await asyncio.gather(*pulls)
    blobs = [what for method, _, what in host.registries.asked if method == "blob"]
    assert len(blobs) == len(set(blobs)) == 2 + 4  # two configs, four layers
    assert host.catalog.resolve(f"{NAME}:1") != host.catalog.resolve(f"{NAME}:2")


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_download_stops_when_the_last_client_leaves_and_not_before(host, shelf):
    put_image(shelf, "1", LAYERS[:1])
    host.registries.gate.clear()
    first, second = (asyncio.create_task(host.pull(NAME, "1")) for _ in range(2))
    await until(lambda: host.registries.count("manifest") == 2)
    await until(lambda: host.registries.count("blob") == 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    host.registries.gate.set()
    await second
    assert host.registries.count("blob") == 2

    put_image(shelf, "2", LAYERS[3:])
    host.registries.gate.clear()
    alone = asyncio.create_task(host.pull(NAME, "2"))
    await until(lambda: host.registries.count("blob") == 3)
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
    assert [task for task in asyncio.all_tasks() if "shared" in task.get_name()] == []
    host.registries.gate.set()
    await host.pull(NAME, "2")


async def test_who_joins_a_download_that_fails_tries_with_its_own_credentials(host, shelf):
    put_image(shelf, "1", LAYERS[:1])
    host.registries.fail_next("blob", Unauthorized("unauthorized: no"))
    pulls = [asyncio.create_task(host.pull(NAME, "1")) for _ in range(2)]
    results = await asyncio.gather(*pulls, return_exceptions=True)
    assert [isinstance(result, Unauthorized) for result in results].count(True) == 1
    assert host.catalog.resolve(f"{NAME}:1")


async def test_a_failed_pull_shows_nothing_and_the_next_goes_on_with_what_came(host, shelf):
    put_image(shelf, "1", LAYERS)
    gone = digest_of(gzip_layer(LAYERS[2]))
    content = shelf.blobs.pop(gone)
    with pytest.raises(NotFound):
        await host.pull(NAME, "1")
    assert host.catalog.images == {}
    assert host.catalog.tags == {}
    shelf.blobs[gone] = content
    staged = {layer.diff_id for layer in host.snapshots.staged_layers()}
    host.registries.asked.clear()
    await host.pull(NAME, "1")
    fetched = {what for method, _, what in host.registries.asked if method == "blob"}
    assert gone in fetched
    for tar in LAYERS:
        assert digest_of(tar) not in staged or digest_of(gzip_layer(tar)) not in fetched


async def test_a_blob_with_another_digest_is_refused_and_not_kept(host, shelf):
    put_image(shelf, "1", LAYERS[:1])
    blob = digest_of(gzip_layer(LAYERS[0]))
    shelf.blobs[blob] = gzip_layer(LAYERS[1])[: len(shelf.blobs[blob])]
    with pytest.raises(InvalidParameter):
        await host.pull(NAME, "1")
    assert host.content.unfinished() == []
    assert host.snapshots.staged_layers() == []
    assert await host.blobs.everything() == []
    shelf.blobs[blob] = gzip_layer(LAYERS[0])
    await host.pull(NAME, "1")


async def test_what_an_earlier_attempt_kept_wrongly_is_fetched_again(host, shelf):
    put_image(shelf, "1", LAYERS[:1])
    blob = digest_of(gzip_layer(LAYERS[0]))
    partial = host.content.receive(blob)
    partial.write(b"\x1f\x8brubbish")
    partial.close()
    await host.pull(NAME, "1")
    assert host.content.size(blob) == len(gzip_layer(LAYERS[0]))


async def test_a_download_goes_on_behind_what_is_there(host, shelf):
    put_image(shelf, "1", LAYERS[:1])
    blob = digest_of(gzip_layer(LAYERS[0]))
    for size in (10, len(gzip_layer(LAYERS[0]))):
        partial = host.content.receive(blob)
        partial.write(gzip_layer(LAYERS[0])[partial.size : size])
        partial.close()
    await host.pull(NAME, "1")
    blobs = [what for method, _, what in host.registries.asked if method == "blob"]
    assert blob not in blobs
    assert host.content.unfinished() == []


async def test_a_kept_blob_that_is_damaged_is_downloaded_again(host, shelf, tmp_path):
    put_image(shelf, "1", LAYERS[:1])
    blob = digest_of(gzip_layer(LAYERS[0]))
    (tmp_path / "content/blobs/sha256" / blob[7:]).write_bytes(b"short")
    await host.pull(NAME, "1")
    assert host.content.size(blob) == len(gzip_layer(LAYERS[0]))


async def test_without_keeping_blobs_nothing_compressed_is_written(tmp_path):
    host = await make(tmp_path, keep_blobs=False).start()
    try:
        put_image(host.registries.shelves[NAME], "1", LAYERS)
        await host.pull(NAME, "1")
        assert list(host.content.digests()) == []
        assert len(await host.blobs.everything()) == 4
    finally:
        host.close()


async def test_layers_that_are_not_those_of_the_config_are_refused(host, shelf):
    put_image(shelf, "1", LAYERS[:1], diff_ids=["sha256:" + "0" * 64])
    put_image(shelf, "2", LAYERS[:2], diff_ids=[digest_of(LAYERS[0])])
    for tag in ("1", "2"):
        text = "layers from manifest don't match image configuration"
        with pytest.raises(InvalidParameter, match=text):
            await host.pull(NAME, tag)
    assert host.catalog.images == {}
    assert host.snapshots.staged_layers() == []


async def test_documents_that_are_no_image_are_refused_in_dockers_words(host, shelf):
    helm = "application/vnd.cncf.helm.config.v1+json"
    empty = {"digest": shelf.put_blob(b"{}"), "size": 2, "mediaType": helm}
    document = {"schemaVersion": 2, "config": empty, "layers": []}
    put_manifest(shelf, "helm", document, OCI_MANIFEST)
    schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    put_manifest(shelf, "old", {"schemaVersion": 1}, schema1)
    put_manifest(shelf, "text", "x", "text/plain")
    put_manifest(shelf, "broken", "y", DOCKER_MANIFEST)
    put_image(shelf, "windows", LAYERS[:1], os="windows")
    for tag, text in {
        "helm": f"unsupported media type {helm}",
        "old": "DEPRECATION NOTICE",
        "text": "unsupported media type text/plain",
        "broken": "invalid manifest",
        "windows": 'operating system "windows" cannot be used on this platform',
    }.items():
        with pytest.raises(InvalidParameter, match=re.escape(text)):
            await host.pull(NAME, tag)
    assert host.catalog.images == {}


async def test_an_image_over_a_limit_is_refused(tmp_path):
    limits = PullLimits(manifest_bytes=1500, layers=3)
    host = await make(tmp_path, limits=limits).start()
    try:
        shelf = host.registries.shelves[NAME]
        put_image(shelf, "deep", LAYERS)
        put_image(shelf, "large", LAYERS[:1], manifest_more={"annotations": {"a": "x" * 1500}})
        put_image(shelf, "config", LAYERS[:1], comment="x" * 1500)
        for tag, text in {
            "deep": "max depth exceeded",
            "large": "manifest is larger than 1500 bytes",
            "config": "image config is larger than 1500 bytes",
        }.items():
            with pytest.raises(InvalidParameter, match=text):
                await host.pull(NAME, tag)
    finally:
        host.close()


async def test_an_index_of_indexes_without_end_is_refused(host, shelf):
    inner = put_image(shelf, "1", LAYERS[:1])
    for _ in range(4):
        inner = put_index(shelf, "x", {"linux/amd64": inner})
    with pytest.raises(InvalidParameter, match="nested"):
        await host.pull(NAME, "x")


async def test_what_does_not_exist_fails_before_the_first_message(host):
    messages = []
    with pytest.raises(NotFound, match="manifest unknown"):
        await host.pull(NAME, "1", messages=messages)
    assert messages == []
    host.registries.fail_next("manifest", Unavailable("no route"))
    with pytest.raises(Unavailable):
        await host.pull(NAME, "1", messages=messages)
    assert messages == []


async def test_an_image_deleted_between_question_and_answer_is_pulled_again(host, shelf):
    put_image(shelf, "1", LAYERS[:2])
    await host.pull(NAME, "1")
    apply_to = host.library.apply_to

    async def after_a_delete(image, change):
        await host.library.delete(f"{NAME}:1", force=False, prune=True)
        return await apply_to(image, change)

    host.library.apply_to = after_a_delete
    await host.pull(NAME, "1")
    assert host.catalog.resolve(f"{NAME}:1").size == 100


@pytest.mark.parametrize(
    ("name", "tag", "meant"),
    [
        ("busybox", "", "docker.io/library/busybox"),
        ("busybox:", "", "docker.io/library/busybox"),
        ("busybox:1", "", "docker.io/library/busybox:1"),
        ("busybox:1", "2", "docker.io/library/busybox:2"),
        ("r.io/a", "sha256:" + "0" * 64, "r.io/a@sha256:" + "0" * 64),
        ("r.io/a:1@sha256:" + "0" * 64, "", "r.io/a:1@sha256:" + "0" * 64),
    ],
)
def test_name_and_tag_are_read_as_docker_reads_them(name, tag, meant):
    assert pull_reference(name, tag).normalized() == meant


@pytest.mark.parametrize(("name", "tag"), [("UPPER", "1"), ("a", "b:d"), ("", "1"), ("a b", "")])
def test_what_cannot_be_a_reference_is_refused(name, tag):
    with pytest.raises(InvalidParameter):
        pull_reference(name, tag)


async def test_the_same_config_with_other_blobs_is_the_same_image(host, shelf):
    put_image(shelf, "1", LAYERS[:1])
    await host.pull(NAME, "1")
    image = host.catalog.resolve(f"{NAME}:1")
    config = image_config([digest_of(LAYERS[0])])
    assert digest_of(config) == image.id
    again = put_image(shelf, "2", LAYERS[:1], manifest_more={"annotations": {"a": "b"}})
    await host.pull(NAME, "2")
    assert host.catalog.resolve(f"{NAME}:2").id == image.id
    assert f"{NAME}@{again.descriptor.digest}" in host.catalog.digests_of(image.id)


async def test_blobs_and_indexes_go_with_the_last_image_that_needs_them(host, shelf):
    first = put_image(shelf, "a", LAYERS[:2])
    put_index(shelf, "1", {"linux/amd64": first})
    put_image(shelf, "2", LAYERS[:1])
    await host.pull(NAME, "1")
    await host.pull(NAME, "2")
    deleted = await host.library.delete(f"{NAME}:1", force=False, prune=True)
    shared = digest_of(gzip_layer(LAYERS[0]))
    assert [digest for digest, _ in host.content.digests()] == [shared]
    assert [blob.digest for blob in await host.blobs.everything()] == [shared]
    assert deleted.reclaimed > len(gzip_layer(LAYERS[1]))
    await host.library.delete(f"{NAME}:2", force=False, prune=True)
    assert list(host.content.digests()) == []
    assert await host.blobs.everything() == []


async def test_a_sweep_removes_what_nothing_needs_and_nothing_else(host, shelf):
    put_index(shelf, "1", {"linux/amd64": put_image(shelf, "a", LAYERS[:2])})
    await host.pull(NAME, "1")
    before = sorted(host.content.digests())
    host.content.ingest(io.BytesIO(b"orphan"))
    held, _ = host.content.ingest(io.BytesIO(b"held"))
    host.snapshots.stage_layer(io.BytesIO(LAYERS[2]))
    partial = host.content.receive("sha256:" + "1" * 64)
    partial.write(b"12345")
    partial.close()
    usage = await host.library.blob_usage()
    assert usage.kept == sum(size for _, size in before)
    assert usage.unfinished == len(b"orphan" + b"held" + b"12345") + 200
    with host.library.leases.hold([held]):
        assert await host.library.sweep() == len(b"orphan") + 200
        assert sorted(host.content.digests()) == sorted([*before, (held, 4)])
        assert len(host.content.unfinished()) == 1
        assert host.snapshots.staged_layers() == []
    assert await host.library.sweep(0) == len(b"held" + b"12345")
    assert host.content.unfinished() == []
    assert sorted(host.content.digests()) == before
    await host.pull(NAME, "1")


async def test_a_sweep_beside_a_pull_takes_nothing_of_it(host, shelf):
    put_image(shelf, "1", LAYERS)
    host.registries.gate.clear()
    pulling = asyncio.create_task(host.pull(NAME, "1"))
    await until(lambda: host.registries.count("blob") >= 1)
    host.registries.gate.set()
    while not pulling.done():
        await host.library.sweep(0)
    await pulling
    await host.library.sweep(0)
    image = host.catalog.resolve(f"{NAME}:1")
    for layer in image.layers:
        (blob,) = await host.blobs.of_layer(layer.diff_id)
        assert host.content.size(blob.digest) == blob.size


async def test_a_staged_layer_whose_blob_nobody_remembers_gets_it_remembered(host, shelf):
    put_image(shelf, "1", LAYERS[:1])
    host.snapshots.stage_layer(io.BytesIO(gzip_layer(LAYERS[0])))
    await host.pull(NAME, "1")
    (blob,) = await host.blobs.of_layer(digest_of(LAYERS[0]))
    assert await host.blobs.sources(blob.digest) == [NAME]
