"""What the database holds of a meeting beside its audio, read as another process would."""

from sqlalchemy import Connection

from discord_recorder import ServicesManager
from discord_recorder.ids import MeetingId
from discord_recorder.storage import marks, meetings
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import Mark, MarkKind, Meeting
from tests.support.recorder import MEETING


async def stored(services: ServicesManager, *kinds: MarkKind, meeting_id: str = MEETING) -> tuple[Meeting, list[Mark]]:
    """A meeting's row, and its marks (of those kinds if any are named)."""

    def look(tx: Connection) -> tuple[Meeting | None, list[Mark]]:
        return meetings.get(tx, MeetingId(meeting_id)), marks.of_meeting(tx, MeetingId(meeting_id), *kinds)

    database = Database(services.settings.database_file)
    meeting, found = await database.read(look)
    await database.close()
    assert meeting is not None
    return meeting, found


async def stored_marks(services: ServicesManager, *kinds: MarkKind, meeting_id: str = MEETING) -> list[Mark]:
    """A meeting's marks (of those kinds if any are named)."""
    return (await stored(services, *kinds, meeting_id=meeting_id))[1]
