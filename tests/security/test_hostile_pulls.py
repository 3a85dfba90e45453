"""Registries that send what no honest one would: classes 8, 9, 15 and 16, replayed as pulls.

The client of registries is passed by: what it checks as well is not seen here.
"""

import bz2
import contextlib
import copy
import io
import json
import lzma
import os
import random
import subprocess

import pytest
import zstandard
from tests.security.test_archives import ATTACKS, OUT, hostile
from tests.support.archives import file, folder, tar_of
from tests.support.pulls import PullHost, digest_of, gzip_layer, image_config

from pinnace.errors import InvalidParameter, PinnaceError
from pinnace.host.content.blobs import BlobContent
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.host.snapshots.tree import remove_tree
from pinnace.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
)
from pinnace.state.db import Database
from pinnace.state.images import SqliteImageStore
from pinnace.state.layer_blobs import SqliteLayerBlobs

pytestmark = pytest.mark.root

NAME = "r.example/hostile/app"
BASE = tar_of(folder("d", mode=0o700, uid=3), file("d/f", b"base"), file("top", b"top"))
PACKERS = [gzip_layer, bytes, lzma.compress, bz2.compress, zstandard.compress]
MANIFESTS = 120


@pytest.fixture
def outside(tmp_path):
    """Yield a directory that must stay as it is."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "canary").write_bytes(b"canary")
    (place / "canary").chmod(0o640)
    before = seen(place)
    yield place
    assert seen(place) == before


def seen(place):
    return {
        path.name: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in place.iterdir()
    }


@pytest.fixture
async def host(tmp_path):
    database = Database.open(tmp_path / "state.db")
    made = await PullHost(
        OverlaySnapshots(tmp_path / "overlay2"),
        BlobContent(tmp_path / "content"),
        SqliteImageStore(database),
        blobs=SqliteLayerBlobs(database),
    ).start()
    yield made
    made.close()
    database.close()


@pytest.fixture(autouse=True)
def shallow(tmp_path):
    """Remove what is too deep for pytest's own removal."""
    yield
    for name in ("overlay2", "store"):
        remove_tree(tmp_path / name)


@pytest.fixture
def shelf(host):
    return host.registries.shelves[NAME]


async def attempt(host, tag):
    """Pull; whatever fails fails as one of our errors."""
    try:
        await host.pull(NAME, tag)
    except PinnaceError:
        return False
    return True


async def check(host, tmp_path):
    """Check that what is in the store is whole, and that a sweep leaves nothing else."""
    layers = {
        layer.chain: layer.diff_id
        for image in host.catalog.images.values()
        for layer in image.layers
    }
    for chain, diff_id in layers.items():
        out = io.BytesIO()
        host.snapshots.export_layer(chain, None, out)
        assert digest_of(out.getvalue()) == diff_id
    await host.library.sweep(0)
    assert host.snapshots.staged_layers() == []
    assert host.content.unfinished() == []
    names = {path.name for path in (tmp_path / "overlay2/layers").iterdir()}
    assert names == {chain[7:] for chain in layers}
    for place in ("overlay2/tmp", "overlay2/staged", "content/incoming"):
        assert not any((tmp_path / place).iterdir())
    diff_ids = set(layers.values())
    assert {blob.diff_id for blob in await host.blobs.everything()} <= diff_ids
    for digest, size in host.content.digests():
        content = (tmp_path / "content/blobs/sha256" / digest[7:]).read_bytes()
        assert (digest_of(content), len(content)) == (digest, size)


def put(shelf, tag, document, kind=DOCKER_MANIFEST):
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    shelf.put_manifest(content, kind, tag)


def described(shelf, content, kind):
    return {"mediaType": kind, "digest": shelf.put_blob(content), "size": len(content)}


def an_image(shelf, tars, *, pack=gzip_layer, diff_ids=None):
    """Return the document of an honest manifest."""
    config = image_config(diff_ids or [digest_of(tar) for tar in tars])
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": described(shelf, config, DOCKER_CONFIG),
        "layers": [described(shelf, pack(tar), DOCKER_LAYER) for tar in tars],
    }


async def test_class_09_hostile_layers_out_of_order_stay_inside_or_leave_nothing(
    host, shelf, outside, tmp_path
):
    tars = {name: hostile(ATTACKS[name], outside) for name in ATTACKS}
    assert len(tars) >= 50
    works = []
    for number, (name, tar) in enumerate(tars.items()):
        pack = PACKERS[number % len(PACKERS)]
        put(shelf, str(number), an_image(shelf, [BASE, tar, BASE], pack=pack))
        if await attempt(host, str(number)):
            works.append(name)
    # Some are odd and yet what an image may hold.
    assert {"absolute name", "hard link to itself"} <= set(works)
    assert not any("dotdot name" in name or "sparse" in name for name in works)
    for name in list(host.catalog.tags)[::2]:
        await host.library.delete(name, force=True, prune=True)
    await check(host, tmp_path)


def mutations(rng, document):
    """Return a document with one to three things wrong."""
    changed = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(list(places(changed)))
        holder[key] = rng.choice(ODD)(rng, holder[key])
    return changed


def places(document):
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(items):
        yield document, key
        if isinstance(value, dict | list) and value:
            yield from places(value)


ODD = [
    lambda rng, old: None,
    lambda rng, old: -1,
    lambda rng, old: 1 << 63,
    lambda rng, old: (1 << 200) + 1,
    lambda rng, old: 1.5,
    lambda rng, old: "",
    lambda rng, old: [],
    lambda rng, old: {},
    lambda rng, old: [old] * 200,
    lambda rng, old: {"mediaType": old},
    lambda rng, old: "sha256:" + "0" * 64,
    lambda rng, old: "sha256:../../../../" + "0" * 40,
    lambda rng, old: f"sha512:{'0' * 128}",
    lambda rng, old: "../" * 20 + OUT,
    lambda rng, old: "\x00\ud800"[:1] + "x" * 1000,
    lambda rng, old: old + 1 if isinstance(old, int) else "application/json",
    lambda rng, old: str(old).upper(),
    lambda rng, old: {"a": [[[[]]]] * 50},
]


async def test_class_15_mutated_manifests_configs_and_indexes_do_no_harm(
    host, shelf, outside, tmp_path
):
    rng = random.Random(15)
    second = tar_of(file("second", b"2"))
    honest = an_image(shelf, [BASE, second])
    config = json.loads(image_config([digest_of(BASE), digest_of(second)]))
    put(shelf, "honest", honest)
    entry = {
        "mediaType": DOCKER_MANIFEST,
        "digest": shelf.tags["honest"],
        "size": len(json.dumps(honest)),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    index = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [entry]}
    for number in range(MANIFESTS):
        kind = rng.choice([DOCKER_MANIFEST] * 6 + [OCI_MANIFEST, OCI_INDEX, "text/html"])
        if number % 3 == 0:
            put(shelf, str(number), mutations(rng, honest), kind)
        elif number % 3 == 1:
            lying = copy.deepcopy(honest)
            content = json.dumps(mutations(rng, config)).encode()
            lying["config"] = described(shelf, content, DOCKER_CONFIG)
            put(shelf, str(number), lying)
        else:
            put(shelf, str(number), mutations(rng, index), rng.choice([DOCKER_LIST, OCI_INDEX]))
        await attempt(host, str(number))
    await check(host, tmp_path)
    assert await attempt(host, "honest")
    image = host.catalog.resolve(f"{NAME}:honest")
    assert image.id == honest["config"]["digest"]
    await check(host, tmp_path)


def two_meanings(shelf):
    """Yield documents that two readers take for different things, each with its media type."""
    honest = an_image(shelf, [BASE])
    text = json.dumps(honest)
    listing = {"manifests": [{**honest["config"], "mediaType": DOCKER_MANIFEST}]}
    yield {**honest, **listing}, DOCKER_MANIFEST
    yield {**honest, **listing, "mediaType": OCI_INDEX}, OCI_INDEX
    yield {**honest, "fsLayers": [], "history": []}, DOCKER_MANIFEST
    yield {**honest, "mediaType": OCI_MANIFEST}, DOCKER_MANIFEST
    yield {**honest, "mediaType": DOCKER_LIST}, DOCKER_MANIFEST
    yield text.replace('"layers"', '"layers": [], "layers"').encode(), DOCKER_MANIFEST
    yield text.replace('"layers"', '"Layers": [], "layers"').encode(), DOCKER_MANIFEST
    yield text.replace('"config"', '"config": {}, "config"').encode(), DOCKER_MANIFEST
    yield text.encode() + b"{}", DOCKER_MANIFEST
    yield b"\xef\xbb\xbf" + text.encode(), DOCKER_MANIFEST
    yield text.encode("utf-16"), DOCKER_MANIFEST
    yield b"[" * 100_000, DOCKER_MANIFEST
    yield {**honest, "schemaVersion": 1}, DOCKER_MANIFEST


async def test_class_15_documents_with_two_meanings_are_refused(host, shelf, outside, tmp_path):
    for number, (document, kind) in enumerate(two_meanings(shelf)):
        put(shelf, str(number), document, kind)
        with pytest.raises(InvalidParameter):
            await host.pull(NAME, str(number))
    assert host.catalog.images == {}
    await check(host, tmp_path)


def lies(shelf):
    """Yield manifests whose parts are not what they say."""
    other = shelf.put_blob(gzip_layer(tar_of(file("other"))))
    for field, value in (
        ("digest", other),
        ("digest", "sha256:" + "f" * 64),
        ("size", 1),
        ("size", 1 << 40),
        ("size", 0),
    ):
        document = an_image(shelf, [BASE])
        document["layers"][0][field] = value
        yield document
    document = an_image(shelf, [BASE])
    document["config"]["size"] += 1
    yield document
    document = an_image(shelf, [BASE])
    document["config"]["digest"] = other
    yield document
    yield an_image(shelf, [BASE], diff_ids=[digest_of(b"other")])
    yield an_image(shelf, [BASE, BASE], diff_ids=[digest_of(BASE)])
    yield an_image(shelf, [BASE], diff_ids=[digest_of(BASE)] * 2)
    document = an_image(shelf, [BASE])
    document["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+encrypted"
    yield document
    blob = shelf.put_blob(b"other bytes")
    shelf.blobs[blob] = b"not the bytes"
    document = an_image(shelf, [BASE])
    document["layers"][0] |= {"digest": blob, "size": len(b"not the bytes")}
    yield document


async def test_class_15_parts_that_are_not_what_they_say_are_refused(
    host, shelf, outside, tmp_path
):
    for number, document in enumerate(lies(shelf)):
        put(shelf, str(number), document)
        with pytest.raises(PinnaceError):
            await host.pull(NAME, str(number))
        assert host.catalog.images == {}
    await check(host, tmp_path)


async def test_class_15_an_entry_of_an_index_that_is_something_else_is_refused(
    host, shelf, tmp_path
):
    put(shelf, "honest", an_image(shelf, [BASE]))
    size = len(shelf.manifests[shelf.tags["honest"]].content)
    platform = {"os": "linux", "architecture": "amd64"}
    entry = {"digest": shelf.tags["honest"], "size": size, "platform": platform}
    for number, more in enumerate(
        (
            {"mediaType": OCI_MANIFEST},
            {"mediaType": OCI_INDEX},
            {"mediaType": DOCKER_MANIFEST, "size": size + 1},
            {"mediaType": DOCKER_MANIFEST, "digest": "sha256:" + "e" * 64},
        )
    ):
        index = {"schemaVersion": 2, "manifests": [{**entry, **more}]}
        put(shelf, str(number), index, OCI_INDEX)
        with pytest.raises(PinnaceError):
            await host.pull(NAME, str(number))
    assert host.catalog.images == {}
    await check(host, tmp_path)


async def test_class_16_digests_that_are_paths_are_refused_everywhere(
    host, shelf, outside, tmp_path
):
    bad = ["sha256:../../x", "sha256:" + "A" * 64, "md5:" + "0" * 32, f"sha256:{OUT}", "x", ""]
    for number, digest in enumerate(bad):
        for place in ("config", "layer", "index", "diff id"):
            tag = f"{place.replace(' ', '')}{number}"
            document = an_image(shelf, [BASE])
            if place == "config":
                document["config"]["digest"] = digest
            elif place == "layer":
                document["layers"][0]["digest"] = digest
            elif place == "diff id":
                document = an_image(shelf, [BASE], diff_ids=[digest])
            if place == "index":
                entry = {**document["config"], "mediaType": DOCKER_MANIFEST, "digest": digest}
                put(shelf, tag, {"schemaVersion": 2, "manifests": [entry]}, OCI_INDEX)
            else:
                put(shelf, tag, document)
            with pytest.raises(InvalidParameter):
                await host.pull(NAME, tag)
    assert host.catalog.images == {}
    await check(host, tmp_path)


async def test_class_08_no_program_is_run_while_pulling(host, shelf, tmp_path, monkeypatch):
    evil = tmp_path / "bin"
    evil.mkdir()
    for name in ("xz", "gzip", "unpigz", "zstd", "bzip2", "tar", "docker-untar"):
        (evil / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (evil / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{evil}:{os.environ['PATH']}")

    def refuse(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "posix_spawn", refuse)
    programs = tar_of(*(file(f"usr/bin/{path.name}", mode=0o755) for path in evil.iterdir()))
    for number, pack in enumerate(PACKERS):
        tars = [programs, tar_of(file(f"f{number}"))]
        put(shelf, str(number), an_image(shelf, tars, pack=pack))
        assert await attempt(host, str(number))
    assert not (tmp_path / "ran").exists()
    await check(host, tmp_path)


def test_class_09_a_layer_that_implies_directories_without_end_is_stopped(tmp_path):
    from pinnace.contracts.snapshots import UnpackLimits

    deep = [file("/".join(f"{n}{m}" for m in range(100)) + "/f") for n in range(30)]
    snapshots = OverlaySnapshots(tmp_path / "store", limits=UnpackLimits(max_entries=2000))
    with pytest.raises(InvalidParameter, match="more than 2000 entries"):
        snapshots.stage_layer(io.BytesIO(tar_of(*deep)))
    assert not any((tmp_path / "store/tmp").iterdir())
    assert not any((tmp_path / "store/staged").iterdir())


def test_class_09_adopting_beside_hostile_trees_touches_nothing_outside(tmp_path, outside):
    """A directory that a layer implies may be a link to the outside in the layers around it."""
    from tests.support.archives import symlink

    snapshots = OverlaySnapshots(tmp_path / "store")
    below, _ = snapshots.ingest_layer(
        None, io.BytesIO(tar_of(symlink("a", str(outside)), symlink("b", "../" * 12 + "tmp")))
    )
    tars = [
        tar_of(file("a/canary", b"owned", mode=0o777), file("b/x")),
        tar_of(file("a/x"), symlink("a", str(outside)), file("a/y")),
        tar_of(file("a/b/x"), symlink("a/b", str(outside))),
    ]
    mode = outside.stat()
    adopted = 0
    for tar in tars:
        with contextlib.suppress(InvalidParameter):
            diff_id = snapshots.stage_layer(io.BytesIO(tar)).diff_id
            snapshots.adopt_layer(below, diff_id)
            adopted += 1
    assert adopted
    after = outside.stat()
    assert (after.st_mode, after.st_uid) == (mode.st_mode, mode.st_uid)
