"""The Opus of a live call beside its MP3s: as long as they are, at the same places, whatever happens to the call."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from discord_recorder import DiscordSessionHandler, ServicesManager
from discord_recorder.audio.opus import missing_packet
from discord_recorder.audio.opus_decoder import OpusDecoder
from discord_recorder.audio.opus_reader import read_ogg_opus
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.services.sql_recording import RecordingDict
from discord_recorder.voice.frames import OpusFrame
from tests.audio.opus_signals import encoded, speech
from tests.audio.signals import Samples, offset_of, played, to_pcm, tone
from tests.recording.live_frames import RATE, Sender, hear_all, tone_packets
from tests.support.clock import FakeClock
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import (
    ALICE,
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
    track_of,
)
from tests.support.waiting import until

MILLISECOND = RATE // 1000


def said(name: str, seconds: float) -> list[bytes]:
    return encoded(speech(name, seconds))


async def live_session(services: ServicesManager, **given: Any) -> tuple[DiscordSessionHandler, LiveCapture]:
    session = await started(services, **given)
    return session, session.go_live()


def master_of(recording: RecordingDict, user_id: int = ALICE) -> Path:
    master = track_of(recording, user_id)["master_path"]
    assert master is not None
    assert master.endswith(f"{MEETING}/{user_id}.opus")
    return Path(master)


def decoded_by_us(master: Path) -> Samples:
    stream = read_ogg_opus(master.read_bytes())
    assert stream.is_finished
    assert stream.dropped_bytes == 0
    decoder, sound = OpusDecoder(), bytearray(stream.end_sample * SAMPLE_BYTES)
    for packet in stream.packets:
        at = packet.at_sample * SAMPLE_BYTES
        pcm = decoder.decode(packet.opus, packet.at_sample)[: len(sound) - at]
        sound[at : at + len(pcm)] = pcm
    return np.frombuffer(bytes(sound), "<i2").reshape(-1, 2) / 32_768


def assert_aligned(recording: RecordingDict, user_id: int, spurts: Iterable[tuple[float, float]]) -> None:
    """Master and MP3 are as long as the recording, and within a millisecond of each other in each talk spurt."""
    mp3 = sound_of(recording, user_id)
    length = max(track["duration_ms"] for track in recording["tracks"]) * MILLISECOND
    for sound in (played(master_of(recording, user_id)), decoded_by_us(master_of(recording, user_id))):
        assert abs(len(sound) - length) < 20 * MILLISECOND
        for start, end in spurts:
            there = slice(round(start * RATE), round(end * RATE))
            assert np.abs(mp3[there]).max() > 0.01
            assert abs(offset_of(sound[there], mp3[there])) <= MILLISECOND


def packets_of(master: Path, wanted: Iterable[bytes]) -> list[bytes]:
    known = set(wanted)
    return [packet.opus for packet in read_ogg_opus(master.read_bytes()).packets if packet.opus in known]


class TestSound:
    async def test_is_aligned_with_the_mp3_through_silences(self, services: ServicesManager) -> None:
        _, live = await live_session(services)
        alice, bob = Sender(ALICE, 10), Sender(BOB, 11, runs_on=False)
        ada, ben = said("Ada", 5.0), said("Ben", 2.0)
        hear_all(live, alice.says(ada[:150], 0.4) + alice.says(ada[150:], 5.0), bob.says(ben, 1.013))
        recording = await stopped(services)
        assert recording["status"] == "complete"
        assert_aligned(recording, ALICE, [(0.4, 3.4), (5.0, 7.0)])
        assert_aligned(recording, BOB, [(1.013, 3.013)])
        assert packets_of(master_of(recording, ALICE), ada) == ada
        assert packets_of(master_of(recording, BOB), ben) == ben
        assert track_of(recording, None)["master_path"] is None

    async def test_through_losses_and_what_was_overtaken(self, services: ServicesManager) -> None:
        _, live = await live_session(services)
        packets = said("Ada", 4.0)
        frames = Sender(ALICE).says(packets, 0.5)
        frames[40:43] = [f._replace(opus=missing_packet(f.opus, 960)) for f in frames[40:43]]
        frames[60] = late(frames[60], frames[63])
        del frames[100:104]
        hear_all(live, frames)
        recording = await stopped(services)
        assert_aligned(recording, ALICE, [(0.5, 1.3), (1.4, 2.4), (2.7, 4.5)])
        heard = packets[:40] + packets[43:100] + packets[104:]
        assert packets_of(master_of(recording), packets) == heard

    async def test_through_a_pause(self, services: ServicesManager) -> None:
        _, live = await live_session(services)
        packets = said("Ada", 3.0)
        frames = Sender(ALICE).says(packets, 0.5, then_silence=False)
        hear_all(live, frames[:50])
        assert await services.discord_recorder_service.pause_session(CHANNEL)
        hear_all(live, frames[50:100])
        assert await services.discord_recorder_service.resume_session(CHANNEL)
        hear_all(live, frames[100:])
        recording = await stopped(services)
        assert_aligned(recording, ALICE, [(0.5, 1.5)])
        assert packets_of(master_of(recording), packets) == packets[:50] + packets[100:]


def files(folder: Path, suffix: str) -> list[Path]:
    return list(folder.rglob(f"*{suffix}"))


def late(frame: OpusFrame, after: OpusFrame) -> OpusFrame:
    return frame._replace(arrived=after.arrived + 0.001)


class TestRows:
    async def test_the_sources_stay_until_promotion(self, services: ServicesManager, data_dir: Path) -> None:
        session, live = await live_session(services)
        hear_all(live, Sender(ALICE).says(tone_packets(2.5), 0.5))
        await session.flush()
        await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
        rows = await chunks_of(services)
        assert {(row["transcode_status"], row["cleaned"]) for row in rows} == {("done", False)}
        assert all(exists(row["source_path"]) for row in rows)
        growing = data_dir / "temp" / MEETING / str(ALICE) / "master.opus"
        await until(lambda: growing.exists() and growing.stat().st_size > 5_000)
        await stopped(services)
        assert await chunks_of(services) == []
        assert not any((data_dir / "temp").iterdir())

    async def test_without_the_setting_they_go_at_once(self, open_services: OpenServices, data_dir: Path) -> None:
        async with open_services(keep_opus=False) as services:
            session, live = await live_session(services)
            hear_all(live, Sender(ALICE).says(tone_packets(2.5), 0.5))
            await session.flush()
            await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
            assert {row["cleaned"] for row in await chunks_of(services)} == {True}
            assert not files(data_dir, ".ogg")
            recording = await stopped(services)
            assert track_of(recording, ALICE)["master_path"] is None
            assert not files(data_dir, ".opus")

    async def test_a_setting_changed_in_mid_meeting(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        """What was deleted before cannot be in a master: there is none."""
        async with open_services(
            keep_opus=False, ffmpeg_path=str(unreliable.path), shutdown_grace_seconds=0
        ) as services:
            session, live = await live_session(services)
            frames = Sender(ALICE).says(tone_packets(2.5), 0.5)
            hear_all(live, frames[:60])
            await session.flush()
            await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
            assert {row["cleaned"] for row in await chunks_of(services)} == {True}
            unreliable.hold()
            hear_all(live, frames[60:])
        unreliable.hold(False)
        async with open_services() as services:
            assert await services.discord_recorder_service.wait_until_ended(MEETING, 60)
            recording = await recording_of(services)
            assert recording["status"] == "complete"
            assert track_of(recording, ALICE)["master_path"] is None

    async def test_pushed_audio_has_none(self, services: ServicesManager) -> None:
        session, live = await live_session(services)
        await session.push_audio_data(to_pcm(tone(RATE // 2)), user_id=BOB)
        await session.push_audio_data(to_pcm(tone(RATE // 2)), user_id=ALICE)
        hear_all(live, Sender(ALICE).says(tone_packets(0.5), 1.5))
        recording = await stopped(services)
        assert recording["status"] == "complete"
        assert {track["master_path"] for track in recording["tracks"]} == {None}

    async def test_what_an_override_made_has_none(self, services: ServicesManager) -> None:
        _, live = await live_session(services, session_handler_class=Halving)
        hear_all(live, Sender(ALICE).says(tone_packets(1.5), 0.5))
        recording = await stopped(services)
        assert recording["status"] == "complete"
        assert track_of(recording, ALICE)["master_path"] is None

    async def test_go_with_their_meeting(self, services: ServicesManager) -> None:
        _, live = await live_session(services)
        hear_all(live, Sender(ALICE).says(tone_packets(0.5), 0.5))
        master = master_of(await stopped(services))
        recorder = services.discord_recorder_service
        await recorder.cleanup_old_temp_recordings_once(0)
        assert master.exists()
        await recorder.delete_meeting(MEETING)
        assert not master.exists()

    async def test_one_that_no_row_names_is_removed(self, services: ServicesManager) -> None:
        _, live = await live_session(services)
        hear_all(live, Sender(ALICE).says(tone_packets(0.5), 0.5))
        master = master_of(await stopped(services))
        stray = master.with_name(f"{BOB}.opus")
        stray.write_bytes(master.read_bytes())
        await services.discord_recorder_service.cleanup_old_temp_recordings_once()
        assert not stray.exists()
        assert master.exists()


class Halving(DiscordSessionHandler):
    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await super().push_audio_data((np.frombuffer(pcm_data, "<i2") // 2).astype("<i2").tobytes())


class TestFailedChunks:
    async def test_are_in_the_master_and_a_retry_changes_nothing_in_it(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        packets = said("Ada", 3.0)
        async with open_services(ffmpeg_path=str(unreliable.path), transcode_attempts=1) as services:
            session, live = await live_session(services)
            frames = Sender(ALICE).says(packets, 0.5, then_silence=False)
            hear_all(live, frames[:40])
            await session.flush()
            await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
            unreliable.fail_always()
            hear_all(live, frames[40:90])
            await session.flush()
            await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
            assert "failed" in {row["transcode_status"] for row in await chunks_of(services)}
            unreliable.fail_always(False)
            hear_all(live, frames[90:])
            recording = await stopped(services)
            assert recording["status"] == "incomplete"
            master = master_of(recording)
            data = master.read_bytes()
            assert packets_of(master, packets) == packets
            await services.discord_recorder_service.retry_meeting(MEETING)
            assert await services.discord_recorder_service.wait_until_ended(MEETING, 60)
            recording = await recording_of(services)
            assert recording["status"] == "complete"
            assert master_of(recording).read_bytes() == data
            assert_aligned(recording, ALICE, [(0.5, 3.5)])


class TestAMasterThatCannotBeWritten:
    """The MP3s do not suffer, it is told, and `retry` makes it as long as the sources are there."""

    async def recorded(self, services: ServicesManager, packets: Sequence[bytes]) -> RecordingDict:
        """Bob's master is written; something is in the way of Alice's."""
        folder = services.settings.recordings_dir / MEETING / f"{ALICE}.opus"
        folder.mkdir(parents=True)
        (folder / "in the way").touch()
        _, live = await live_session(services)
        hear_all(live, Sender(ALICE, 1).says(packets, 0.5), Sender(BOB, 2).says(said("Ben", 1.0), 0.5))
        recording = await stopped(services)
        assert recording["status"] == "incomplete"
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        assert meeting is not None
        assert meeting["status"] == "completed"
        assert f"the Opus master of track {ALICE} could not be written" in str(meeting["error"])
        assert track_of(recording, ALICE)["master_path"] is None
        assert sound_of(recording, ALICE).any()
        assert master_of(recording, BOB).exists()
        rows = await chunks_of(services)
        assert {(row["user_id"], row["transcode_status"]) for row in rows} == {(str(ALICE), "done")}
        assert all(exists(row["source_path"]) for row in rows)
        return recording

    def make_room(self, services: ServicesManager) -> None:
        folder = services.settings.recordings_dir / MEETING / f"{ALICE}.opus"
        (folder / "in the way").unlink()
        folder.rmdir()

    async def retried(self, services: ServicesManager) -> RecordingDict:
        await services.discord_recorder_service.retry_meeting(MEETING)
        assert await services.discord_recorder_service.wait_until_ended(MEETING, 60)
        return await recording_of(services)

    async def test_is_made_by_retry(self, services: ServicesManager, data_dir: Path) -> None:
        packets = said("Ada", 2.5)
        before = await self.recorded(services, packets)
        await services.discord_recorder_service.cleanup_old_temp_recordings_once()
        assert (await self.retried(services))["status"] == "incomplete", "what is in the way still is"
        assert await chunks_of(services)
        self.make_room(services)
        recording = await self.retried(services)
        assert recording["status"] == "complete"
        assert packets_of(master_of(recording), packets) == packets
        assert_aligned(recording, ALICE, [(0.5, 3.0)])
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        assert meeting is not None
        assert meeting["error"] is None
        files = [(track["path"], track["sha256"]) for track in recording["tracks"]]
        assert sorted(files) == sorted((track["path"], track["sha256"]) for track in before["tracks"])
        assert await chunks_of(services) == []
        assert not any((data_dir / "temp").iterdir())

    async def test_after_the_next_start(self, open_services: OpenServices) -> None:
        packets = said("Ada", 2.5)
        async with open_services() as services:
            await self.recorded(services, packets)
            self.make_room(services)
        async with open_services() as services:
            recording = await self.retried(services)
            assert recording["status"] == "complete"
            assert packets_of(master_of(recording), packets) == packets

    async def test_its_sources_go_with_the_time(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock, cleanup_interval_seconds=604_800) as services:
            await self.recorded(services, said("Ada", 2.5))
            self.make_room(services)
            recorder = services.discord_recorder_service
            rows = await chunks_of(services)
            clock.advance(23 * 3600)
            assert await recorder.cleanup_old_temp_recordings_once() == 0
            clock.advance(2 * 3600)
            assert await recorder.cleanup_old_temp_recordings_once() == len(rows)
            assert not any(exists(row["source_path"]) for row in rows)
            recording = await self.retried(services)
            assert track_of(recording, ALICE)["master_path"] is None

    async def test_no_master_is_made_of_the_rest_of_its_sources(
        self, open_services: OpenServices, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_services(clock=clock, cleanup_interval_seconds=604_800) as services:
            await self.recorded(services, said("Ada", 2.5))
            self.make_room(services)
            rows = await chunks_of(services)
            clock.advance(25 * 3600)
            unlink = Path.unlink

            def stuck(path: Path, missing_ok: bool = False) -> None:
                if str(path) == rows[0]["source_path"]:
                    raise PermissionError(13, "Permission denied")
                unlink(path, missing_ok=missing_ok)

            with monkeypatch.context() as undeletable:
                undeletable.setattr(Path, "unlink", stuck)
                removed = await services.discord_recorder_service.cleanup_old_temp_recordings_once()
            assert removed == len(rows) - 1
            recording = await self.retried(services)
            assert track_of(recording, ALICE)["master_path"] is None
            assert await chunks_of(services) == []

    async def test_nor_does_it_keep_the_mp3s_when_it_fails_at_the_end(
        self, services: ServicesManager, data_dir: Path
    ) -> None:
        _, live = await live_session(services)
        packets = said("Ada", 2.5)
        in_the_way = data_dir / "temp" / MEETING / str(ALICE) / "master.opus"
        in_the_way.mkdir(parents=True)
        hear_all(live, Sender(ALICE).says(packets, 0.5))
        recording = await stopped(services)
        assert recording["status"] == "incomplete"
        assert track_of(recording, ALICE)["master_path"] is None
        assert sound_of(recording, ALICE).any()
        recording = await self.retried(services)
        assert recording["status"] == "complete"
        assert packets_of(master_of(recording), packets) == packets
