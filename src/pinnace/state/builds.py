"""The build cache in the database."""

import sqlite3
from collections.abc import Sequence

from pinnace.contracts.build_cache import CacheDirectory, CachedStep
from pinnace.model.record import ContainerId, ImageId
from pinnace.state.db import Database


class SqliteBuildCache:
    """Implements `contracts.build_cache.BuildCache`; its docstrings hold here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: str, used_ns: int) -> ImageId | None:
        """See the contract."""

        def use(connection: sqlite3.Connection) -> ImageId | None:
            row = connection.execute(
                "UPDATE build_steps SET used_ns = ?, uses = uses + 1 WHERE key = ?"
                " RETURNING image",
                (used_ns, key),
            ).fetchone()
            return None if row is None else ImageId(row[0])

        return await self._database.write(use)

    async def put(self, step: CachedStep) -> None:
        """See the contract."""
        row = (
            step.key,
            step.image,
            step.description,
            step.created_ns,
            step.used_ns,
            step.uses,
            step.image,
        )
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO build_steps SELECT ?, ?, ?, ?, ?, ?"
                " WHERE EXISTS (SELECT 1 FROM images WHERE id = ?)",
                row,
            )
        )

    async def steps(self) -> Sequence[CachedStep]:
        """See the contract."""
        columns = "key, image, description, created_ns, used_ns, uses"
        rows = await self._database.read(
            lambda connection: connection.execute(
                f"SELECT {columns} FROM build_steps ORDER BY created_ns"  # noqa: S608 - constant
            ).fetchall()
        )
        return [CachedStep(key, ImageId(image), *rest) for key, image, *rest in rows]

    async def forget(self, keys: Sequence[str]) -> None:
        """See the contract."""
        await self._database.write(
            lambda connection: connection.executemany(
                "DELETE FROM build_steps WHERE key = ?", [(key,) for key in keys]
            )
        )

    async def directories(self) -> Sequence[CacheDirectory]:
        """See the contract."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT id, number, created_ns, used_ns, uses FROM build_caches"
                " ORDER BY created_ns"
            ).fetchall()
        )
        return [CacheDirectory(*row) for row in rows]

    async def put_directory(self, directory: CacheDirectory) -> None:
        """See the contract."""
        row = (
            directory.id,
            directory.number,
            directory.created_ns,
            directory.used_ns,
            directory.uses,
        )
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO build_caches VALUES (?, ?, ?, ?, ?)", row
            )
        )

    async def forget_directory(self, id: str, number: int) -> None:  # noqa: A002 - the contract's
        """See the contract."""
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM build_caches WHERE id = ? AND number = ?", (id, number)
            )
        )

    async def add_container(self, container: ContainerId) -> None:
        """See the contract."""
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT OR IGNORE INTO build_containers VALUES (?)", (container,)
            )
        )

    async def forget_container(self, container: ContainerId) -> None:
        """See the contract."""
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM build_containers WHERE id = ?", (container,)
            )
        )

    async def containers(self) -> Sequence[ContainerId]:
        """See the contract."""
        rows = await self._database.read(
            lambda connection: connection.execute("SELECT id FROM build_containers").fetchall()
        )
        return [ContainerId(row[0]) for row in rows]
