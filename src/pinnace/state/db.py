"""The SQLite database: one writer thread, short transactions, numbered migrations."""

import asyncio
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Self, TypeVar

from pinnace.errors import Internal, Unavailable

T = TypeVar("T")

_MIGRATION = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


def migrations() -> list[tuple[int, str]]:
    """Return every migration as (number, SQL), in order; a test checks that there are no gaps."""
    return sorted(
        (int(match[1]), entry.read_text())
        for entry in resources.files("pinnace.state.migrations").iterdir()
        if (match := _MIGRATION.fullmatch(entry.name))
    )


def connect(path: Path) -> sqlite3.Connection:
    """Open the database with the settings every connection of ours has.

    WAL keeps readers and the writer apart; `synchronous=NORMAL` makes a commit survive a killed
    process, and a power cut at worst lose the last transactions, never corrupt
    (sqlite.org/pragma.html#pragma_synchronous).
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA busy_timeout=5000")
    return connection


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the schema up to date; return its version (`user_version`).

    Raises:
        Unavailable: The database was written by a newer Pinnace.
    """
    known = migrations()
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(known):
        raise Unavailable(
            f"the database has schema {version}, this Pinnace knows {len(known)}:"
            " it was written by a newer version"
        )
    for number, sql in known[version:]:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version={number};\nCOMMIT;"
        )
    return len(known)


class Database:
    """The daemon's database.

    Functions given to `write` and `read` take a connection, are synchronous and short; they run
    on the one database thread, in the order of the calls.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open (or create, mode 0600) and migrate the database at `path`.

        Raises:
            Unavailable: It cannot be opened, or is newer than this program.
        """
        try:
            path.touch(mode=0o600)
            connection = connect(path)
            migrate(connection)
        except (OSError, sqlite3.Error) as exc:
            raise Unavailable(f"cannot open the database {path}: {exc}") from exc
        return cls(connection)

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` in a transaction: committed when it returns, rolled back when it raises.

        Cancelled: the transaction is finished all the same; its result is lost.

        Raises:
            Internal: SQLite failed (disk full, I/O error); nothing was changed.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._transaction, fn)

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn`, which only reads, and return its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, fn, self._connection)

    def close(self) -> None:
        """Finish what is queued and close the database."""
        self._thread.shutdown(wait=True)
        self._connection.close()

    def _transaction(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = fn(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as exc:
            raise Internal(f"the database refused a write: {_reason(exc)}") from exc
        return result


def _reason(error: sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        return "no space left on device"
    return str(error)
