"""The database: one engine, its transactions, its migrations.

SQLite runs in WAL mode with `synchronous=FULL`: a committed row survives a power cut. Writes begin with `BEGIN
IMMEDIATE` and queue on a lock of this process first, so that only other processes are ever waited for by polling.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from discord_recorder.errors import DatabaseBusyError, DatabaseError, DatabaseTooNewError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BEGIN: Final = "discord_recorder_begin"


class Database:
    """Transactions on one SQLite file; `open` migrates it, `close` frees it."""

    def __init__(self, file: Path, *, busy_seconds: float = 10.0) -> None:
        self.file = file
        self._busy_seconds = busy_seconds
        url = make_url("sqlite+aiosqlite://").set(database=str(file))
        engine = create_async_engine(
            url, poolclass=AsyncAdaptedQueuePool, pool_size=4, max_overflow=4, hide_parameters=True
        )
        self._engine = engine
        self._writing = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._write_lock = asyncio.Lock()
        event.listen(engine.sync_engine, "connect", self._prepare)
        event.listen(engine.sync_engine, "begin", _begin)
        event.listen(engine.sync_engine, "invalidate", _roll_back)

    async def open(self) -> None:
        """Make the file and bring its tables to this version; raises `DatabaseTooNewError`, `DatabaseError`."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The database folder {self.file.parent} cannot be made ({error.strerror}). "
                "Choose another data directory, or give this user the right to write there."
            ) from error
        await asyncio.to_thread(self._try_to_open)
        current, head = await self.revision()
        if current != head:
            async with self.write() as tx:
                await tx.run_sync(_migrate, self.file)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A snapshot to read from; never waits for a writer."""
        async with self._explained(), self._engine.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: all of it is on disk when the block ends, nothing of it after an exception.

        Raises `DatabaseBusyError` when another process holds the write lock for too long.
        """
        async with self._explained(), self._write_lock, self._writing.connect() as connection, connection.begin():
            yield connection

    async def revision(self) -> tuple[str | None, str | None]:
        """The migration the file is at, and the one this version makes."""
        async with self.read() as connection:
            return await connection.run_sync(_current), _scripts().get_current_head()

    def _try_to_open(self) -> None:
        """Raise `DatabaseError` for a file that cannot be opened; aiosqlite's thread would complain after its loop."""
        try:
            sqlite3.connect(self.file).close()
        except sqlite3.Error as error:
            raise DatabaseError(f"{self.file}: {error}") from error

    @asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        try:
            yield
        except OperationalError as error:
            if "locked" in str(error.orig):
                raise DatabaseBusyError(
                    f"{self.file} was locked by another program for more than {self._busy_seconds:g} s. Close the "
                    "program that holds it (a database browser, a backup), or raise database_busy_seconds."
                ) from error
            raise DatabaseError(f"{self.file}: {error.orig}") from error
        except DBAPIError as error:
            reason = str(error.orig)
            if "not a database" in reason or "malformed" in reason:
                raise DatabaseError(
                    f"{self.file} is not an SQLite database, or it is damaged ({reason}). "
                    "Move it away or restore it from a backup, or set another database_url."
                ) from error
            raise DatabaseError(f"{self.file}: {reason}") from error

    def _prepare(self, dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # transactions begin where `_begin` says, nowhere else
        cursor = dbapi_connection.cursor()
        for pragma in (
            f"busy_timeout = {round(self._busy_seconds * 1000)}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


def _roll_back(dbapi_connection: Any, _record: Any, _error: BaseException | None) -> None:
    """Free the locks of a transaction that was cancelled.

    SQLAlchemy only closes the connection then, and SQLite puts that off as long as a statement that has not ended is
    referred to, say by the traceback of the cancellation: the database would stay locked, for other processes as well.
    """
    with suppress(Exception):
        dbapi_connection.rollback()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS))


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _migrate(connection: Connection, file: Path) -> None:
    current, scripts = _current(connection), _scripts()
    if current == scripts.get_current_head():
        return
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise DatabaseTooNewError(
            f"{file} was written by a newer version of discord-recorder (schema {current}; this version knows up to "
            f"{scripts.get_current_head()}). Install that version again, or use another data directory."
        )
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
