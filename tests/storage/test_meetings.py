from datetime import timedelta

import pytest

from discord_recorder.ids import MeetingId
from discord_recorder.storage import meetings
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import LIVE, MeetingStatus
from tests.support.rows import ALICE_TRACK, BOB_TRACK, MEETING_ID, STARTED_AT, a_meeting

UNFINISHED = (*LIVE, MeetingStatus.PROCESSING)


async def test_a_meeting_id_is_used_once(database: Database) -> None:
    assert await database.write(meetings.add, a_meeting())
    assert not await database.write(meetings.add, a_meeting(title="Another"))
    assert await database.read(meetings.get, MEETING_ID) == a_meeting()
    assert await database.read(meetings.get, MeetingId("0" * 16)) is None


async def test_found_by_status_channel_and_owner(database: Database) -> None:
    made = [
        a_meeting(id=MeetingId(f"{n:016d}"), channel_id=channel, owner=owner, started_at=STARTED_AT - timedelta(days=n))
        for n, (channel, owner) in enumerate([("1", "a"), ("2", "a"), ("1", "b")])
    ]
    for meeting in made:
        await database.write(meetings.add, meeting)
    assert await database.read(meetings.find, *LIVE) == made[::-1], "oldest first"
    assert await database.read(meetings.find, *LIVE, channel_id="1") == [made[2], made[0]]
    assert await database.read(meetings.find, *LIVE, owner="a") == [made[1], made[0]]
    assert await database.read(meetings.find, MeetingStatus.COMPLETED) == []
    assert await database.read(meetings.ids) == {meeting.id: MeetingStatus.RECORDING for meeting in made}


@pytest.mark.parametrize("status", list(MeetingStatus))
async def test_only_unfinished_meetings_of_the_dead_are_unowned(database: Database, status: MeetingStatus) -> None:
    for number, owner in enumerate(["alive", "dead", None]):
        await database.write(meetings.add, a_meeting(id=MeetingId(f"{number:016d}"), status=status, owner=owner))
    unowned = await database.read(meetings.unowned, ["alive"])
    assert [meeting.owner for meeting in unowned] == (["dead", None] if status in UNFINISHED else [])


@pytest.mark.parametrize("first_owner", ["dead", None])
async def test_only_one_takes_a_meeting_over(database: Database, first_owner: str | None) -> None:
    meeting = a_meeting(owner=first_owner)
    await database.write(meetings.add, meeting)
    assert await database.write(meetings.take_over, meeting, "fast")
    assert not await database.write(meetings.take_over, meeting, "slow")
    found = await database.read(meetings.get, MEETING_ID)
    assert found is not None
    assert found.owner == "fast"


async def test_a_finished_meeting_is_not_taken_over(database: Database) -> None:
    await database.write(meetings.add, a_meeting(status=MeetingStatus.COMPLETED))
    assert not await database.write(meetings.take_over, a_meeting(), "late")


async def test_disowned_in_good_order(database: Database) -> None:
    for number, owner in enumerate(["leaving", "staying"]):
        await database.write(meetings.add, a_meeting(id=MeetingId(f"{number:016d}"), owner=owner))
    await database.write(meetings.disown, "leaving")
    assert [meeting.owner for meeting in await database.read(meetings.find, *LIVE)] == [None, "staying"]


async def test_a_name_stays_until_another_is_given(database: Database) -> None:
    await database.write(meetings.name_speakers, MEETING_ID, {ALICE_TRACK: "Ada", BOB_TRACK: None})
    await database.write(meetings.name_speakers, MEETING_ID, {ALICE_TRACK: None, BOB_TRACK: "Ben"})
    assert await database.read(meetings.speaker_names, MEETING_ID) == {ALICE_TRACK: "Ada", BOB_TRACK: "Ben"}
    await database.write(meetings.name_speakers, MEETING_ID, {ALICE_TRACK: "Ada L."})
    assert await database.read(meetings.speaker_names, MEETING_ID) == {ALICE_TRACK: "Ada L.", BOB_TRACK: "Ben"}


async def test_forgotten_with_its_speakers(database: Database) -> None:
    await database.write(meetings.add, a_meeting())
    await database.write(meetings.name_speakers, MEETING_ID, {ALICE_TRACK: "Ada"})
    await database.write(meetings.remove, MEETING_ID)
    assert await database.read(meetings.get, MEETING_ID) is None
    assert await database.read(meetings.speaker_names, MEETING_ID) == {}
