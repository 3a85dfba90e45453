"""Images and their references in the database. Functions run on the database thread."""

import sqlite3

import msgspec

from pinnace.contracts.image_store import ImageChange, ImageState
from pinnace.errors import ImageNotFound
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId
from pinnace.state.db import Database

_encode = msgspec.json.encode
_record = msgspec.json.Decoder(ImageRecord)


class SqliteImageStore:
    """Implements `contracts.image_store.ImageStore`; its docstrings hold here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> ImageState:
        """See the contract."""
        return await self._database.read(load_images)

    async def apply(self, change: ImageChange) -> None:
        """See the contract."""
        await self._database.write(lambda connection: apply_change(connection, change))

    async def config_bytes(self, image: ImageId) -> bytes:
        """See the contract."""
        return await self._database.read(lambda connection: read_config(connection, image))

    async def manifest_bytes(self, image: ImageId) -> bytes | None:
        """See the contract."""
        return await self._database.read(lambda connection: read_manifest(connection, image))


def load_images(connection: sqlite3.Connection) -> ImageState:
    """Return every image and reference."""
    images = {
        ImageId(image): _record.decode(record)
        for image, record in connection.execute("SELECT id, record FROM images")
    }
    tags: dict[str, ImageId] = {}
    digests: dict[str, ImageId] = {}
    rows = connection.execute("SELECT reference, digested, image FROM image_references")
    for reference, digested, image in rows:
        (digests if digested else tags)[reference] = ImageId(image)
    return ImageState(images, tags, digests)


def apply_change(connection: sqlite3.Connection, change: ImageChange) -> None:
    """Make a change; the caller's transaction makes it whole."""
    for image in change.put:
        connection.execute(
            "INSERT INTO images (id, record, config, manifest) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET"
            " record = excluded.record, manifest = coalesce(excluded.manifest, manifest)",
            (image.record.id, _encode(image.record), image.config, image.manifest),
        )
    connection.executemany(
        "UPDATE images SET record = ? WHERE id = ?",
        [(_encode(record), record.id) for record in change.update],
    )
    references = [(reference, 0, image) for reference, image in change.set_tags.items()]
    references += [(reference, 1, image) for reference, image in change.set_digests.items()]
    connection.executemany(
        "INSERT OR REPLACE INTO image_references (reference, digested, image) VALUES (?, ?, ?)",
        references,
    )
    connection.executemany(
        "DELETE FROM image_references WHERE reference = ?",
        [(reference,) for reference in (*change.drop_tags, *change.drop_digests)],
    )
    connection.executemany("DELETE FROM images WHERE id = ?", [(image,) for image in change.drop])


def read_config(connection: sqlite3.Connection, image: ImageId) -> bytes:
    """Return the exact bytes of an image's config.

    Raises:
        ImageNotFound: No such image.
    """
    row = connection.execute("SELECT config FROM images WHERE id = ?", (image,)).fetchone()
    if row is None:
        raise ImageNotFound(image)
    return bytes(row[0])


def read_manifest(connection: sqlite3.Connection, image: ImageId) -> bytes | None:
    """Return the exact bytes of the manifest an image came by, if any.

    Raises:
        ImageNotFound: No such image.
    """
    row = connection.execute("SELECT manifest FROM images WHERE id = ?", (image,)).fetchone()
    if row is None:
        raise ImageNotFound(image)
    return None if row[0] is None else bytes(row[0])
