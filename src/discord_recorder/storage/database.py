"""The database: one engine, its transactions, its migrations.

A transaction is a plain function that gets a connection; it runs as a whole in a thread, so the event loop waits once
for it, and a caller that is cancelled leaves a transaction that is either not begun or complete.

SQLite runs in WAL mode with `synchronous=FULL`: a committed row survives a power cut. Writes begin with `BEGIN
IMMEDIATE` and queue for one thread of this process first, so that only other processes are ever waited for by polling.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from discord_recorder.errors import DatabaseBusyError, DatabaseError, DatabaseTooNewError

P = ParamSpec("P")
T = TypeVar("T")

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BEGIN: Final = "discord_recorder_begin"

_WAL_PAUSE_SECONDS: Final = 0.01

_READERS: Final = 3
"""Reads that may go on at once; they never wait for a writer."""


class Database:
    """Transactions on one SQLite file; `open` migrates it, `close` frees it."""

    def __init__(self, file: Path, *, busy_seconds: float = 10.0) -> None:
        self.file = file
        self._busy_seconds = busy_seconds
        url = make_url("sqlite+pysqlite://").set(database=str(file))
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=1 + _READERS,
            max_overflow=0,
            hide_parameters=True,
            connect_args={"check_same_thread": False},  # a connection is of one thread at a time, not of one for good
        )
        self._engine = engine
        self._writing = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._readers = ThreadPoolExecutor(_READERS, "database reader")
        self._writer = ThreadPoolExecutor(1, "database writer")
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "begin", _begin)

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
            await self.write(_migrate, self.file)

    async def close(self) -> None:
        """Let the transactions that were asked for end, and close all connections."""
        await asyncio.to_thread(self._close)

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `query(tx, ...)` finds in one snapshot; never waits for a writer. The function runs in a thread."""
        return await self._run(self._readers, self._engine, _with(query, *args, **kwargs))

    async def write(self, change: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `change(tx, ...)` as one transaction: all of it is on disk afterwards, nothing of it when it raises.

        The function runs in a thread, writes one after the other in the order of the calls. A caller that is cancelled
        does not undo what has begun.

        Raises:
            DatabaseBusyError: another process held the write lock for too long.
            DatabaseError: the database cannot be written; the message says why.
        """
        return await self._run(self._writer, self._writing, _with(change, *args, **kwargs))

    async def revision(self) -> tuple[str | None, str | None]:
        """The migration the file is at, and the one this version makes."""
        return await self.read(_current), _scripts().get_current_head()

    async def _run(self, thread: Executor, engine: Engine, transaction: Callable[[Connection], T]) -> T:
        def run() -> T:
            with self._explained(), engine.connect() as connection, connection.begin():
                return transaction(connection)

        try:
            running = asyncio.get_running_loop().run_in_executor(thread, run)
        except RuntimeError as error:
            raise DatabaseError(f"{self.file} was closed with the recorder that used it; start a new one.") from error
        return await running

    def _close(self) -> None:
        self._readers.shutdown()
        self._writer.shutdown()
        self._engine.dispose()

    def _try_to_open(self) -> None:
        """Raise `DatabaseError` for a file that cannot be opened."""
        try:
            sqlite3.connect(self.file).close()
        except sqlite3.Error as error:
            raise DatabaseError(f"{self.file}: {error}") from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
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
        cursor.execute(f"PRAGMA busy_timeout = {round(self._busy_seconds * 1000)}")
        _use_wal(cursor, time.monotonic() + self._busy_seconds)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


def _use_wal(cursor: sqlite3.Cursor, until: float) -> None:
    """Change to WAL mode; SQLite does not wait by itself for another process that is just doing so."""
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= until:
                raise
            time.sleep(_WAL_PAUSE_SECONDS)
        else:
            return


def _with(
    work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> Callable[[Connection], T]:
    return lambda tx: work(tx, *args, **kwargs)


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
