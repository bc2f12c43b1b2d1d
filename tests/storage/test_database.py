import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
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
from discord_recorder.storage.records import Meeting, MeetingStatus, RecordingStatus, TranscodeStatus
from discord_recorder.storage.tables import metadata
from tests.support.rows import ALICE_TRACK, MEETING_ID, STARTED_AT, a_meeting

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
ROWS_OF["0002"] = [
    *ROWS_OF["0001"],
    "INSERT INTO marks (meeting_id, kind, track, at_sample, sample_count, wall_at, wall_ms, reason, user_id, text)"
    " VALUES ('0123456789abcdef', 'note', NULL, 48000, 0, '2026-03-01 12:00:01.123456', 0, NULL, '1001', 'Budget')",
    "UPDATE meetings SET duration_samples = 960000, packets = '{}'",
    'UPDATE temp_recordings SET stretches = \'{"heard": [], "lost": [], "concealed": 0}\'',
    "UPDATE recordings SET manifest_key = '0123456789abcdef/manifest.json', duration_samples = 960000",
    "UPDATE recording_tracks SET heard_samples = 480000, lost_samples = 0, concealed_samples = 0,"
    " undecryptable_samples = 0, longest_gap_samples = 480000",
]
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


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


class Gate:
    """Where a transaction stops until the test lets it go on."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def wait(self) -> None:
        self._reached.set()
        assert self._opened.wait(60)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 60)

    def open(self) -> None:
        self._opened.set()


Gates = Callable[[], Gate]


@pytest.fixture
def gates(database: Database, same_database: Database) -> Iterator[Gates]:
    """Makes gates; they are open at the end, however the test ended, so that the databases can be closed."""
    made: list[Gate] = []

    def make() -> Gate:
        made.append(Gate())
        return made[-1]

    yield make
    for gate in made:
        gate.open()


def add_and_wait(tx: Connection, gate: Gate) -> None:
    assert meetings.add(tx, a_meeting())
    gate.wait()


def whatever(tx: Connection, gate: Gate | None = None) -> Any:
    """A transaction that the test knows the result of: 1."""
    if gate is not None:
        gate.wait()
    return tx.scalar(text("SELECT 1"))


class TestMigrations:
    async def test_a_fresh_database_is_what_the_queries_expect(self, database: Database) -> None:
        assert await database.read(differences) == []
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
        assert await database.read(differences) == []
        meeting_id = MeetingId("0123456789abcdef")
        meeting = await database.read(meetings.get, meeting_id)
        names = await database.read(meetings.speaker_names, meeting_id)
        (chunk,) = await database.read(chunks.of_meeting, meeting_id)
        (recording,) = await database.read(recordings.find)
        await database.close()
        assert meeting is not None
        assert (meeting.title, meeting.started_at) == ("Stand-up", STARTED_AT)
        assert list(names.values()) == ["Ada"]
        assert (chunk.transcode_status, chunk.attempts, chunk.end_sample) == (TranscodeStatus.FAILED, 3, 960_000)
        assert (recording.status, recording.tracks[0].size_bytes) == (RecordingStatus.INCOMPLETE, 4711)

    async def test_opening_again_changes_nothing(self, database: Database) -> None:
        await database.write(meetings.add, a_meeting())
        await database.open()
        assert await database.read(meetings.get, MEETING_ID) == a_meeting()

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
        def pragmas(tx: Connection) -> list[Any]:
            return [tx.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")]

        assert await database.write(pragmas) == ["wal", 2]

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
        def fail_in_the_middle(tx: Connection) -> None:
            meetings.add(tx, a_meeting())
            raise RuntimeError("in the middle")

        with pytest.raises(RuntimeError, match="in the middle"):
            await database.write(fail_in_the_middle)
        assert await database.read(meetings.get, MEETING_ID) is None

    async def test_a_reader_sees_a_snapshot_and_does_not_wait(
        self, database: Database, same_database: Database, gates: Gates
    ) -> None:
        reading, writing = gates(), gates()

        def look_twice(tx: Connection) -> list[Meeting | None]:
            first = meetings.get(tx, MEETING_ID)
            reading.wait()
            return [first, meetings.get(tx, MEETING_ID)]

        before = asyncio.create_task(database.read(look_twice))
        await reading.reached()
        change = asyncio.create_task(same_database.write(add_and_wait, writing))
        await writing.reached()
        for reader in (database, same_database):
            assert await reader.read(meetings.get, MEETING_ID) is None
        writing.open()
        await change
        assert not before.done()
        reading.open()
        assert await before == [None, None]
        assert await database.read(meetings.get, MEETING_ID) == a_meeting()

    async def test_writers_take_turns(self, database: Database, same_database: Database) -> None:
        await database.write(meetings.add, a_meeting())

        def count_one(tx: Connection) -> None:
            meeting = meetings.get(tx, MEETING_ID)
            assert meeting is not None
            time.sleep(0)
            meetings.change(tx, meeting.id, paused_dropped_bytes=meeting.paused_dropped_bytes + 1)

        async def count(where: Database) -> None:
            for _ in range(20):
                await where.write(count_one)

        await asyncio.gather(*(count(where) for where in (database, same_database, database, same_database)))
        meeting = await database.read(meetings.get, MEETING_ID)
        assert meeting is not None
        assert meeting.paused_dropped_bytes == 80

    async def test_writes_keep_the_order_of_the_calls(self, database: Database, gates: Gates) -> None:
        gate, order = gates(), list[int]()
        first = asyncio.create_task(database.write(add_and_wait, gate))
        await gate.reached()
        calls = [asyncio.create_task(database.write(lambda _, n: order.append(n), number)) for number in range(20)]
        await asyncio.sleep(0)
        assert order == []
        for cancelled in calls[1::4]:
            cancelled.cancel()
        gate.open()
        await first
        await asyncio.wait(calls)
        assert order == [number for number in range(20) if number % 4 != 1]

    async def test_many_at_once(self, database: Database) -> None:
        made = [a_meeting(id=MeetingId(f"{number:016d}")) for number in range(50)]
        calls = [call for meeting in made for call in (database.write(meetings.add, meeting), database.read(whatever))]
        assert await asyncio.gather(*calls) == [True, 1] * 50
        assert set(await database.read(meetings.ids)) == {meeting.id for meeting in made}

    async def test_locked_by_another_program(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "recorder.sqlite3", busy_seconds=0.05)
        await database.open()
        entered = False

        def enter(_: Connection) -> None:
            nonlocal entered
            entered = True

        with closing(sqlite3.connect(database.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseBusyError, match=r"more than 0\.05 s\. Close the program"):
                await database.write(enter)
            assert not entered, "it was not locked"
            assert await database.read(meetings.find) == []
        assert await database.write(meetings.add, a_meeting())
        await database.close()

    async def test_a_writer_of_this_process_is_waited_for_however_long_it_takes(
        self, tmp_path: Path, gates: Gates
    ) -> None:
        database, gate = Database(tmp_path / "recorder.sqlite3", busy_seconds=0.05), gates()
        await database.open()
        slow = asyncio.create_task(database.write(add_and_wait, gate))
        await gate.reached()
        waiting = asyncio.create_task(database.write(meetings.get, MEETING_ID))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        gate.open()
        await slow
        assert await waiting == a_meeting()
        await database.close()


class TestCancelled:
    """A transaction whose caller was cancelled is either not begun or complete, and locks nobody out."""

    async def test_what_has_begun_goes_on(self, database: Database, same_database: Database, gates: Gates) -> None:
        gate = gates()
        caller = asyncio.create_task(database.write(add_and_wait, gate))
        await gate.reached()
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled(), "the caller does not wait"
        assert await same_database.read(meetings.get, MEETING_ID) is None
        gate.open()
        assert await same_database.write(meetings.get, MEETING_ID) == a_meeting()
        assert await database.write(meetings.get, MEETING_ID) == a_meeting()

    async def test_what_has_not_begun_never_begins(self, database: Database, gates: Gates) -> None:
        gate, other = gates(), MeetingId("fedcba9876543210")
        first = asyncio.create_task(database.write(add_and_wait, gate))
        await gate.reached()
        caller = asyncio.create_task(database.write(meetings.add, a_meeting(id=other)))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        gate.open()
        await first
        assert await database.write(meetings.ids) == {MEETING_ID: MeetingStatus.RECORDING}

    async def test_a_failure_that_nobody_waits_for_leaves_nothing(
        self, database: Database, same_database: Database, gates: Gates
    ) -> None:
        gate = gates()

        def fail(tx: Connection) -> None:
            add_and_wait(tx, gate)
            raise RuntimeError("nobody looks at this")

        caller = asyncio.create_task(database.write(fail))
        await gate.reached()
        caller.cancel()
        await asyncio.wait([caller])
        gate.open()
        assert await same_database.write(meetings.get, MEETING_ID) is None
        assert await database.write(meetings.add, a_meeting())

    async def test_a_reader(self, database: Database, gates: Gates) -> None:
        """Even when all readers were cancelled in the middle, the next ones get their turn."""
        held = [gates() for _ in range(10)]
        callers = [asyncio.create_task(database.read(whatever, gate)) for gate in held]
        await held[0].reached()
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        assert all(caller.cancelled() for caller in callers)
        for gate in held:
            gate.open()
        assert await asyncio.gather(*(database.read(whatever) for _ in range(10))) == [1] * 10

    async def test_anywhere(self, database: Database, same_database: Database) -> None:
        """However many turns of the event loop the caller gets."""

        def add_with_speaker(tx: Connection, meeting: Meeting) -> None:
            meetings.add(tx, meeting)
            meetings.name_speakers(tx, meeting.id, {ALICE_TRACK: "Ada"})

        def look(tx: Connection, meeting_id: MeetingId) -> tuple[Meeting | None, Any]:
            return meetings.get(tx, meeting_id), meetings.speaker_names(tx, meeting_id)

        for turns in range(40):
            meeting = a_meeting(id=MeetingId(f"{turns:016d}"))
            complete = (meeting, {ALICE_TRACK: "Ada"})
            task = asyncio.create_task(database.write(add_with_speaker, meeting))
            for _ in range(turns):
                await asyncio.sleep(0.0002)
            task.cancel()
            await asyncio.wait([task])
            seen = await same_database.write(look, meeting.id)  # it may begin just now
            assert seen in ([complete] if not task.cancelled() else [complete, (None, {})])
            assert await database.write(look, meeting.id) in ([complete] if seen == complete else [complete, seen])


class TestClosing:
    async def test_what_has_begun_is_waited_for(
        self, database: Database, same_database: Database, gates: Gates
    ) -> None:
        writing, reading = gates(), gates()
        reader = asyncio.create_task(database.read(whatever, reading))
        writer = asyncio.create_task(database.write(add_and_wait, writing))
        for gate in (reading, writing):
            await gate.reached()
        writer.cancel()  # what nobody waits for any more is waited for as well
        closing_task = asyncio.create_task(database.close())
        for gate in (reading, writing):
            done, _ = await asyncio.wait([closing_task], timeout=0.1)
            assert not done
            gate.open()
        await closing_task
        assert await same_database.read(meetings.get, MEETING_ID) == a_meeting()
        assert await reader == 1

    async def test_the_file_is_free(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "recorder.sqlite3")
        await database.open()
        await asyncio.gather(*(database.read(whatever) for _ in range(10)), database.write(whatever))
        await database.close()
        assert names_in(tmp_path) == ["recorder.sqlite3"], "SQLite's own files go with the last user"


@pytest.mark.parametrize(
    "moment",
    [STARTED_AT, datetime(2026, 7, 1, 1, 2, 3, tzinfo=timezone(timedelta(hours=5, minutes=30)))],
)
async def test_moments_come_back_in_utc(database: Database, moment: datetime) -> None:
    await database.write(meetings.add, a_meeting(started_at=moment))
    meeting = await database.read(meetings.get, MEETING_ID)
    assert meeting is not None
    assert meeting.started_at == moment
    assert meeting.started_at.tzinfo is UTC
