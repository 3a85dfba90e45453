"""Layers as blobs, and who holds these, in the database. Functions run on the database thread."""

import sqlite3
from collections.abc import Iterable, Sequence

from pinnace.contracts.layer_blobs import LayerBlob
from pinnace.oci.digest import Digest
from pinnace.state.db import Database

MAX_SOURCES = 32  # repositories remembered of one blob

_COLUMNS = "diff_id, digest, size, media_type"


class SqliteLayerBlobs:
    """Implements `contracts.layer_blobs.LayerBlobs`; its docstrings hold here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_layer(self, diff_id: Digest) -> Sequence[LayerBlob]:
        """See the contract."""
        return await self._database.read(lambda connection: blobs_of(connection, diff_id))

    async def by_digest(self, digest: Digest) -> LayerBlob | None:
        """See the contract."""
        return await self._database.read(lambda connection: find_blob(connection, digest))

    async def everything(self) -> Sequence[LayerBlob]:
        """See the contract."""
        return await self._database.read(all_blobs)

    async def remember(self, blob: LayerBlob, *, source: str | None = None) -> None:
        """See the contract."""
        await self._database.write(lambda connection: put_blob(connection, blob, source))

    async def sources(self, digest: Digest) -> Sequence[str]:
        """See the contract."""
        return await self._database.read(lambda connection: sources_of(connection, digest))

    async def forget(self, diff_ids: Iterable[Digest]) -> None:
        """See the contract."""
        gone = list(diff_ids)
        if gone:
            await self._database.write(lambda connection: drop_layers(connection, gone))


def blobs_of(connection: sqlite3.Connection, diff_id: Digest) -> list[LayerBlob]:
    """Return the blobs of a layer, the latest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM layer_blobs WHERE diff_id = ? ORDER BY seen DESC",  # noqa: S608
        (diff_id,),
    )
    return [LayerBlob(*row) for row in rows]


def find_blob(connection: sqlite3.Connection, digest: Digest) -> LayerBlob | None:
    """Return what is known of a blob."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM layer_blobs WHERE digest = ?",  # noqa: S608
        (digest,),
    ).fetchone()
    return None if row is None else LayerBlob(*row)


def all_blobs(connection: sqlite3.Connection) -> list[LayerBlob]:
    """Return every blob known."""
    return [
        LayerBlob(*row)
        for row in connection.execute(f"SELECT {_COLUMNS} FROM layer_blobs")  # noqa: S608
    ]


def put_blob(connection: sqlite3.Connection, blob: LayerBlob, source: str | None) -> None:
    """Store a blob, and that `source` holds it; both become the latest of their kind."""
    connection.execute(
        "INSERT INTO layer_blobs (digest, diff_id, size, media_type, seen)"
        " VALUES (?, ?, ?, ?, (SELECT coalesce(max(seen), 0) + 1 FROM layer_blobs))"
        " ON CONFLICT (digest) DO UPDATE SET diff_id = excluded.diff_id, size = excluded.size,"
        " media_type = excluded.media_type, seen = excluded.seen",
        (blob.digest, blob.diff_id, blob.size, blob.media_type),
    )
    if source is None:
        return
    connection.execute(
        "INSERT OR REPLACE INTO layer_blob_sources (digest, repository, seen)"
        " VALUES (?, ?, (SELECT coalesce(max(seen), 0) + 1 FROM layer_blob_sources"
        " WHERE digest = ?))",
        (blob.digest, source, blob.digest),
    )
    connection.execute(
        "DELETE FROM layer_blob_sources WHERE digest = ? AND repository NOT IN"
        " (SELECT repository FROM layer_blob_sources WHERE digest = ?"
        " ORDER BY seen DESC LIMIT ?)",
        (blob.digest, blob.digest, MAX_SOURCES),
    )


def sources_of(connection: sqlite3.Connection, digest: Digest) -> list[str]:
    """Return the repositories that held a blob, the latest first."""
    rows = connection.execute(
        "SELECT repository FROM layer_blob_sources WHERE digest = ? ORDER BY seen DESC", (digest,)
    )
    return [row[0] for row in rows]


def drop_layers(connection: sqlite3.Connection, diff_ids: Sequence[Digest]) -> None:
    """Forget the blobs of layers, with their sources."""
    connection.executemany(
        "DELETE FROM layer_blobs WHERE diff_id = ?", [(diff_id,) for diff_id in diff_ids]
    )
