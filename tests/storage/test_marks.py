from datetime import timedelta

from discord_recorder.ids import MeetingId
from discord_recorder.storage import marks, meetings
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import Mark, MarkKind
from tests.support.rows import ALICE_TRACK, MEETING_ID, STARTED_AT, a_meeting

OTHER = MeetingId("0" * 16)
PAUSE = Mark(kind=MarkKind.PAUSED, at_sample=960, wall_at=STARTED_AT)
NOTE = Mark(
    kind=MarkKind.NOTE, at_sample=48_000, wall_at=STARTED_AT + timedelta(seconds=1), user_id="1001", text="Budgét 🎙"
)
LOST = Mark(
    kind=MarkKind.LOST,
    at_sample=480,
    sample_count=4800,
    wall_at=STARTED_AT,
    wall_ms=100,
    track=ALICE_TRACK,
    reason="who knows",
)


async def test_they_come_back_by_session_time(database: Database) -> None:
    ids = await database.write(marks.add, MEETING_ID, [NOTE, PAUSE, LOST])
    await database.write(marks.add, OTHER, [PAUSE])
    found = await database.read(marks.of_meeting, MEETING_ID)
    assert [mark.id for mark in found] == [ids[2], ids[1], ids[0]]
    assert [mark.at_sample for mark in found] == [480, 960, 48_000]
    (lost,) = await database.read(marks.of_meeting, MEETING_ID, MarkKind.LOST)
    assert (lost.end_sample, lost.wall_ms, lost.track, lost.reason) == (5280, 100, ALICE_TRACK, "who knows")
    (note,) = await database.read(marks.of_meeting, MEETING_ID, MarkKind.NOTE)
    assert (note.wall_at, note.user_id, note.text, note.track) == (NOTE.wall_at, "1001", "Budgét 🎙", None)
    assert len(await database.read(marks.of_meeting, MEETING_ID, MarkKind.LOST, MarkKind.PAUSED)) == 2


async def test_what_goes_on_is_lengthened(database: Database) -> None:
    (mark_id,) = await database.write(marks.add, MEETING_ID, [PAUSE])
    await database.write(marks.lengthen, mark_id, sample_count=48_000, wall_ms=1000)
    (pause,) = await database.read(marks.of_meeting, MEETING_ID)
    assert (pause.sample_count, pause.wall_ms, pause.at_sample) == (48_000, 1000, 960)


async def test_they_go_with_their_meeting(database: Database) -> None:
    await database.write(meetings.add, a_meeting())
    await database.write(marks.add, MEETING_ID, [NOTE, PAUSE])
    await database.write(marks.add, OTHER, [PAUSE])
    await database.write(meetings.remove, MEETING_ID)
    assert await database.read(marks.of_meeting, MEETING_ID) == []
    assert len(await database.read(marks.of_meeting, OTHER)) == 1
