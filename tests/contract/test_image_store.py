"""What every implementation of `contracts.image_store.ImageStore` promises."""

import sqlite3

import pytest

from pinnace.contracts.image_store import ImageChange, ImageState, StoredImage
from pinnace.errors import ImageNotFound, Internal
from pinnace.model.image import ImageLayer, ImageRecord
from pinnace.model.record import ImageId
from pinnace.state.db import Database
from pinnace.state.images import SqliteImageStore
from pinnace.testing.image_store import FakeImageStore

A, B = ImageId("sha256:" + "a" * 64), ImageId("sha256:" + "b" * 64)
LAYER = ImageLayer(chain="sha256:" + "c" * 64, diff_id="sha256:" + "c" * 64, size=5)


def stored(image, manifest=None, **more):
    return StoredImage(ImageRecord(id=image, layers=[LAYER], **more), b"config", manifest)


@pytest.fixture(params=["fake", "sqlite"])
def store(request, tmp_path):
    if request.param == "fake":
        yield FakeImageStore()
        return
    database = Database.open(tmp_path / "state.db")
    yield SqliteImageStore(database)
    database.close()


async def test_an_empty_store_knows_nothing(store):
    assert await store.load() == ImageState()
    with pytest.raises(ImageNotFound):
        await store.config_bytes(A)
    with pytest.raises(ImageNotFound):
        await store.manifest_bytes(A)


async def test_what_was_put_is_there_with_its_exact_bytes(store):
    await store.apply(
        ImageChange(put=[stored(A, b"manifest")], set_tags={"x:1": A}, set_digests={"x@d": A})
    )
    state = await store.load()
    assert state.images == {A: stored(A).record}
    assert (state.tags, state.digests) == ({"x:1": A}, {"x@d": A})
    assert await store.config_bytes(A) == b"config"
    assert await store.manifest_bytes(A) == b"manifest"


async def test_putting_again_replaces_the_record_and_keeps_names_and_manifest(store):
    await store.apply(ImageChange(put=[stored(A, b"manifest")], set_tags={"x:1": A}))
    await store.apply(ImageChange(put=[stored(A, comment="new")]))
    state = await store.load()
    assert state.images[A].comment == "new"
    assert state.tags == {"x:1": A}
    assert await store.manifest_bytes(A) == b"manifest"


async def test_names_move_and_go(store):
    await store.apply(ImageChange(put=[stored(A), stored(B)], set_tags={"x:1": A, "y:1": A}))
    await store.apply(ImageChange(set_tags={"x:1": B}, drop_tags=["y:1"]))
    assert (await store.load()).tags == {"x:1": B}


async def test_a_dropped_image_takes_its_names_with_it(store):
    await store.apply(
        ImageChange(
            put=[stored(A), stored(B)], set_tags={"x:1": A, "y:1": B}, set_digests={"x@d": A}
        )
    )
    await store.apply(ImageChange(drop=[A]))
    state = await store.load()
    assert list(state.images) == [B]
    assert (state.tags, state.digests) == ({"y:1": B}, {})


async def test_an_updated_record_keeps_its_bytes(store):
    await store.apply(ImageChange(put=[stored(A)]))
    await store.apply(ImageChange(update=[stored(A, last_tag_ns=7).record]))
    assert (await store.load()).images[A].last_tag_ns == 7
    assert await store.config_bytes(A) == b"config"


async def test_a_change_that_fails_changes_nothing(tmp_path):
    database = Database.open(tmp_path / "state.db")
    store = SqliteImageStore(database)
    with pytest.raises((sqlite3.Error, Internal)):
        await store.apply(ImageChange(put=[stored(A)], set_tags={"x:1": B}))
    assert await store.load() == ImageState()
    database.close()
