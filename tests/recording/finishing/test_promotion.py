import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from discord_recorder import DatabaseError, ServicesManager
from discord_recorder.audio.ffmpeg import PCM_FORMAT
from discord_recorder.recording.finishing import promotion
from discord_recorder.storage import recordings
from discord_recorder.storage.files import remove_empty_folders
from tests.audio.signals import Samples, dbfs, run_ffmpeg, snr_db, speech_like, to_pcm, tone
from tests.support.ffmpeg import BAD_PCM, UnreliableFfmpeg
from tests.support.recorder import (
    ALICE,
    BOB,
    CHANNEL,
    MEETING,
    OpenServices,
    chunks_of,
    exists,
    push_in_pieces,
    recording_of,
    sound_of,
    started,
    stopped,
    track_of,
)

RATE = 48_000


def added(*signals: Samples) -> Samples:
    total: Samples = np.zeros((max(len(signal) for signal in signals), 2))
    for signal in signals:
        total[: len(signal)] += signal
    return total


def at(seconds: float, signal: Samples) -> Samples:
    return np.concatenate([np.zeros((round(seconds * RATE), 2)), signal])


class TestMix:
    """The mix is the sum of all speakers, sample on sample."""

    async def mixed(self, services: ServicesManager) -> Samples:
        recording = await stopped(services)
        assert recording["status"] == "complete"
        return sound_of(recording, None)

    async def test_of_speakers_at_once(self, services: ServicesManager) -> None:
        signals = {user: tone((12 + user) * RATE, hertz=300 + 170 * user, level=0.1) for user in range(1, 5)}
        session = await started(services)

        async def speak(user: int) -> None:
            await push_in_pieces(lambda pcm: session.push_audio_data(pcm, user_id=user), to_pcm(signals[user]), 50_003)

        await asyncio.gather(*(speak(user) for user in signals))
        sound = await self.mixed(services)
        assert len(sound) == 16 * RATE
        assert snr_db(added(*signals.values()), sound) > 25

    async def test_of_one_after_another(self, services: ServicesManager) -> None:
        """All of one speaker is pushed, and mixed by then, before the other begins at the same session time."""
        first, second = tone(25 * RATE, hertz=440, level=0.2), tone(22 * RATE, hertz=880, level=0.2)
        session = await started(services)
        await push_in_pieces(session.push_audio_data, to_pcm(first), 500_000)
        await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
        await push_in_pieces(lambda pcm: session.push_audio_data(pcm, user_id=BOB), to_pcm(second), 500_000)
        sound = await self.mixed(services)
        assert len(sound) == 25 * RATE
        assert snr_db(added(first, second), sound) > 25

    async def test_of_one_who_comes_late_to_what_two_have_mixed(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        signals = [speech_like(22 * RATE, seed=seed) for seed in (1, 2)]
        late = tone(3 * RATE, hertz=700, level=0.2)
        session = await started(services)
        for user, signal in enumerate(signals, start=1):
            await session.push_audio_data(to_pcm(signal), user_id=user)
        await recorder.wait_for_pending_transcodes(MEETING)
        await session.assembly.advance()
        await session.push_audio_data(to_pcm(late), user_id=3, at_ms=8500)
        sound = await self.mixed(services)
        alone = sound_of(await recording_of(services), 3)
        speakers = [sound_of(await recording_of(services), user) for user in (1, 2)]
        assert snr_db(added(*speakers, alone), sound) > 15
        difference = sound - added(*speakers, alone)
        assert dbfs(difference[8 * RATE : 12 * RATE]) < dbfs(late) - 20, "the late one is in it, at its place"

    async def test_of_turns_with_long_silence(self, services: ServicesManager) -> None:
        burst = tone(RATE // 2, hertz=600, level=0.3)
        session = await started(services)
        await session.push_audio_data(to_pcm(burst))
        await session.push_audio_data(to_pcm(burst), user_id=BOB, at_ms=5000)
        await session.push_audio_data(to_pcm(burst), at_ms=40_000)
        await session.push_audio_data(to_pcm(burst), user_id=BOB, at_ms=40_250)
        sound = await self.mixed(services)
        expected = added(burst, at(5, burst), at(40, burst), at(40.25, burst))
        assert len(sound) == len(expected)
        assert snr_db(expected, sound) > 20
        assert dbfs(sound[6 * RATE : 39 * RATE]) < -90

    async def test_loud_speakers_do_not_clip(self, services: ServicesManager) -> None:
        session = await started(services)
        for user in (1, 2, 3):
            await session.push_audio_data(to_pcm(tone(2 * RATE, hertz=440, level=0.8)), user_id=user)
        sound = await self.mixed(services)
        assert dbfs(sound) <= 0
        assert np.mean(np.abs(sound) > 0.999) < 1e-3

    async def test_one_speaker_needs_none(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(RATE)))
        assert [track["kind"] for track in (await stopped(services))["tracks"]] == ["speaker"]


class TestMaster:
    """A lossless copy of what was pushed, bit by bit."""

    def flac(self, path: str | None) -> bytes:
        assert path is not None
        assert path.endswith(".flac")
        return run_ffmpeg("-i", path, *PCM_FORMAT, "pipe:1")

    async def test_is_what_was_pushed_gaps_included(self, open_services: OpenServices) -> None:
        rng = np.random.default_rng(1)
        noise = rng.integers(0, 256, 4 * 150_001 + 3, np.uint8).tobytes()
        async with open_services(keep_master=True) as services:
            session = await started(services)
            await push_in_pieces(session.push_audio_data, noise, 77_777)
            await session.push_audio_data(noise[:48_000], at_ms=3500)
            await session.push_audio_data(noise[:48_000], at_ms=9000)
            await session.push_audio_data(noise[:9600], user_id=BOB, at_ms=250)
            recording = await stopped(services)
        alice = track_of(recording, ALICE)
        expected = noise[:-3].ljust(3500 * 192, b"\0") + noise[:48_000]
        expected = expected.ljust(9000 * 192, b"\0") + noise[:48_000]
        assert self.flac(alice["master_path"]) == expected
        bobs = (bytes(250 * 192) + noise[:9600]).ljust(len(expected), b"\0")
        assert self.flac(track_of(recording, BOB)["master_path"]) == bobs
        assert track_of(recording, None)["master_path"] is None
        assert not exists(str(Path(alice["path"]).with_suffix(".pcm")))

    async def test_is_a_wav_file_where_ffmpeg_makes_no_flac(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.fail_on_flac()
        pcm = to_pcm(speech_like(2 * RATE + 7))
        async with open_services(keep_master=True, ffmpeg_path=str(unreliable.path)) as services:
            session = await started(services)
            await session.push_audio_data(pcm)
            recording = await stopped(services)
            assert recording["status"] == "complete"
            master = track_of(recording, ALICE)["master_path"]
            assert master is not None
            assert master.endswith(".wav")
            assert run_ffmpeg("-i", master, *PCM_FORMAT, "pipe:1") == pcm
            await services.discord_recorder_service.delete_meeting(MEETING)
            assert not exists(master)

    async def test_holds_what_could_not_be_transcoded_as_well(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        pcm = bytearray(to_pcm(tone(4 * RATE)))
        pcm[4 * RATE * 2 : 4 * RATE * 2 + 8] = BAD_PCM
        unreliable.fail_on_bad_pcm()
        async with open_services(keep_master=True, ffmpeg_path=str(unreliable.path)) as services:
            session = await started(services)
            await session.push_audio_data(bytes(pcm))
            recording = await stopped(services)
            assert recording["status"] == "incomplete"
            assert self.flac(track_of(recording, ALICE)["master_path"]) == pcm
            unreliable.fail_on_bad_pcm(False)
            await services.discord_recorder_service.retry_meeting(MEETING)
            await services.discord_recorder_service.wait_until_ended(MEETING, 60)
            recording = await recording_of(services)
        assert recording["status"] == "complete"
        assert self.flac(track_of(recording, ALICE)["master_path"]) == pcm


class TestOneTransaction:
    async def test_what_fails_is_tried_again_and_nothing_is_half_there(
        self, services: ServicesManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add, failures = recordings.add, 2

        def fail_at_first(*arguments: Any, **keywords: Any) -> None:
            nonlocal failures
            add(*arguments, **keywords)
            if failures:
                failures -= 1
                raise DatabaseError("the disk is full")

        monkeypatch.setattr(recordings, "add", fail_at_first)
        recorder = services.discord_recorder_service
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(2 * RATE)))
        await session.push_audio_data(to_pcm(tone(RATE)), user_id=BOB)
        assert await recorder.stop_session(CHANNEL) is True
        assert await services.sql_recording_service.get_recordings_for_meeting(MEETING) == []
        assert len(await chunks_of(services)) == 3
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        assert meeting is not None
        assert meeting["status"] == "processing"
        assert await recorder.wait_until_ended(MEETING, 60)
        recording = await recording_of(services)
        assert recording["status"] == "complete"
        assert [len(sound_of(recording, user)) for user in (ALICE, BOB, None)] == [2 * RATE] * 3
        assert await chunks_of(services) == []

    async def test_a_mix_that_cannot_be_made_does_not_hold_the_tracks_back(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.fail_on_mixing()
        signals = [tone(3 * RATE, hertz=hertz, level=0.2) for hertz in (440, 880)]
        async with open_services(ffmpeg_path=str(unreliable.path)) as services:
            session = await started(services)
            for user, signal in enumerate(signals, start=1):
                await session.push_audio_data(to_pcm(signal), user_id=user)
            recording = await stopped(services)
            assert recording["status"] == "incomplete"
            assert [track["kind"] for track in recording["tracks"]] == ["speaker", "speaker"]
            assert snr_db(signals[0], sound_of(recording, 1)) > 25
            unreliable.fail_on_mixing(False)
            recorder = services.discord_recorder_service
            assert await recorder.retry_meeting(MEETING) == 0
            assert await recorder.wait_until_ended(MEETING, 60)
            recording = await recording_of(services)
        assert recording["status"] == "complete"
        assert snr_db(added(*signals), sound_of(recording, None)) > 25
        assert recording["path"] == track_of(recording, None)["path"]


async def test_a_stop_does_not_wait_long_for_thousands_of_files_to_be_deleted(
    services: ServicesManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(folder: Path) -> None:
        begun.set()
        assert go_on.wait(60)
        remove_empty_folders(folder)

    monkeypatch.setattr("discord_recorder.recording.finishing.promotion.remove_empty_folders", slowly)
    monkeypatch.setattr(promotion, "TIDY_SECONDS", 0.0)
    session = await started(services)
    await session.push_audio_data(bytes(48_000 * 4), user_id=1)
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    assert (await recording_of(services))["status"] == "complete"
    assert await asyncio.to_thread(begun.wait, 60)
    go_on.set()
    await services.aclose()
    assert not exists(str(services.settings.temp_dir / session.meeting_id))
