from datetime import timedelta

import pytest

from discord_recorder.ids import MeetingId
from discord_recorder.storage import meetings
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import LIVE, MeetingStatus
from tests.support.rows import ALICE_TRACK, BOB_TRACK, MEETING_ID, STARTED_AT, a_meeting

UNFINISHED = (*LIVE, MeetingStatus.PROCESSING)


async def test_a_meeting_id_is_used_once(database: Database) -> None:
    async with database.write() as tx:
        assert await meetings.add(tx, a_meeting())
        assert not await meetings.add(tx, a_meeting(title="Another"))
        assert await meetings.get(tx, MEETING_ID) == a_meeting()
        assert await meetings.get(tx, MeetingId("0" * 16)) is None


async def test_found_by_status_channel_and_owner(database: Database) -> None:
    made = [
        a_meeting(id=MeetingId(f"{n:016d}"), channel_id=channel, owner=owner, started_at=STARTED_AT - timedelta(days=n))
        for n, (channel, owner) in enumerate([("1", "a"), ("2", "a"), ("1", "b")])
    ]
    async with database.write() as tx:
        for meeting in made:
            await meetings.add(tx, meeting)
        assert await meetings.find(tx, *LIVE) == made[::-1], "oldest first"
        assert await meetings.find(tx, *LIVE, channel_id="1") == [made[2], made[0]]
        assert await meetings.find(tx, *LIVE, owner="a") == [made[1], made[0]]
        assert await meetings.find(tx, MeetingStatus.COMPLETED) == []
        assert await meetings.ids(tx) == {meeting.id: MeetingStatus.RECORDING for meeting in made}


@pytest.mark.parametrize("status", list(MeetingStatus))
async def test_only_unfinished_meetings_of_the_dead_are_unowned(database: Database, status: MeetingStatus) -> None:
    async with database.write() as tx:
        for number, owner in enumerate(["alive", "dead", None]):
            await meetings.add(tx, a_meeting(id=MeetingId(f"{number:016d}"), status=status, owner=owner))
        unowned = await meetings.unowned(tx, ["alive"])
    assert [meeting.owner for meeting in unowned] == (["dead", None] if status in UNFINISHED else [])


@pytest.mark.parametrize("first_owner", ["dead", None])
async def test_only_one_takes_a_meeting_over(database: Database, first_owner: str | None) -> None:
    meeting = a_meeting(owner=first_owner)
    async with database.write() as tx:
        await meetings.add(tx, meeting)
        assert await meetings.take_over(tx, meeting, "fast")
        assert not await meetings.take_over(tx, meeting, "slow")
        found = await meetings.get(tx, MEETING_ID)
    assert found is not None
    assert found.owner == "fast"


async def test_a_finished_meeting_is_not_taken_over(database: Database) -> None:
    async with database.write() as tx:
        await meetings.add(tx, a_meeting(status=MeetingStatus.COMPLETED))
        assert not await meetings.take_over(tx, a_meeting(), "late")


async def test_disowned_in_good_order(database: Database) -> None:
    async with database.write() as tx:
        for number, owner in enumerate(["leaving", "staying"]):
            await meetings.add(tx, a_meeting(id=MeetingId(f"{number:016d}"), owner=owner))
        await meetings.disown(tx, "leaving")
        assert [meeting.owner for meeting in await meetings.find(tx, *LIVE)] == [None, "staying"]


async def test_a_name_stays_until_another_is_given(database: Database) -> None:
    async with database.write() as tx:
        await meetings.name_speakers(tx, MEETING_ID, {ALICE_TRACK: "Ada", BOB_TRACK: None})
        await meetings.name_speakers(tx, MEETING_ID, {ALICE_TRACK: None, BOB_TRACK: "Ben"})
        assert await meetings.speaker_names(tx, MEETING_ID) == {ALICE_TRACK: "Ada", BOB_TRACK: "Ben"}
        await meetings.name_speakers(tx, MEETING_ID, {ALICE_TRACK: "Ada L."})
        assert await meetings.speaker_names(tx, MEETING_ID) == {ALICE_TRACK: "Ada L.", BOB_TRACK: "Ben"}


async def test_forgotten_with_its_speakers(database: Database) -> None:
    async with database.write() as tx:
        await meetings.add(tx, a_meeting())
        await meetings.name_speakers(tx, MEETING_ID, {ALICE_TRACK: "Ada"})
        await meetings.remove(tx, MEETING_ID)
        assert await meetings.get(tx, MEETING_ID) is None
        assert await meetings.speaker_names(tx, MEETING_ID) == {}
