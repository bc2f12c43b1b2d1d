"""Whether the database can be used, and what waits in it."""

from collections.abc import Set
from pathlib import Path
from typing import Final

from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from discord_recorder.cli.findings import Finding, fail, ok, settled, warn
from discord_recorder.cli.formats import count
from discord_recorder.config import Settings
from discord_recorder.ids import MeetingId
from discord_recorder.recording.ownership import ProcessRegistry
from discord_recorder.storage import database as database_module
from discord_recorder.storage import meetings, recordings
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import LIVE, Meeting, MeetingStatus, RecordingStatus

_BUSY_SECONDS: Final = 3.0
"""An examination is not the time to wait long for a lock."""

_FIX: Final = "Close the program that uses it, see that this user may write it, or set another data directory."
_NEWER_FIX: Final = "Install that newer version of discord-recorder again, or use another data directory."


async def check_database(settings: Settings) -> list[Finding]:
    """The file is an SQLite database that can be written, of this version, with nothing left behind in it."""
    file = settings.database_file
    if not file.exists():
        return [ok("database", f"{file}, made at the first use")]
    database = Database(file, busy_seconds=min(_BUSY_SECONDS, settings.database_busy_seconds))
    try:
        found = [await settled("database", _FIX, lambda: _writable(database))]
        if not found[0].fix:
            found.append(await settled("migrations", _FIX, lambda: _migrated(database)))
        if len(found) > 1 and not found[1].fix:
            found.append(await settled("meetings", _FIX, lambda: _left_behind(database, settings)))
        return found
    finally:
        await database.close()


async def _writable(database: Database) -> Finding:
    await database.write(lambda tx: tx.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar())  # writes nothing
    return ok("database", str(database.file))


async def _migrated(database: Database) -> Finding:
    current, head = await database.revision()
    if current == head:
        return ok("migrations", f"up to date ({current})")
    scripts = ScriptDirectory(str(Path(database_module.__file__).parent / "migrations"))
    if current is None or current in {script.revision for script in scripts.walk_revisions()}:
        older = f"at {current or 'none'}, this version makes {head}"
        return warn("migrations", older, "Nothing to do: the next command that records migrates it.")
    newer = f"written by a newer version (schema {current}; this one knows up to {head})"
    return fail("migrations", newer, _NEWER_FIX)


async def _left_behind(database: Database, settings: Settings) -> Finding:
    registry = ProcessRegistry(settings.run_dir)
    alive = registry.alive() if settings.run_dir.exists() else set()
    orphaned, unfinished, broken = await database.read(_unfinished, alive)
    in_work = f"{count(unfinished - len(orphaned), 'meeting')} in work"
    if orphaned:
        left = f"{in_work}, {len(orphaned)} left by a recorder that ended: {', '.join(each.id for each in orphaned)}"
        return warn("meetings", left, "Start the recorder, or `discord-recorder cleanup`: it finishes them by itself.")
    if broken:
        return warn(
            "meetings",
            f"{in_work}, {len(broken)} with failed parts: {', '.join(broken)}",
            "`discord-recorder show MEETING` tells why, `discord-recorder retry MEETING` tries again.",
        )
    return ok("meetings", f"{in_work}, none left behind")


def _unfinished(tx: Connection, alive: Set[str]) -> tuple[list[Meeting], int, list[MeetingId]]:
    """Meetings that nobody owns, how many are in work with them, and those with failed parts."""
    in_work = meetings.find(tx, *LIVE, MeetingStatus.PROCESSING)
    failed = {meeting.id for meeting in meetings.find(tx, MeetingStatus.FAILED)}
    found = recordings.find(tx)
    incomplete = {recording.meeting_id for recording in found if recording.status is RecordingStatus.INCOMPLETE}
    return meetings.unowned(tx, alive), len(in_work), sorted(failed | incomplete)
