"""The cleanup removes what nobody needs any more, and nothing else."""

import asyncio
import errno
import logging
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from discord_recorder import ServicesManager, Settings, StorageError
from discord_recorder.ids import MeetingId
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.database import Database
from discord_recorder.storage.files import LocalRecordingStore
from discord_recorder.storage.records import MeetingStatus, NewChunk
from tests.audio.signals import to_pcm, tone
from tests.support.clock import START, FakeClock
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import (
    BOB,
    CHANNEL,
    MEETING,
    OpenServices,
    chunks_of,
    exists,
    recording_of,
    sound_of,
    started,
    stopped,
)
from tests.support.rows import a_chunk, a_meeting
from tests.support.waiting import until

RATE = 48_000
GONE = MeetingId("0" * 16)


async def leave_behind(settings: Settings, ages_hours: Iterable[float], status: MeetingStatus | None = None) -> None:
    """Rows and files of chunks that are DONE, of a meeting that ended so (None: that nobody knows)."""

    def leave(tx: Connection) -> None:
        if status is not None:
            meetings.add(tx, a_meeting(id=GONE, status=status, owner=None))
        for number, age in enumerate(ages_hours):
            chunk = a_chunk(number, meeting_id=GONE)
            chunks.add(tx, [chunk], START - timedelta(hours=age))
            make_files(settings, chunk)
        for claimed in chunks.claim(tx, owner="me", now=0, lease_until=0, limit=100):
            chunks.settle(tx, claimed, transcode_status="done")

    database = Database(settings.database_file)
    await database.open()
    await database.write(leave)
    await database.close()


def make_files(settings: Settings, chunk: NewChunk) -> None:
    for key in (chunk.source_key, chunk.mp3_key):
        path = settings.temp_dir / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"audio")


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class TestAge:
    @pytest.mark.parametrize("status", [MeetingStatus.COMPLETED, MeetingStatus.FAILED, None])
    async def test_what_is_older_goes_and_is_counted(
        self, settings: Settings, open_services: OpenServices, clock: FakeClock, status: MeetingStatus | None
    ) -> None:
        await leave_behind(settings, [50, 25, 23, 1], status)
        async with open_services(clock=clock) as services:
            recorder = services.discord_recorder_service
            assert await recorder._cleanup_old_temp_recordings_once(ttl_hours=48) == 1
            assert await recorder._cleanup_old_temp_recordings_once() == 1
            assert len(await chunks_of(services, GONE)) == 2
            assert len(files_in(settings.temp_dir)) == 4
            assert await recorder.cleanup_old_temp_recordings_once() == 0
            clock.advance(3600 * 2)
            assert await recorder.cleanup_old_temp_recordings_once() == 1
            assert await recorder.cleanup_old_temp_recordings_once(0) == 1
            assert files_in(settings.temp_dir) == []
            assert await chunks_of(services, GONE) == []
            assert list(settings.temp_dir.iterdir()) == []

    async def test_it_runs_by_itself(self, settings: Settings, open_services: OpenServices, clock: FakeClock) -> None:
        await leave_behind(settings, [25, 23.9, 22.9])
        async with open_services(clock=clock) as services:

            async def left(count: int) -> bool:
                return len(await chunks_of(services, GONE)) == count

            await until(lambda: clock.sleeping)
            await clock.pass_by(3601, step=3601 / 4)
            await until(lambda: left(1))
            await clock.pass_by(3600, step=900)
            await until(lambda: left(0))

    @pytest.mark.parametrize("ttl_hours", [1e5, 1e9, float("inf")])
    async def test_a_ttl_of_ages(
        self, settings: Settings, open_services: OpenServices, clock: FakeClock, ttl_hours: float
    ) -> None:
        await leave_behind(settings, [50])
        async with open_services(clock=clock) as services:
            assert await services.discord_recorder_service.cleanup_old_temp_recordings_once(ttl_hours) == 0
            assert len(await chunks_of(services, GONE)) == 1


class TestWhatIsNeeded:
    async def test_a_live_session_is_left_alone(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(round(3.5 * RATE))))
            await session.push_audio_data(to_pcm(tone(round(0.5 * RATE))), user_id=BOB)
            await recorder.wait_for_pending_transcodes(MEETING)
            clock.advance(3600 * 100)
            assert await recorder.cleanup_old_temp_recordings_once(0) == 0
            await recorder.pause_session(CHANNEL)
            clock.advance(3600 * 100)
            assert await recorder.cleanup_old_temp_recordings_once(0) == 0
            recording = await stopped(services)
            assert recording["status"] == "complete"
            assert len(sound_of(recording)) == 3.5 * RATE

    async def test_a_meeting_that_is_still_to_be_promoted(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg, clock: FakeClock
    ) -> None:
        unreliable.hold()
        async with open_services(clock=clock, ffmpeg_path=str(unreliable.path), transcode_wait_seconds=0) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(3 * RATE)))
            await recorder.stop_session(CHANNEL)
            clock.advance(3600 * 100)
            assert await recorder.cleanup_old_temp_recordings_once(0) == 0
            unreliable.hold(False)
            assert await recorder.wait_until_ended(MEETING, 60)
            assert len(sound_of(await recording_of(services))) == 3 * RATE

    async def test_a_failed_chunk_is_the_only_copy_of_its_audio(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg, clock: FakeClock
    ) -> None:
        unreliable.fail_always()
        async with open_services(clock=clock, ffmpeg_path=str(unreliable.path), transcode_attempts=1) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(2 * RATE)))
            await stopped(services)
            clock.advance(3600 * 1000)
            assert await recorder.cleanup_old_temp_recordings_once(0) == 0
            found = await chunks_of(services)
            assert len(found) == 2
            assert all(exists(chunk["source_path"]) for chunk in found)

    async def test_a_finished_recording(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock, keep_master=True) as services:
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(RATE)))
            await session.push_audio_data(to_pcm(tone(RATE)), user_id=BOB)
            await stopped(services)
            before = files_in(services.settings.recordings_dir)
            assert len(before) == 6
            clock.advance(3600 * 1000)
            await services.discord_recorder_service.cleanup_old_temp_recordings_once(0)
            assert files_in(services.settings.recordings_dir) == before

    async def test_while_a_session_is_busy(self, services: ServicesManager) -> None:
        """Cleanups all the time do not take anything from under a session."""
        recorder = services.discord_recorder_service

        async def clean_up() -> None:
            while True:
                assert await recorder.cleanup_old_temp_recordings_once(0) == 0

        cleaning = asyncio.create_task(clean_up())
        for _ in range(3):
            session = await started(services, meeting_id=None)
            for user in (1, 2):
                await session.push_audio_data(to_pcm(tone(2 * RATE + 1000)), user_id=user)
            recording = await stopped(services, session.meeting_id)
            assert recording["status"] == "complete"
            assert {len(sound_of(recording, user)) for user in (1, 2, None)} == {2 * RATE + 1000}
        cleaning.cancel()
        await asyncio.gather(cleaning, return_exceptions=True)


class TestOrphans:
    async def test_files_that_no_row_names_go(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(RATE)))
        await stopped(services)
        settings = services.settings
        orphans = [
            settings.temp_dir / GONE / "1001/000000000000-0.pcm",
            settings.temp_dir / GONE / "mix/track.mp3",
            settings.temp_dir / MEETING / "mending/1001.mp3",
            *(settings.recordings_dir / MEETING / f"1.{suffix}" for suffix in ("mp3", "flac", "wav")),
        ]
        strangers = [
            settings.temp_dir / "notes.txt",
            settings.temp_dir / "my folder/file",
            settings.temp_dir / GONE / "new.pcm",  # perhaps another database's
            settings.recordings_dir / "notes.txt",
            settings.recordings_dir / "my-folder/file.mp3",
            settings.recordings_dir / GONE / "1001.mp3",
            settings.data_dir / "backup.sqlite3",
        ]
        for path in [*orphans, *strangers]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            if GONE in path.parts and path in orphans:
                os.utime(path, (0, 0))
        recording = await recording_of(services)
        assert await services.discord_recorder_service.cleanup_old_temp_recordings_once() == 0
        assert [path for path in orphans if path.exists()] == []
        assert [path for path in strangers if not path.exists()] == []
        assert exists(recording["path"])

    async def test_what_a_deleted_meeting_left_goes_but_not_what_has_its_id_now(
        self, services: ServicesManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder = services.discord_recorder_service
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(RATE)))
        recording = await stopped(services)

        def refuse(_: LocalRecordingStore, key: str) -> None:
            raise StorageError(f"{key} could not be deleted")

        monkeypatch.setattr(LocalRecordingStore, "delete", refuse)
        with pytest.raises(StorageError):
            await recorder.delete_meeting(MEETING)
        monkeypatch.undo()
        assert exists(recording["path"])
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(1000)))
        await recorder.cleanup_old_temp_recordings_once()
        await session.push_audio_data(to_pcm(tone(1000)))
        await recorder.cleanup_old_temp_recordings_once(0)
        recording = await stopped(services)
        assert recording["status"] == "complete"
        assert len(sound_of(recording)) == 2000
        await recorder.delete_meeting(MEETING)
        assert list(services.settings.recordings_dir.iterdir()) == []


class TestUndeletable:
    async def test_is_told_counted_and_tried_again(
        self,
        settings: Settings,
        open_services: OpenServices,
        clock: FakeClock,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await leave_behind(settings, [50, 50])
        stuck = settings.temp_dir / a_chunk(0, meeting_id=GONE).source_key
        unlink = Path.unlink

        def refuse(path: Path, missing_ok: bool = False) -> None:
            if path == stuck:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", refuse)
        async with open_services(clock=clock) as services:
            recorder = services.discord_recorder_service
            assert await recorder.cleanup_old_temp_recordings_once() == 1
            assert await recorder.count_undeletable_files() == 1
            (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
            assert str(stuck) in warning.getMessage()
            assert [chunk["start_ms"] for chunk in await chunks_of(services, GONE)] == [0], "its row stays"
            assert await recorder.cleanup_old_temp_recordings_once() == 0
            assert await recorder.count_undeletable_files() == 2
            assert exists(str(stuck))
            monkeypatch.undo()
            assert await recorder.cleanup_old_temp_recordings_once() == 1
            assert await chunks_of(services, GONE) == []
            assert await recorder.count_undeletable_files() == 2
