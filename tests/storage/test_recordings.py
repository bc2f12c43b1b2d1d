from datetime import timedelta

from sqlalchemy import text

from discord_recorder.ids import MeetingId
from discord_recorder.storage import recordings
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import MIX_TRACK, Recording, RecordingStatus, RecordingTrack, TrackKind
from tests.support.rows import ALICE_TRACK, BOB_TRACK, MEETING_ID, STARTED_AT, a_meeting, a_track

ENDED_AT = STARTED_AT + timedelta(hours=1)
MIX = a_track(MIX_TRACK, kind=TrackKind.MIX)


async def added(
    database: Database, number: int = 0, tracks: tuple[RecordingTrack, ...] = (a_track(),), channel_id: str = "55"
) -> Recording:
    meeting = a_meeting(
        id=MeetingId(f"{number:016d}"), channel_id=channel_id, started_at=STARTED_AT + timedelta(days=number)
    )
    await database.write(recordings.add, meeting, status=RecordingStatus.COMPLETE, ended_at=ENDED_AT, tracks=tracks)
    (recording,) = await database.read(recordings.find, meeting_id=meeting.id)
    return recording


async def test_what_goes_in_comes_out(database: Database) -> None:
    tracks = (a_track(name="Ada", master_key="m/1001.flac"), a_track(BOB_TRACK), MIX)
    recording = await added(database, tracks=tracks)
    assert recording.tracks == tracks
    assert (recording.title, recording.guild_id, recording.user_id) == ("Stand-up", "66", "1001")
    assert (recording.started_at, recording.ended_at) == (STARTED_AT, ENDED_AT)
    assert (recording.status, recording.recovered) == (RecordingStatus.COMPLETE, False)


async def test_newest_first_and_page_by_page(database: Database) -> None:
    made = [await added(database, number, channel_id=str(1 + number % 2)) for number in range(5)]
    assert await database.read(recordings.find) == made[::-1]
    assert await database.read(recordings.find, limit=2) == [made[4], made[3]]
    assert await database.read(recordings.find, limit=2, offset=3) == [made[1], made[0]]
    assert await database.read(recordings.find, offset=4) == [made[0]]
    assert await database.read(recordings.find, limit=0) == []
    assert await database.read(recordings.find, channel_id="2") == [made[3], made[1]]
    assert await database.read(recordings.find, channel_id="2", guild_id="67") == []


async def test_the_file_to_play_is_the_mix_else_the_longest(database: Database) -> None:
    long = a_track(BOB_TRACK, samples=999_999)
    assert (await added(database, 0, (a_track(), long, MIX))).main == MIX
    assert (await added(database, 1, (a_track(), long))).main == long


async def test_renewed_tracks_take_the_place_of_the_old_ones(database: Database) -> None:
    recording = await added(database, tracks=(a_track(), a_track(BOB_TRACK)))
    renewed = a_track(BOB_TRACK, sha256="1" * 64)
    replaced = [renewed, MIX]
    await database.write(recordings.replace_tracks, recording, status=RecordingStatus.INCOMPLETE, tracks=replaced)
    (found,) = await database.read(recordings.find)
    assert (found.id, found.status) == (recording.id, RecordingStatus.INCOMPLETE)
    assert {track.track: track for track in found.tracks} == {
        ALICE_TRACK: a_track(),
        BOB_TRACK: renewed,
        MIX_TRACK: MIX,
    }
    await database.write(recordings.replace_tracks, found, status=RecordingStatus.COMPLETE, tracks=[])
    (found,) = await database.read(recordings.find)
    assert (found.status, len(found.tracks)) == (RecordingStatus.COMPLETE, 3)


async def test_forgotten_with_its_tracks(database: Database) -> None:
    await added(database, 0, tracks=(a_track(master_key="m/1001.flac"),))
    await added(database, 1, tracks=(a_track(key="other/1001.mp3"),))
    assert await database.read(recordings.keys) == {f"{MEETING_ID}/1001.mp3", "m/1001.flac", "other/1001.mp3"}
    await database.write(recordings.remove, MeetingId(f"{0:016d}"))
    assert await database.read(recordings.keys) == {"other/1001.mp3"}
    assert await database.read(lambda tx: tx.scalar(text("SELECT count(*) FROM recording_tracks"))) == 1
