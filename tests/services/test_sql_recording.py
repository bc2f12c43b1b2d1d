import hashlib
from pathlib import Path
from typing import Any

import pytest

from discord_recorder import InvalidIdError, ServicesManager, generate_16_char_uuid
from discord_recorder.services.manager import open_catalog
from tests.audio.signals import to_pcm, tone
from tests.support.clock import START, FakeClock
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import (
    ALICE,
    BOB,
    CHANNEL,
    GUILD,
    MEETING,
    OpenServices,
    bytes_of,
    chunks_of,
    exists,
    recording_of,
    sound_of,
    started,
    stopped,
    track_of,
)
from tests.support.waiting import until

CHUNK_KEYS = {
    "id",
    "meeting_id",
    "user_id",
    "guild_id",
    "created_at",
    "completed_at",
    "transcode_status",
    "duration_ms",
    "sha256",
    "cleaned",
    "source_path",
    "mp3_path",
}
RECORDING_KEYS = {
    "id",
    "meeting_id",
    "guild_id",
    "channel_id",
    "user_id",
    "started_at",
    "ended_at",
    "duration_ms",
    "title",
    "path",
    "sha256",
    "size_bytes",
    "status",
    "recovered",
    "tracks",
}
TRACK_KEYS = {"user_id", "name", "kind", "path", "duration_ms", "sha256"}


def sha256(path: str) -> str:
    return hashlib.sha256(bytes_of(path)).hexdigest()


class TestTempRecordings:
    async def test_a_chunk_that_waits(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg, clock: FakeClock
    ) -> None:
        unreliable.hold()
        async with open_services(
            ffmpeg_path=str(unreliable.path), clock=clock, transcode_workers=1, shutdown_grace_seconds=0
        ) as services:
            session = await started(services)
            clock.elapsed = 1.5
            pcm = to_pcm(tone(48_000))
            await session.push_audio_data(pcm)
            await until(lambda: unreliable.calls)
            (chunk,) = await chunks_of(services)
            assert set(chunk) >= CHUNK_KEYS
            assert (chunk["meeting_id"], chunk["user_id"], chunk["guild_id"]) == (MEETING, str(ALICE), str(GUILD))
            assert (chunk["created_at"] - START).total_seconds() == 1.5
            assert (chunk["transcode_status"], chunk["attempts"], chunk["error"]) == ("in_progress", 1, None)
            assert (chunk["completed_at"], chunk["sha256"], chunk["cleaned"]) == (None, None, False)
            assert (chunk["start_ms"], chunk["duration_ms"]) == (0, 1000)
            assert bytes_of(chunk["source_path"]) == pcm
            assert not exists(chunk["mp3_path"])
            await session.push_audio_data(pcm)
            assert [chunk["transcode_status"] for chunk in await chunks_of(services)] == ["in_progress", "queued"]

    async def test_a_chunk_that_is_done(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(100_000)))
        await session.push_audio_data(to_pcm(tone(50_000)), user_id=BOB, at_ms=1500)
        await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
        chunks = await chunks_of(services)
        assert [(chunk["user_id"], chunk["start_ms"], chunk["duration_ms"]) for chunk in chunks] == [
            (str(ALICE), 0, 1000),
            (str(ALICE), 1000, 1000),
            (str(BOB), 1500, 1000),
        ]
        for chunk in chunks:
            assert (chunk["transcode_status"], chunk["cleaned"], chunk["error"]) == ("done", True, None)
            assert chunk["completed_at"] is not None
            assert chunk["completed_at"] >= chunk["created_at"]
            assert chunk["sha256"] == sha256(chunk["mp3_path"])
            assert not exists(chunk["source_path"])
        assert len({chunk["id"] for chunk in chunks}) == 3

    async def test_a_chunk_that_failed(self, open_services: OpenServices, unreliable: UnreliableFfmpeg) -> None:
        unreliable.fail_always()
        async with open_services(ffmpeg_path=str(unreliable.path)) as services:
            session = await started(services)
            pcm = to_pcm(tone(48_000))
            await session.push_audio_data(pcm)
            await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
            (chunk,) = await chunks_of(services)
            assert (chunk["transcode_status"], chunk["attempts"], chunk["cleaned"]) == ("failed", 3, False)
            assert "this chunk cannot be encoded" in str(chunk["error"])
            assert chunk["completed_at"] is not None
            assert bytes_of(chunk["source_path"]) == pcm

    async def test_without_any_user(self, services: ServicesManager) -> None:
        session = await started(services, user_id=None, guild_id=None)
        await session.push_audio_data(to_pcm(tone(48_000)))
        (chunk,) = await chunks_of(services)
        assert (chunk["user_id"], chunk["guild_id"]) == (None, None)
        recording = await stopped(services)
        (track,) = recording["tracks"]
        assert (track["user_id"], track["kind"], track["duration_ms"]) == (None, "speaker", 1000)
        assert (recording["user_id"], recording["guild_id"]) == (None, None)
        assert len(sound_of(recording, None)) == 48_000

    async def test_of_an_unknown_meeting(self, services: ServicesManager) -> None:
        sql = services.sql_recording_service
        assert await sql.get_temp_recordings_for_meeting(meeting_id=MEETING) == []
        assert await sql.get_recordings_for_meeting(MEETING) == []
        assert await sql.get_meeting(MEETING) is None
        for call in (sql.get_temp_recordings_for_meeting, sql.get_recordings_for_meeting, sql.get_meeting):
            with pytest.raises(InvalidIdError):
                await call("latest")


class TestRecordings:
    async def test_of_one_speaker(self, services: ServicesManager) -> None:
        session = await started(services, title="Stand-up")
        await session.push_audio_data(to_pcm(tone(72_001)))
        recording = await stopped(services)
        assert set(recording) >= RECORDING_KEYS
        (track,) = recording["tracks"]
        assert set(track) >= TRACK_KEYS
        assert (track["user_id"], track["name"], track["kind"]) == (str(ALICE), None, "speaker")
        assert (recording["meeting_id"], recording["title"]) == (MEETING, "Stand-up")
        assert (recording["channel_id"], recording["guild_id"]) == (str(CHANNEL), str(GUILD))
        assert recording["user_id"] == str(ALICE)
        assert (recording["status"], recording["recovered"]) == ("complete", False)
        assert recording["duration_ms"] == track["duration_ms"] == 1500
        assert recording["path"] == track["path"]
        assert recording["sha256"] == track["sha256"] == sha256(track["path"])
        assert recording["size_bytes"] == track["size_bytes"] == len(bytes_of(track["path"]))
        assert track["master_path"] is None

    async def test_of_several_speakers(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(72_000)))
        await session.push_audio_data(to_pcm(tone(96_000, hertz=500)), user_id=BOB)
        recording = await stopped(services)
        kinds = {track["user_id"]: track["kind"] for track in recording["tracks"]}
        assert kinds == {str(ALICE): "speaker", str(BOB): "speaker", None: "mix"}
        mix = track_of(recording, None)
        assert recording["path"] == mix["path"]
        assert recording["duration_ms"] == mix["duration_ms"] == 2000
        for track in recording["tracks"]:
            assert track["sha256"] == sha256(track["path"])
            assert Path(track["path"]).is_relative_to(services.settings.recordings_dir)

    async def test_listed_newest_first(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock) as services:
            ids = []
            for channel, guild in [(1, 7), (2, 7), (1, 8)]:
                clock.advance(60)
                ids.append(generate_16_char_uuid())
                recorder = services.discord_recorder_service
                assert await recorder.start_session(channel, ids[-1], ALICE, guild)
                await recorder.sessions[channel].push_audio_data(to_pcm(tone(1000)))
                await recorder.stop_session(channel)

            async def listed(**which: int | str) -> list[str]:
                found = await services.sql_recording_service.list_recordings(**which)  # type: ignore[arg-type]
                return [recording["meeting_id"] for recording in found]

            assert await listed() == ids[::-1]
            assert await listed(limit=1) == [ids[2]]
            assert await listed(limit=1, offset=1) == [ids[1]]
            assert await listed(channel_id=1) == [ids[2], ids[0]]
            assert await listed(guild_id="7") == [ids[1], ids[0]]
            assert await listed(guild_id=7, channel_id="2") == [ids[1]]
            assert await listed(guild_id=9) == []
            with pytest.raises(InvalidIdError):
                await listed(guild_id="x")
            assert [meeting["meeting_id"] for meeting in await services.sql_recording_service.list_meetings()] == ids
            newest = (await services.sql_recording_service.list_recordings())[0]
            assert newest == await recording_of(services, ids[2])


class TestMeetings:
    async def test_from_recording_to_completed(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock) as services:
            session = await started(services, title="Stand-up")
            expected: dict[str, Any] = {
                "meeting_id": MEETING,
                "channel_id": str(CHANNEL),
                "guild_id": str(GUILD),
                "user_id": str(ALICE),
                "title": "Stand-up",
                "status": "recording",
                "end_reason": None,
                "error": None,
                "recovered": False,
                "paused_dropped_bytes": 0,
                "started_at": START,
                "ended_at": None,
            }
            live: Any = await services.sql_recording_service.get_meeting(MEETING)
            assert live == expected
            await services.discord_recorder_service.pause_session(CHANNEL)
            await session.push_audio_data(bytes(1234))
            paused = await services.sql_recording_service.get_meeting(MEETING)
            assert paused is not None
            assert paused["status"] == "paused"
            await services.discord_recorder_service.stop_session(CHANNEL)
            ended = await services.sql_recording_service.get_meeting(MEETING)
            assert ended == {
                **expected,
                "status": "completed",
                "end_reason": "stopped",
                "paused_dropped_bytes": 1234,
                "ended_at": START,
            }


async def test_a_catalogue_reads_without_running_anything(services: ServicesManager) -> None:
    session = await started(services)
    await session.push_audio_data(to_pcm(tone(1000)))
    async with open_catalog(services.settings) as catalog:
        assert [meeting["status"] for meeting in await catalog.list_meetings()] == ["recording"]
    recording = await stopped(services)
    async with open_catalog(services.settings) as catalog:
        assert await catalog.get_recordings_for_meeting(MEETING) == [recording]
