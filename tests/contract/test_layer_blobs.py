"""What every implementation of `contracts.layer_blobs.LayerBlobs` promises."""

import pytest

from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.state.db import Database
from pinnace.state.layer_blobs import MAX_SOURCES, SqliteLayerBlobs
from pinnace.testing.layer_blobs import FakeLayerBlobs

GZIP, ZSTD = "application/vnd.oci.image.layer.v1.tar+gzip", "x.tar+zstd"


def digest(letter):
    return "sha256:" + letter * 64


def a_blob(letter="b", diff="d", **more):
    fields = {"size": 7, "media_type": GZIP, **more}
    return LayerBlob(digest(diff), digest(letter), **fields)


@pytest.fixture(params=["fake", "sqlite"])
def blobs(request, tmp_path):
    if request.param == "fake":
        yield FakeLayerBlobs()
        return
    database = Database.open(tmp_path / "state.db")
    yield SqliteLayerBlobs(database)
    database.close()


async def test_nothing_is_known_at_first(blobs):
    assert await blobs.of_layer(digest("d")) == []
    assert await blobs.by_digest(digest("b")) is None
    assert await blobs.sources(digest("b")) == []
    assert await blobs.everything() == []


async def test_a_blob_is_found_by_its_digest_and_by_its_layer(blobs):
    await blobs.remember(a_blob())
    assert await blobs.by_digest(digest("b")) == a_blob()
    assert await blobs.of_layer(digest("d")) == [a_blob()]
    assert await blobs.everything() == [a_blob()]
    assert await blobs.sources(digest("b")) == []


async def test_the_form_seen_last_comes_first(blobs):
    other = a_blob("c", media_type=ZSTD)
    await blobs.remember(a_blob())
    await blobs.remember(other)
    assert await blobs.of_layer(digest("d")) == [other, a_blob()]
    await blobs.remember(a_blob())
    assert await blobs.of_layer(digest("d")) == [a_blob(), other]


async def test_sources_are_kept_once_with_the_latest_first(blobs):
    for source in ("r.example/a", "r.example/b", "r.example/a"):
        await blobs.remember(a_blob(), source=source)
    await blobs.remember(a_blob())
    assert await blobs.sources(digest("b")) == ["r.example/a", "r.example/b"]


async def test_forgetting_a_layer_forgets_its_blobs_and_sources_and_no_others(blobs):
    await blobs.remember(a_blob(), source="r.example/a")
    await blobs.remember(a_blob("c", "e"), source="r.example/a")
    await blobs.forget([digest("d"), digest("f")])
    assert await blobs.everything() == [a_blob("c", "e")]
    assert await blobs.sources(digest("b")) == []
    await blobs.remember(a_blob())
    assert await blobs.sources(digest("b")) == []
    await blobs.forget([])


async def test_facts_outlive_the_daemon(tmp_path):
    database = Database.open(tmp_path / "state.db")
    await SqliteLayerBlobs(database).remember(a_blob(), source="r.example/a")
    database.close()
    database = Database.open(tmp_path / "state.db")
    try:
        again = SqliteLayerBlobs(database)
        assert await again.everything() == [a_blob()]
        assert await again.sources(digest("b")) == ["r.example/a"]
    finally:
        database.close()


async def test_the_sources_of_one_blob_are_bounded(tmp_path):
    database = Database.open(tmp_path / "state.db")
    try:
        blobs = SqliteLayerBlobs(database)
        for number in range(MAX_SOURCES + 5):
            await blobs.remember(a_blob(), source=f"r.example/{number}")
        found = await blobs.sources(digest("b"))
        assert len(found) == MAX_SOURCES
        assert found[0] == f"r.example/{MAX_SOURCES + 4}"
    finally:
        database.close()
