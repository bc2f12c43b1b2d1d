import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

import discord_recorder.storage
from discord_recorder import DatabaseBusyError, DatabaseError, DatabaseTooNewError, UserError
from discord_recorder.ids import MeetingId
from discord_recorder.storage import chunks, meetings, recordings
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import RecordingStatus, TranscodeStatus
from discord_recorder.storage.tables import metadata
from tests.support.rows import STARTED_AT, a_meeting

MIGRATIONS = Path(discord_recorder.storage.__file__).with_name("migrations")
REVISIONS = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]

MEETING_COLUMNS = "(id, channel_id, guild_id, user_id, title, status, owner, started_at)"
ROWS_OF = {
    "0001": [
        f"INSERT INTO meetings {MEETING_COLUMNS} VALUES "
        "('0123456789abcdef', '55', '66', '1001', 'Stand-up', 'completed', NULL, '2026-03-01 12:00:00.123456')",
        "INSERT INTO speakers VALUES ('0123456789abcdef', '1001', 'Ada')",
        "INSERT INTO temp_recordings (meeting_id, track, start_sample, sample_count, preroll_samples, source_key,"
        " mp3_key, transcode_status, attempts, error, created_at) VALUES ('0123456789abcdef', '1001', 480000, 480000,"
        " 24000, 'a/b/c.pcm', 'a/b/c.mp3', 'failed', 3, 'no', '2026-03-01 12:00:20.000000')",
        "INSERT INTO recordings (id, meeting_id, channel_id, status, recovered, started_at, ended_at) VALUES (7,"
        " '0123456789abcdef', '55', 'incomplete', 0, '2026-03-01 12:00:00.123456', '2026-03-01 13:00:00.000000')",
        "INSERT INTO recording_tracks (recording_id, track, kind, name, key, samples, size_bytes, sha256) VALUES"
        " (7, '1001', 'speaker', 'Ada', '0123456789abcdef/1001.mp3', 960000, 4711, 'aa')",
    ],
}
"""For each released revision, rows as that release wrote them; they have to be readable for ever."""


def migrate(file: Path, revision: str) -> None:
    """Bring a file to a revision, as the release of that revision did."""
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def execute(file: Path, *statements: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection, connection:
        return [connection.execute(statement).fetchall() for statement in statements]


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


class TestMigrations:
    async def test_a_fresh_database_is_what_the_queries_expect(self, database: Database) -> None:
        async with database.read() as tx:
            assert await tx.run_sync(differences) == []
        current, head = await database.revision()
        assert current == head == REVISIONS[0]

    def test_every_release_has_rows_to_test_with(self) -> None:
        assert set(ROWS_OF) == set(REVISIONS)

    @pytest.mark.parametrize("revision", REVISIONS)
    async def test_up_from_every_release(self, tmp_path: Path, revision: str) -> None:
        file = tmp_path / "old.sqlite3"
        migrate(file, revision)
        execute(file, *ROWS_OF[revision])
        database = Database(file)
        await database.open()
        async with database.read() as tx:
            assert await tx.run_sync(differences) == []
            meeting_id = MeetingId("0123456789abcdef")
            meeting = await meetings.get(tx, meeting_id)
            names = await meetings.speaker_names(tx, meeting_id)
            (chunk,) = await chunks.of_meeting(tx, meeting_id)
            (recording,) = await recordings.find(tx)
        await database.close()
        assert meeting is not None
        assert (meeting.title, meeting.started_at) == ("Stand-up", STARTED_AT)
        assert list(names.values()) == ["Ada"]
        assert (chunk.transcode_status, chunk.attempts, chunk.end_sample) == (TranscodeStatus.FAILED, 3, 960_000)
        assert (recording.status, recording.tracks[0].size_bytes) == (RecordingStatus.INCOMPLETE, 4711)

    async def test_opening_again_changes_nothing(self, database: Database) -> None:
        async with database.write() as tx:
            await meetings.add(tx, a_meeting())
        await database.open()
        async with database.read() as tx:
            assert await meetings.get(tx, a_meeting().id) == a_meeting()

    async def test_a_newer_database_is_left_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "new.sqlite3"
        migrate(file, "head")
        execute(file, "UPDATE alembic_version SET version_num = '9999'", "CREATE TABLE future (x)")
        database = Database(file)
        with pytest.raises(DatabaseTooNewError, match=r"newer version of discord-recorder \(schema 9999") as caught:
            await database.open()
        await database.close()
        assert isinstance(caught.value, UserError)
        assert "Install that version again" in str(caught.value)
        assert execute(file, "SELECT version_num FROM alembic_version") == [[("9999",)]]

    async def test_a_failed_migration_leaves_nothing(self, tmp_path: Path) -> None:
        file = tmp_path / "odd.sqlite3"
        execute(file, "CREATE TABLE recording_tracks (x)")  # the last table that the first migration makes
        database = Database(file)
        with pytest.raises(DatabaseError):
            await database.open()
        await database.close()
        (tables,) = execute(file, "SELECT name FROM sqlite_master WHERE type = 'table'")
        assert tables == [("recording_tracks",)]

    async def test_many_open_a_new_file_at_once(self, tmp_path: Path) -> None:
        for round_number in range(5):
            databases = [Database(tmp_path / f"{round_number}.sqlite3") for _ in range(8)]
            await asyncio.gather(*(database.open() for database in databases))
            for database in databases:
                await database.close()


class TestFile:
    async def test_it_is_made_with_its_folders(self, tmp_path: Path) -> None:
        file = tmp_path / "new/folder/with ü %20 # ?/recorder.sqlite3"
        database = Database(file)
        await database.open()
        await database.close()
        assert execute(file, "SELECT count(*) FROM meetings") == [[(0,)]]

    async def test_committed_rows_survive_a_power_cut(self, database: Database) -> None:
        async with database.write() as tx:
            pragmas = [(await tx.execute(text(f"PRAGMA {name}"))).scalar() for name in ("journal_mode", "synchronous")]
        assert pragmas == ["wal", 2]

    async def test_no_folder_can_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DatabaseError, match=r"cannot be made .*Choose another data directory"):
            await Database(tmp_path / "file" / "recorder.sqlite3").open()

    @pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
    async def test_something_else_is_there(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "recorder.sqlite3"
        file.write_bytes(content)
        database = Database(file)
        with pytest.raises(DatabaseError, match=r"recorder\.sqlite3"):
            await database.open()
        await database.close()
        assert file.read_bytes() == content

    async def test_a_folder_is_there(self, tmp_path: Path) -> None:
        database = Database(tmp_path)
        with pytest.raises(DatabaseError, match="unable to open"):
            await database.open()
        await database.close()


class TestTransactions:
    async def test_all_of_it_or_nothing(self, database: Database) -> None:
        async def fail_in_the_middle() -> None:
            async with database.write() as tx:
                await meetings.add(tx, a_meeting())
                raise RuntimeError("in the middle")

        with pytest.raises(RuntimeError, match="in the middle"):
            await fail_in_the_middle()
        async with database.read() as tx:
            assert await meetings.get(tx, a_meeting().id) is None

    async def test_a_reader_sees_a_snapshot_and_does_not_wait(
        self, database: Database, same_database: Database
    ) -> None:
        async with database.read() as before:
            assert await meetings.get(before, a_meeting().id) is None
            async with same_database.write() as tx:
                await meetings.add(tx, a_meeting())
                async with database.read() as during:
                    assert await meetings.get(during, a_meeting().id) is None
            assert await meetings.get(before, a_meeting().id) is None
        async with database.read() as after:
            assert await meetings.get(after, a_meeting().id) == a_meeting()

    async def test_writers_take_turns(self, database: Database, same_database: Database) -> None:
        async with database.write() as tx:
            await meetings.add(tx, a_meeting())

        async def count(where: Database) -> None:
            for _ in range(20):
                async with where.write() as tx:
                    meeting = await meetings.get(tx, a_meeting().id)
                    assert meeting is not None
                    await asyncio.sleep(0)
                    await meetings.change(tx, meeting.id, paused_dropped_bytes=meeting.paused_dropped_bytes + 1)

        await asyncio.gather(*(count(where) for where in (database, same_database, database, same_database)))
        async with database.read() as tx:
            meeting = await meetings.get(tx, a_meeting().id)
        assert meeting is not None
        assert meeting.paused_dropped_bytes == 80

    async def test_locked_by_another_program(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "recorder.sqlite3", busy_seconds=0.05)
        await database.open()
        with closing(sqlite3.connect(database.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseBusyError, match=r"more than 0\.05 s\. Close the program"):
                async with database.write():
                    pytest.fail("it was not locked")
            async with database.read() as tx:
                assert await meetings.find(tx) == []
        async with database.write() as tx:
            assert await meetings.add(tx, a_meeting())
        await database.close()

    async def test_a_cancelled_writer_frees_the_lock(self, database: Database, same_database: Database) -> None:
        entered = asyncio.Event()

        async def write_for_ever() -> None:
            async with database.write() as tx:
                await meetings.add(tx, a_meeting())
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(write_for_ever())
        await entered.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with same_database.write() as tx:
            assert await meetings.get(tx, a_meeting().id) is None

    async def test_cancelled_anywhere(self, database: Database, same_database: Database) -> None:
        """However many turns of the event loop a transaction gets, nobody is locked out afterwards."""

        async def write() -> None:
            async with database.write() as tx:
                await meetings.add(tx, a_meeting())
                await meetings.remove(tx, a_meeting().id)

        for turns in range(40):
            task = asyncio.create_task(write())
            for _ in range(turns):
                await asyncio.sleep(0.0002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with same_database.write() as tx:
                assert await meetings.get(tx, a_meeting().id) is None


@pytest.mark.parametrize(
    "moment",
    [STARTED_AT, datetime(2026, 7, 1, 1, 2, 3, tzinfo=timezone(timedelta(hours=5, minutes=30)))],
)
async def test_moments_come_back_in_utc(database: Database, moment: datetime) -> None:
    async with database.write() as tx:
        await meetings.add(tx, a_meeting(started_at=moment))
    async with database.read() as tx:
        meeting = await meetings.get(tx, a_meeting().id)
    assert meeting is not None
    assert meeting.started_at == moment
    assert meeting.started_at.tzinfo is UTC
