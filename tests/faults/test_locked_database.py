"""The database is locked by another program for longer than anybody waits: nothing is lost, and it is told."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from discord_recorder import DatabaseBusyError, DiscordRecorderManagerService, ServicesManager
from discord_recorder.recording.tracks import sealing
from discord_recorder.recording.transcoding.queue import SqlTranscodeQueue, Transcoded
from discord_recorder.recording.transcoding.transcode import Transcoder
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import Chunk, MarkKind
from tests.faults.deadlines import known, soon, true
from tests.faults.endings import assert_holds_voices, assert_tidy, the_recording
from tests.faults.voices import ADA, BEN, said, samples
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.marks import stored, stored_marks
from tests.support.recorder import CHANNEL, MEETING, quick_settings, started

BUSY: dict[str, Any] = {"database_busy_seconds": 0.2, "flush_interval_seconds": 0.5}
WAY_OUT = "Close the program that holds it .* or raise database_busy_seconds"


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Another program holds the database's lock."""
    connection = sqlite3.connect(data_dir / "recorder.sqlite3", isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


@pytest.fixture
async def services(data_dir: Path) -> AsyncIterator[ServicesManager]:
    async with ServicesManager(quick_settings(data_dir, **BUSY)) as manager:
        yield manager


async def test_pushes_go_on_and_sealing_catches_up(services: ServicesManager, data_dir: Path) -> None:
    session = await started(services)
    total = samples(3.3)
    with locked(data_dir):
        for start in range(0, total, 12_000):
            count = min(12_000, total - start)
            for user in (ADA, BEN):
                await session.push_audio_data(said(user, start, count), user_id=user)
        status = await session.status()
        assert (status["is_recording"], status["total_chunks"]) == (True, 0)
        assert status["buffer_size_bytes"] == 2 * total * 4

    async def caught_up() -> bool | None:
        return (await session.status())["total_chunks"] >= 12 or None

    await known(caught_up)
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    assert_holds_voices(await the_recording(services), {ADA: total, BEN: total})
    await assert_tidy(data_dir)


async def test_even_when_very_much_waits_nothing_is_refused(
    services: ServicesManager, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "MAX_UNSEALED", 3)
    session = await started(services)
    total = samples(4)
    with locked(data_dir):
        await session.push_audio_data(said(ADA, 0, total), user_id=ADA)
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    assert_holds_voices(await the_recording(services), {ADA: total})


async def test_a_start_says_what_to_do_and_can_be_tried_again(services: ServicesManager, data_dir: Path) -> None:
    service = services.discord_recorder_service
    await services.start()
    with locked(data_dir), pytest.raises(DatabaseBusyError, match=WAY_OUT):
        await service.start_session(CHANNEL, MEETING)
    assert await service.list_active_sessions() == []
    assert await service.start_session(CHANNEL, MEETING)


async def test_a_stop_says_so_and_can_be_tried_again(services: ServicesManager, data_dir: Path) -> None:
    service, session = services.discord_recorder_service, await started(services)
    await session.push_audio_data(said(ADA, 0, samples(1.3)), user_id=ADA)
    with locked(data_dir):
        with pytest.raises(DatabaseBusyError, match=WAY_OUT):
            await service.stop_session(CHANNEL)
        assert CHANNEL in service.sessions
    assert await service.stop_session(CHANNEL)
    assert CHANNEL not in service.sessions
    assert_holds_voices(await the_recording(services), {ADA: samples(1.3)})
    await assert_tidy(data_dir)


async def test_pause_and_resume_take_effect_at_once(services: ServicesManager, data_dir: Path) -> None:
    service, session = services.discord_recorder_service, await started(services)

    async def stored(status: str) -> bool:
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        assert meeting is not None
        return meeting["status"] == status

    await session.push_audio_data(said(ADA, 0, samples(0.7)), user_id=ADA)
    with locked(data_dir):
        assert await service.pause_session(CHANNEL)
        assert session.is_paused
        await session.push_audio_data(said(ADA, 0, samples(0.7)), user_id=ADA)
    await true(lambda: stored("paused"))
    with locked(data_dir):
        assert await service.resume_session(CHANNEL)
        assert session.is_recording
        await session.push_audio_data(said(ADA, samples(0.7), samples(0.7)), user_id=ADA)
    await true(lambda: stored("recording"))
    assert await service.stop_session(CHANNEL)
    assert_holds_voices(await the_recording(services), {ADA: samples(1.4)})


async def test_transcodes_that_end_meanwhile_are_not_held_up_for_long(
    data_dir: Path, unreliable: UnreliableFfmpeg
) -> None:
    unreliable.hold()
    settings = quick_settings(data_dir, ffmpeg_path=str(unreliable.path), **BUSY)
    async with ServicesManager(settings) as services:
        session = await started(services)
        await session.push_audio_data(said(ADA, 0, samples(2)), user_id=ADA)
        await soon(lambda: unreliable.calls)
        with locked(data_dir):
            unreliable.hold(False)
            folder = data_dir / "temp" / MEETING / str(ADA)
            await soon(lambda: list(folder.glob("*.mp3")))
            for _ in range(4):  # long enough for the worker to give up as well
                with pytest.raises(DatabaseBusyError):
                    await services.discord_recorder_service.start_session(CHANNEL + 1)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert_holds_voices(await the_recording(services), {ADA: samples(2)})


async def test_closing_leaves_the_rest_to_the_next_start(data_dir: Path) -> None:
    async with ServicesManager(quick_settings(data_dir, **BUSY)) as services:
        session = await started(services)
        await session.push_audio_data(said(ADA, 0, samples(1.3)), user_id=ADA)
        with locked(data_dir):
            await services.aclose()
    async with ServicesManager(quick_settings(data_dir)) as services:
        assert_holds_voices(await the_recording(services), {ADA: samples(1.3)})
        await assert_tidy(data_dir)


async def test_opening_says_so_and_can_be_tried_again(data_dir: Path) -> None:
    async with ServicesManager(quick_settings(data_dir)):
        pass
    services = ServicesManager(quick_settings(data_dir, **BUSY))
    with locked(data_dir), pytest.raises(DatabaseBusyError, match=WAY_OUT):
        await services.start()
    async with services:
        assert await services.discord_recorder_service.start_session(CHANNEL, MEETING)


async def test_a_pause_whose_caller_is_cancelled_is_not_stored_for_good(
    services: ServicesManager, data_dir: Path
) -> None:
    """The write has begun and waits for the lock; it ends, and the next one knows that it cannot know."""
    service = services.discord_recorder_service
    session = await started(services)
    with locked(data_dir):
        pausing = asyncio.ensure_future(service.pause_session(CHANNEL))
        await soon(lambda: session.is_paused)
        await asyncio.sleep(0)
        pausing.cancel()
        await asyncio.wait([pausing])
    assert await service.resume_session(CHANNEL)

    async def stored() -> bool:
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        return meeting is not None and meeting["status"] == "recording"

    await true(stored)
    await session.tick()
    assert await stored()


async def test_notes_and_pauses_wait_for_it_and_hold_nothing_up(services: ServicesManager, data_dir: Path) -> None:
    service, session = services.discord_recorder_service, await started(services)
    with locked(data_dir):
        assert await service.add_note(CHANNEL, "Budget")
        for _ in range(3):
            await service.pause_session(CHANNEL)
            await service.resume_session(CHANNEL)
        assert await service.add_note(CHANNEL, "Wages")
        for second in range(2):
            await asyncio.wait_for(session.tick(), 60)
            await session.push_audio_data(said(ADA, samples(second), samples(1)), user_id=ADA)
        status = await session.status()
        assert (status["notes"], status["is_recording"]) == (2, True)

    async def texts() -> list[str]:
        return [note["text"] for note in await services.sql_recording_service.get_notes_for_meeting(MEETING)]

    async def are_stored() -> bool:
        return await texts() == ["Budget", "Wages"]

    await true(are_stored)
    assert await service.stop_session(CHANNEL)
    assert len(await stored_marks(services, MarkKind.PAUSED)) == 3
    assert await texts() == ["Budget", "Wages"]
    assert_holds_voices(await the_recording(services), {ADA: samples(2)})


async def test_what_waits_for_it_when_the_recorder_is_closed_is_stored_by_the_next_one(data_dir: Path) -> None:
    async with ServicesManager(quick_settings(data_dir, **BUSY)) as services:
        service, session = services.discord_recorder_service, await started(services)
        await session.push_audio_data(said(ADA, 0, samples(1.3)), user_id=ADA)
        await service.pause_session(CHANNEL)
        with locked(data_dir):
            await service.add_note(CHANNEL, "Budget")
            await service.resume_session(CHANNEL)
            await services.aclose()
    for _ in range(2):
        async with ServicesManager(quick_settings(data_dir)) as services:
            assert_holds_voices(await the_recording(services), {ADA: samples(1.3)})
            await assert_tidy(data_dir)
            meeting, (pause, note) = await stored(services)
        assert (pause.at_sample, note.text, note.at_sample) == (samples(1.3), "Budget", samples(1.3))
        assert pause.wall_ms > 0
        assert meeting.duration_samples == samples(1.3)


async def test_the_flush_loop_does_not_wait_for_it(data_dir: Path) -> None:
    """Files are synced and chunks cut however long others wait for the database."""
    settings = quick_settings(data_dir, **{**BUSY, "database_busy_seconds": 600.0})
    async with ServicesManager(settings) as services:
        service, session = services.discord_recorder_service, await started(services)
        with locked(data_dir):
            noting = asyncio.create_task(service.add_note(CHANNEL, "Budget"))
            await true(lambda: _has_notes(service, 1))
            await session.push_audio_data(said(ADA, 0, samples(0.3)), user_id=ADA)
            for _ in range(3):
                await session.tick()
            assert not noting.done()
        assert await noting
        assert await service.stop_session(CHANNEL)


async def test_however_many_wait_for_it_they_wait_together(
    services: ServicesManager, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, session = services.discord_recorder_service, await started(services)
    writes, write = 0, Database.write

    async def counted(self: Database, *arguments: Any, **named: Any) -> Any:
        nonlocal writes
        writes += 1
        return await write(self, *arguments, **named)

    monkeypatch.setattr(Database, "write", counted)
    with locked(data_dir):
        waiting = [asyncio.create_task(service.add_note(CHANNEL, f"{number}")) for number in range(100)]
        impatient = session.set_speaker_name(ADA, "Ada")
        await true(lambda: _has_notes(service, 100))
        assert isinstance(impatient, asyncio.Future)
        impatient.cancel()
    assert await asyncio.gather(*waiting) == [True] * 100
    assert writes < 50, "not one for each"
    assert await service.stop_session(CHANNEL)
    notes = await services.sql_recording_service.get_notes_for_meeting(MEETING)
    assert [note["text"] for note in notes] == [f"{number}" for number in range(100)]


async def _has_notes(service: DiscordRecorderManagerService, number: int) -> bool:
    status = await service.get_session_status(CHANNEL)
    return status is not None and status["notes"] == number


async def test_a_cancelled_note_is_stored_once(services: ServicesManager, data_dir: Path) -> None:
    service = services.discord_recorder_service
    await started(services)
    with locked(data_dir):
        noting = asyncio.ensure_future(service.add_note(CHANNEL, "Budget"))
        await true(lambda: _has_notes(service, 1))
        noting.cancel()
        await asyncio.wait([noting])
    assert await service.stop_session(CHANNEL)
    assert [note["text"] for note in await services.sql_recording_service.get_notes_for_meeting(MEETING)] == ["Budget"]


async def test_work_that_breaks_while_the_database_is_locked_is_not_held_for_ever(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the transcode nor giving it back works; when its lease has ended it is tried again."""
    transcode, tries = Transcoder.transcode, 0

    async def broken_once(self: Transcoder, batch: Sequence[Chunk]) -> list[Transcoded]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("a fault of ours")
        return await transcode(self, batch)

    async def locked_out(_self: SqlTranscodeQueue, _claimed: Sequence[Chunk]) -> None:
        raise DatabaseBusyError("locked")

    monkeypatch.setattr(Transcoder, "transcode", broken_once)
    monkeypatch.setattr(SqlTranscodeQueue, "give_back", locked_out)
    settings = quick_settings(data_dir, lease_seconds=3.0, transcode_time_limit_seconds=2.0)
    async with ServicesManager(settings) as services:
        session = await started(services)
        await session.push_audio_data(said(ADA, 0, samples(1)), user_id=ADA)
        assert await services.discord_recorder_service.wait_for_pending_transcodes(MEETING, 60)
        assert tries == 2
        await session.push_audio_data(said(ADA, samples(1), samples(1)), user_id=ADA)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert_holds_voices(await the_recording(services), {ADA: samples(2)})
