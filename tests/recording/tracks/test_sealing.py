import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from discord_recorder import DatabaseError
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.tracks.sealing import Sealer
from discord_recorder.recording.tracks.track_writer import TrackWriter
from discord_recorder.recording.transcoding.queue import SqlTranscodeQueue
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.records import Chunk, Track, TranscodeStatus
from tests.support.clock import FakeClock
from tests.support.rows import ALICE_TRACK, BOB_TRACK, MEETING_ID

CHUNK = 1000


class Desk:
    """A sealer with what feeds it and what it says."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.sealed: list[Chunk] = []
        self.errors: list[OSError] = []
        self.sealer = Sealer(
            context,
            SqlTranscodeQueue(context),
            meeting_id=MEETING_ID,
            guild_id="66",
            on_sealed=self.sealed.extend,
            on_disk_error=self.errors.append,
        )
        self._writers: dict[Track, TrackWriter] = {}

    def record(self, samples: int, track: Track = ALICE_TRACK) -> None:
        folder = self.context.track_folder(MEETING_ID, track)
        writer = self._writers.setdefault(track, TrackWriter(folder, self.context.clock.monotonic))
        writer.append(memoryview(os.urandom(samples * SAMPLE_BYTES)), CHUNK)
        self.sealer.submit(track, writer.take_closed())

    async def rows(self) -> list[Chunk]:
        return await self.context.database.read(chunks.of_meeting, MEETING_ID)


@pytest.fixture
async def desk(context: Context) -> AsyncIterator[Desk]:
    desk = Desk(context)
    yield desk
    await desk.sealer.aclose()


async def test_a_row_tells_all_about_its_file(desk: Desk, context: Context) -> None:
    desk.record(2 * CHUNK)
    assert await desk.rows() == []
    await desk.sealer.seal()
    rows = await desk.rows()
    assert desk.sealed == rows
    assert [(row.start_sample, row.sample_count, row.preroll_samples) for row in rows] == [
        (0, CHUNK, 0),
        (CHUNK, CHUNK, CHUNK),
    ]
    for row in rows:
        assert (row.meeting_id, row.track, row.guild_id) == (MEETING_ID, ALICE_TRACK, "66")
        assert (row.transcode_status, row.created_at) == (TranscodeStatus.QUEUED, context.clock.now())
        size = context.temp_file(row.source_key).stat().st_size
        assert size == (row.preroll_samples + row.sample_count) * SAMPLE_BYTES
        assert Path(row.source_key).with_suffix(".mp3") == Path(row.mp3_key)


async def test_speakers_become_known_with_their_first_chunk(desk: Desk) -> None:
    desk.record(CHUNK)
    desk.record(CHUNK, BOB_TRACK)
    await desk.sealer.seal()
    names = await desk.context.database.read(meetings.speaker_names, MEETING_ID)
    assert names == {ALICE_TRACK: None, BOB_TRACK: None}


async def test_what_waits_is_counted(desk: Desk) -> None:
    desk.record(2 * CHUNK + 10)
    desk.record(CHUNK, BOB_TRACK)
    assert desk.sealer.unsealed_bytes == 3 * CHUNK * SAMPLE_BYTES
    assert desk.sealer.first_unsealed() == {ALICE_TRACK: 0, BOB_TRACK: 0}
    await desk.sealer.seal()
    assert desk.sealer.unsealed_bytes == 0
    assert desk.sealer.first_unsealed() == {}
    desk.record(CHUNK)
    assert desk.sealer.first_unsealed() == {ALICE_TRACK: 2 * CHUNK}


async def test_a_database_that_fails_loses_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    name_speakers, failures = meetings.name_speakers, 3

    def fail(tx: object, meeting_id: MeetingId, names: object) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise DatabaseError("locked")
        name_speakers(tx, meeting_id, names)  # type: ignore[arg-type]

    monkeypatch.setattr(meetings, "name_speakers", fail)
    desk.record(2 * CHUNK)
    with pytest.raises(DatabaseError):
        await desk.sealer.seal()
    desk.record(CHUNK)
    assert desk.sealer.unsealed_bytes == 3 * CHUNK * SAMPLE_BYTES
    with pytest.raises(DatabaseError):
        await desk.sealer.seal()
    await desk.sealer.sealed()  # for a push it is no error
    assert desk.sealer.unsealed_bytes == 3 * CHUNK * SAMPLE_BYTES
    assert await desk.rows() == []
    await desk.sealer.seal()
    assert [row.start_sample for row in await desk.rows()] == [0, CHUNK, 2 * CHUNK]
    assert desk.sealer.unsealed_bytes == 0


async def test_by_itself_again_and_again(desk: Desk, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    add, tried = chunks.add, 0

    def fail_twice(*arguments: object) -> list[Chunk]:
        nonlocal tried
        tried += 1
        if tried <= 2:
            raise DatabaseError("locked")
        return add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(chunks, "add", fail_twice)
    desk.sealer.start()
    desk.record(CHUNK)
    while not desk.sealed:
        clock.advance(1)
        await asyncio.sleep(0.005)
    assert tried == 3
    assert len(await desk.rows()) == 1


async def test_a_caller_that_gives_up_does_not_stop_it(desk: Desk) -> None:
    desk.record(3 * CHUNK)
    sealing = asyncio.create_task(desk.sealer.seal())
    await asyncio.sleep(0)
    sealing.cancel()
    await asyncio.gather(sealing, return_exceptions=True)
    await desk.sealer.seal()
    assert len(await desk.rows()) == 3


async def test_many_at_once_keep_their_order(desk: Desk) -> None:
    desk.sealer.start()

    async def record(track: Track) -> None:
        for _ in range(20):
            desk.record(CHUNK // 2, track)
            await desk.sealer.sealed()

    await asyncio.gather(record(ALICE_TRACK), record(BOB_TRACK))
    for track in (ALICE_TRACK, BOB_TRACK):
        mine = [row for row in desk.sealed if row.track == track]
        assert [row.start_sample for row in mine] == list(range(0, 10 * CHUNK, CHUNK))
        assert [row.id for row in mine] == sorted(row.id for row in mine)


async def test_a_file_that_cannot_be_synced_is_told_and_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.record(CHUNK)

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    await desk.sealer.seal()
    monkeypatch.undo()
    assert [error.strerror for error in desk.errors] == ["Input/output error"] * 2  # the file's and its folder's
    assert len(await desk.rows()) == 1, "its bytes were accepted, and may well be readable"
