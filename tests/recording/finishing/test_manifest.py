"""The manifest says of every moment of every track whether it is heard, and if not why."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from discord_recorder import ServicesManager, StorageError
from discord_recorder.audio.opus import missing_packet
from discord_recorder.recording.finishing.manifest import Manifest
from discord_recorder.services.sql_recording import RecordingDict
from discord_recorder.storage.database import Database
from discord_recorder.voice.sink import GapReason
from tests.audio.signals import to_pcm, tone
from tests.recording.live_frames import Sender, hear_all, tone_packets
from tests.support.clock import FakeClock
from tests.support.ffmpeg import BAD_PCM, UnreliableFfmpeg
from tests.support.manifests import gaps, heard, part_of, read_manifest
from tests.support.recorder import (
    ALICE,
    BOB,
    CHANNEL,
    MEETING,
    OpenServices,
    recording_of,
    started,
    stopped,
    track_of,
)

RATE = 48_000
SECOND = 4 * RATE


async def manifest_of(services: ServicesManager) -> tuple[RecordingDict, Manifest]:
    """The recording, and its manifest as the API gives it, which is what the file says."""
    recording = await recording_of(services)
    manifest = await services.sql_recording_service.get_manifest(MEETING)
    assert manifest == read_manifest(recording)
    return recording, manifest


class TestPushed:
    async def test_every_moment(self, services: ServicesManager) -> None:
        session = await started(services, title="Stand-up")
        await session.set_speaker_name(BOB, "Ben")
        await session.push_audio_data(to_pcm(tone(RATE)))
        await session.push_audio_data(to_pcm(tone(RATE // 2)), at_ms=4250)
        await session.push_audio_data(bytes(SECOND // 10) + to_pcm(tone(RATE, hertz=700)), user_id=BOB, at_ms=900)
        await stopped(services)
        recording, manifest = await manifest_of(services)
        assert manifest["duration_samples"] == 4.75 * RATE
        assert gaps(part_of(manifest, ALICE)) == [(1000, 4250, "silence")]
        [(start, end)] = heard(part_of(manifest, BOB))
        assert start == pytest.approx(RATE, abs=2), "a tone begins with a zero"
        assert end == pytest.approx(2 * RATE, abs=2)
        assert [part["name"] for part in manifest["tracks"]] == [None, "Ben", None]
        assert track_of(recording, ALICE)["heard_ms"] == 1500
        assert [track_of(recording, ALICE)[key] for key in ("lost_ms", "concealed_ms", "longest_gap_ms")] == [0, 0, 0]
        assert (manifest["meeting"]["title"], manifest["meeting"]["end_reason"]) == ("Stand-up", "stopped")
        assert manifest["program"].startswith("discord-recorder ")
        assert {"python", "sqlite", "av"} <= manifest["versions"].keys()
        assert (manifest["packets"], manifest["events"], manifest["pauses"]) == (None, [], [])

    async def test_pauses_and_notes(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.set_speaker_name(BOB, "Ben")
            await session.push_audio_data(to_pcm(tone(RATE)))
            clock.elapsed = 1.0
            await recorder.pause_session(CHANNEL)
            clock.elapsed = 61.0
            await recorder.resume_session(CHANNEL)
            assert await recorder.add_note(CHANNEL, "Budget", BOB)
            await session.push_audio_data(to_pcm(tone(RATE)))
            clock.elapsed = 62.0
            await stopped(services)
            _, manifest = await manifest_of(services)
        start = datetime.fromisoformat(manifest["meeting"]["started_at"])
        paused, resumed = ((start + timedelta(seconds=seconds)).isoformat() for seconds in (1, 61))
        assert manifest["pauses"] == [{"at_ms": 1000, "wall_at": paused, "wall_ms": 60_000}]
        assert manifest["clock"] == [
            {"at_ms": 0, "wall_at": start.isoformat()},
            {"at_ms": 1000, "wall_at": resumed},
        ]
        assert manifest["notes"] == [
            {"at_ms": 1000, "wall_at": resumed, "user_id": str(BOB), "name": "Ben", "text": "Budget"}
        ]
        assert manifest["duration_ms"] == 2000
        assert gaps(part_of(manifest, ALICE)) == [], "a pause of no session time is no gap"

    async def test_masters_have_checksums(self, open_services: OpenServices) -> None:
        async with open_services(keep_master=True) as services:
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(RATE)))
            await stopped(services)
            _, manifest = await manifest_of(services)
            assert part_of(manifest, ALICE)["master_file"] == f"{ALICE}.flac"

    async def test_chunks_of_an_earlier_version_are_heard_throughout(
        self, services: ServicesManager, data_dir: Path
    ) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(RATE)) + bytes(SECOND) + to_pcm(tone(RATE)))
        await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
        database = Database(data_dir / "recorder.sqlite3")
        await database.write(lambda tx: tx.execute(text("UPDATE temp_recordings SET stretches = NULL")))
        await database.close()
        await stopped(services)
        _, manifest = await manifest_of(services)
        assert part_of(manifest, ALICE)["heard_ms"] == 3000


class TestLive:
    async def test_losses_silence_and_a_lost_connection(self, services: ServicesManager) -> None:
        session = await started(services)
        live = session.go_live()
        packets = tone_packets(1.0)
        packets[10:12] = [missing_packet(packets[0], 960)] * 2
        packets[30:40] = [missing_packet(packets[0], 960)] * 10
        hear_all(live, Sender(ALICE, 1).says(packets, 0.5), Sender(BOB, 2).says(tone_packets(2.0), 1.0))
        live.on_gap(live.started + 2.9, live.started + 3.4, GapReason.SERVER_MOVED)
        hear_all(live, Sender(BOB, 3).says(tone_packets(0.5), 3.5))
        status = await session.status()
        await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
        await stopped(services)
        recording, manifest = await manifest_of(services)
        duration = manifest["duration_ms"]
        assert duration >= 4000
        alice, bob = gaps(part_of(manifest, ALICE)), gaps(part_of(manifest, BOB))
        assert alice == [
            (0, 500, "silence"),
            (700, 740, "lost"),
            (1100, 1300, "lost"),
            (1500, 2900, "silence"),
            (2900, 3400, "disconnected"),
            (3400, duration, "silence"),
        ]
        assert bob == [
            (0, 1000, "silence"),
            (3000, 3400, "disconnected"),
            (3400, 3500, "silence"),
            (4000, duration, "silence"),
        ]
        assert track_of(recording, ALICE)["lost_ms"] == 240
        assert 100 < (track_of(recording, ALICE)["concealed_ms"] or 0) < 240
        assert track_of(recording, ALICE)["longest_gap_ms"] == 500
        assert [(event["kind"], event["at_ms"], event["ends_ms"]) for event in manifest["events"]] == [
            ("disconnected", 2900, 3400)
        ]
        assert manifest["packets"] is not None
        assert manifest["packets"]["received"] == 50 + 5 + 100 + 5 + 25 + 5
        bobs = part_of(manifest, BOB)["packets"]
        assert bobs is not None
        assert bobs["stored"] == 100 + 5 + 25 + 5
        assert {track["user_id"] for track in status["tracks"]} == {str(ALICE), str(BOB)}

    async def test_the_status_tells_while_it_goes_on(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        session = await started(services)
        live = session.go_live()
        packets = tone_packets(1.0)
        packets[10:12] = [missing_packet(packets[0], 960)] * 2
        hear_all(live, Sender(ALICE, 1).says(packets, 0.5))
        await session.flush()
        await recorder.wait_for_pending_transcodes(MEETING)
        [track] = (await session.status())["tracks"]
        assert (track["heard_ms"], track["lost_ms"], track["concealed_ms"]) == (960, 40, 40)
        assert (track["longest_gap_ms"], track["undecryptable_ms"]) == (40, 0)
        [speaker] = await services.sql_recording_service.get_speakers_for_meeting(MEETING)
        assert {key: speaker[key] for key in ("heard_ms", "lost_ms", "concealed_ms")} == {
            key: track[key] for key in ("heard_ms", "lost_ms", "concealed_ms")
        }

    async def test_nobody_spoke(self, services: ServicesManager) -> None:
        session = await started(services)
        session.go_live()
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert await services.sql_recording_service.get_recordings_for_meeting(MEETING) == []
        assert await services.sql_recording_service.get_manifest(MEETING) is None
        assert await services.sql_recording_service.get_speakers_for_meeting(MEETING) == []


class TestMending:
    async def incomplete(self, services: ServicesManager) -> Manifest:
        """Of five chunks of Alice's the second and the third failed; Bob's are whole."""
        session = await started(services)
        pcm = bytearray(to_pcm(tone(5 * RATE)))
        for second in (1, 2):
            pcm[second * SECOND : second * SECOND + 8] = BAD_PCM
        await session.push_audio_data(bytes(pcm))
        await session.push_audio_data(to_pcm(tone(RATE)), user_id=BOB, at_ms=500)
        await stopped(services)
        _, manifest = await manifest_of(services)
        return manifest

    async def retried(self, services: ServicesManager, failing: UnreliableFfmpeg) -> RecordingDict:
        recorder = services.discord_recorder_service
        failing.fail_on_bad_pcm(False)
        assert await recorder.retry_meeting(MEETING) == 2
        assert await recorder.wait_until_ended(MEETING, 60)
        recording = await recording_of(services)
        assert recording["status"] == "complete"
        return recording

    @pytest.fixture
    def failing(self, unreliable: UnreliableFfmpeg) -> UnreliableFfmpeg:
        unreliable.fail_on_bad_pcm()
        return unreliable

    async def test_failed_chunks_are_gaps_until_they_are_mended(
        self, open_services: OpenServices, failing: UnreliableFfmpeg
    ) -> None:
        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            before = await self.incomplete(services)
            assert gaps(part_of(before, ALICE)) == [(1000, 3000, "failed")]
            assert part_of(before, ALICE)["longest_gap_ms"] == 2000
            await self.retried(services, failing)
            recording, after = await manifest_of(services)
            assert gaps(part_of(after, ALICE)) == []
            assert part_of(after, BOB)["gaps"] == part_of(before, BOB)["gaps"]
            assert track_of(recording, ALICE)["heard_ms"] == 5000
            assert after["meeting"] == before["meeting"] | {"status": "complete"}

    async def test_what_an_earlier_version_recorded_goes_without(
        self, open_services: OpenServices, failing: UnreliableFfmpeg, data_dir: Path
    ) -> None:
        columns = ("heard_samples", "lost_samples", "concealed_samples", "undecryptable_samples", "longest_gap_samples")
        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            await self.incomplete(services)
            old = Path((await recording_of(services))["path"]).with_name("manifest.json")
            old.unlink()
            database = Database(data_dir / "recorder.sqlite3")
            await database.write(
                lambda tx: tx.execute(text("UPDATE recordings SET manifest_key = NULL, duration_samples = NULL"))
            )
            cleared = ", ".join(f"{column} = NULL" for column in columns)
            await database.write(lambda tx: tx.execute(text(f"UPDATE recording_tracks SET {cleared}")))
            await database.close()
            assert await services.sql_recording_service.get_manifest(MEETING) is None
            recording = await self.retried(services, failing)
            assert recording["manifest_path"] is None
            assert recording["duration_ms"] == 5000
            assert {track["heard_ms"] for track in recording["tracks"]} == {None}
            assert await services.sql_recording_service.get_manifest(MEETING) is None
            speakers = await services.sql_recording_service.get_speakers_for_meeting(MEETING)
            assert [speaker["lost_ms"] for speaker in speakers] == [None, None]

    @pytest.mark.parametrize("damage", ["not JSON", "[]", '{"format": 2}', None])
    async def test_a_damaged_manifest_is_told_and_hinders_nothing(
        self, open_services: OpenServices, failing: UnreliableFfmpeg, damage: str | None
    ) -> None:
        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            await self.incomplete(services)
            path = Path((await recording_of(services))["path"]).with_name("manifest.json")
            if damage is None:
                path.unlink()
            else:
                path.write_text(damage)
            with pytest.raises(StorageError, match="manifest"):
                await services.sql_recording_service.get_manifest(MEETING)
            await self.retried(services, failing)
            await services.discord_recorder_service.delete_meeting(MEETING)
            assert not path.parent.exists()
