"""What a recorder left without stopping is finished by the next one. Killed processes: see tests/faults."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from discord_recorder import Settings
from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing import left_marks
from discord_recorder.recording.transcoding.queue import SqlTranscodeQueue
from discord_recorder.storage import marks, meetings
from discord_recorder.storage.records import Mark, MarkKind, MeetingStatus, NewChunk, Track
from tests.audio.signals import snr_db, to_pcm, tone
from tests.recording.conftest import NewContext
from tests.support.marks import stored
from tests.support.recorder import ALICE, OpenServices, recording_of, sound_of, track_of
from tests.support.rows import STARTED_AT, a_meeting

RATE = 48_000
LEFT = MeetingId("00000000000000aa")


def left_file(settings: Settings, name: str, content: bytes, user: int = ALICE) -> Path:
    path = settings.temp_dir / LEFT / str(user) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


async def left_meeting(context: Context, status: MeetingStatus = MeetingStatus.RECORDING) -> None:
    def leave(tx: Connection) -> None:
        meetings.add(tx, a_meeting(id=LEFT, status=status, owner="dead-1-aa", user_id=str(ALICE)))
        meetings.name_speakers(tx, LEFT, {Track(str(ALICE)): "Ada"})

    await context.database.write(leave)


async def test_audio_that_no_row_names_is_recorded(
    context: Context, settings: Settings, open_services: OpenServices
) -> None:
    signal = tone(3 * RATE)
    pcm = to_pcm(signal)
    await left_meeting(context)
    left_file(settings, "000000000000-0.pcm", pcm[: 4 * RATE])
    left_file(settings, f"{RATE:012d}-24000.pcm", pcm[4 * (RATE - 24_000) :] + b"\1\2\3")  # a torn sample
    left_file(settings, f"{5 * RATE:012d}-24000.pcm", bytes(4 * 24_000))  # nothing but pre-roll
    left_file(settings, "notes.txt", b"not ours")
    async with open_services() as services:
        assert await services.discord_recorder_service.wait_until_ended(LEFT, 60)
        recording = await recording_of(services, LEFT)
        meeting = await services.sql_recording_service.get_meeting(LEFT)
    assert (recording["status"], recording["recovered"], recording["title"]) == ("complete", True, "Stand-up")
    assert track_of(recording, ALICE)["name"] == "Ada"
    assert meeting is not None
    assert (meeting["status"], meeting["recovered"]) == ("completed", True)
    assert "interrupted" in str(meeting["end_reason"])
    sound = sound_of(recording)
    assert len(sound) == len(signal)
    assert snr_db(signal, sound) > 30


async def test_a_dead_workers_job_is_taken_over_at_once(
    context: Context, new_context: NewContext, settings: Settings, open_services: OpenServices
) -> None:
    await left_meeting(context, MeetingStatus.PROCESSING)
    path = left_file(settings, "000000000000-0.pcm", to_pcm(tone(RATE)))
    left = NewChunk(
        meeting_id=LEFT,
        track=Track(str(ALICE)),
        guild_id=None,
        start_sample=0,
        sample_count=RATE,
        preroll_samples=0,
        source_key=path.relative_to(settings.temp_dir).as_posix(),
        mp3_key=path.with_suffix(".mp3").relative_to(settings.temp_dir).as_posix(),
    )
    dead = new_context()
    queue = SqlTranscodeQueue(dead)
    await context.database.write(queue.enqueue, [left])
    assert len(await queue.claim(1)) == 1
    dead.registry.leave()
    async with open_services() as services:  # long before the lease ends
        assert await services.discord_recorder_service.wait_until_ended(LEFT, 60)
        assert len(sound_of(await recording_of(services, LEFT))) == RATE


@pytest.mark.parametrize("status", [MeetingStatus.RECORDING, MeetingStatus.PAUSED, MeetingStatus.PROCESSING])
async def test_without_any_audio_it_just_ends(
    context: Context, open_services: OpenServices, status: MeetingStatus
) -> None:
    await left_meeting(context, status)
    async with open_services() as services:
        assert await services.discord_recorder_service.wait_until_ended(LEFT, 60)
        meeting = await services.sql_recording_service.get_meeting(LEFT)
        assert await services.sql_recording_service.get_recordings_for_meeting(LEFT) == []
    assert meeting is not None
    assert (meeting["status"], meeting["recovered"]) == ("completed", True)


async def test_what_a_living_one_owns_is_left_alone(
    context: Context, settings: Settings, open_services: OpenServices
) -> None:
    await context.database.write(meetings.add, a_meeting(id=LEFT, owner=context.owner))
    path = left_file(settings, "000000000000-0.pcm", os.urandom(4800))
    async with open_services() as services:
        meeting = await services.sql_recording_service.get_meeting(LEFT)
        assert meeting is not None
        assert (meeting["status"], meeting["recovered"]) == ("recording", False)
        assert path.exists()
        assert await services.sql_recording_service.get_temp_recordings_for_meeting(LEFT) == []


async def test_marks_that_were_left_are_stored_once(
    context: Context, settings: Settings, open_services: OpenServices
) -> None:
    await left_meeting(context)
    pause = Mark(kind=MarkKind.PAUSED, at_sample=480, wall_at=STARTED_AT)
    note = Mark(kind=MarkKind.NOTE, at_sample=960, wall_at=STARTED_AT, user_id=str(ALICE), text="Budg\u00e9t")
    lost = Mark(
        kind=MarkKind.LOST, at_sample=4800, sample_count=960, wall_at=STARTED_AT, track=Track(str(ALICE)), reason="?"
    )
    (pause_id,) = await context.database.write(marks.add, LEFT, [pause])
    await context.database.write(marks.add, LEFT, [note])  # by a recovery that was interrupted
    left = [replace(pause, id=pause_id, wall_ms=7000), note, lost]
    left_marks.leave(settings.temp_dir / LEFT, left)
    async with open_services() as services:
        assert await services.discord_recorder_service.wait_until_ended(LEFT, 60)
        meeting, found = await stored(services, meeting_id=LEFT)
    assert [replace(mark, id=None) for mark in found] == [replace(pause, wall_ms=7000), note, lost]
    assert meeting.duration_samples == 5760
    assert not (settings.temp_dir / LEFT).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[{"kind": "note"}]', b'[{"kind": "new", "wall_at": ""}]'])
def test_damaged_marks_are_passed_over(settings: Settings, content: bytes) -> None:
    (folder := settings.temp_dir / LEFT).mkdir(parents=True)
    (folder / "marks.json").write_bytes(content)
    assert left_marks.read(folder) == []
