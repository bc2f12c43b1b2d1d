"""Speakers at one loudness in the mix: heard in what is recorded, and the same however the mix comes about."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from discord_recorder import DiscordSessionHandler, ServicesManager, Settings
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.levelling import GainLine
from discord_recorder.audio.loudness import loudness_lufs, measure_loudness
from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.assembly import MeetingAssembly
from discord_recorder.services.sql_recording import RecordingDict
from discord_recorder.storage import chunks, recordings
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import MIX_TRACK, Track
from discord_recorder.storage.stretches import Stretches
from tests.audio.signals import FFMPEG, Samples, chunks_of, dbfs, gated, snr_db, speech_like, to_pcm
from tests.support.ffmpeg import BAD_PCM, UnreliableFfmpeg
from tests.support.recorder import (
    ALICE,
    BOB,
    MEETING,
    OpenServices,
    bytes_of,
    quick_settings,
    recording_of,
    sound_of,
    started,
    stopped,
)

RATE = 48_000
SECONDS = 24
"""Two windows of the mix and a bit."""
EDGE = 6000

TURNS: dict[int, list[tuple[float, float]]] = {
    ALICE: [(0, 5), (9, 13), (17, 24)],
    BOB: [(5.5, 8.5), (13.5, 16.5), (18, 21)],
}
LOUD, SOFT = 0.25, 0.25 * 10 ** (-18 / 20)


def turns_of(user: int, level: float) -> Samples:
    talk = speech_like(SECONDS * RATE, seed=user % 7, level=level)
    talk[:, 1] = talk[:, 0]
    return gated(talk, [(int(first * RATE), int(last * RATE)) for first, last in TURNS[user]])


ALICES, BOBS = turns_of(ALICE, LOUD), turns_of(BOB, SOFT)


async def lufs(sound: Samples) -> float:
    [found] = await measure_loudness(Ffmpeg(FFMPEG), chunks_of(to_pcm(sound), [0, len(sound)]))
    loudness = loudness_lufs([found.blocks])
    assert loudness is not None
    return loudness


async def pushed(
    session: DiscordSessionHandler, alices: bytes, bobs: bytes, *, live: ServicesManager | None = None
) -> None:
    """Second by second; in live services, what is complete is assembled after each."""
    for start in range(0, SECONDS * RATE * 4, RATE * 4):
        await session.push_audio_data(alices[start : start + RATE * 4])
        await session.push_audio_data(bobs[start : start + RATE * 4], user_id=BOB)
        if live is not None:
            await live.discord_recorder_service.wait_for_pending_transcodes(MEETING)
            await session.assembly.advance()


async def recorded(services: ServicesManager, alices: Samples = ALICES, bobs: Samples = BOBS) -> RecordingDict:
    await pushed(await started(services), to_pcm(alices), to_pcm(bobs))
    return await stopped(services)


@asynccontextmanager
async def database_of(services: ServicesManager) -> AsyncIterator[Database]:
    database = Database(services.settings.database_file)
    await database.open()
    yield database
    await database.close()


async def gains_of(services: ServicesManager) -> dict[Track, str | None]:
    async with database_of(services) as database:
        [recording] = await database.read(recordings.find, meeting_id=MeetingId(MEETING))
    return {track.track: track.mix_gains for track in recording.tracks}


class TestLoudness:
    async def test_speakers_18_db_apart_are_as_loud_as_each_other(self, open_services: OpenServices) -> None:
        async with open_services(level_mix=True) as services:
            recording = await recorded(services)
            mix = sound_of(recording, None)
            assert recording["status"] == "complete"
        in_mix = {
            user: np.concatenate([mix[int(a * RATE) : int(b * RATE)] for a, b in TURNS[user][:2]]) for user in TURNS
        }
        apart = await lufs(sound_of(recording, ALICE)) - await lufs(sound_of(recording, BOB))
        assert apart == pytest.approx(18, abs=1.5)
        assert abs(await lufs(in_mix[ALICE]) - await lufs(in_mix[BOB])) < 2
        assert await lufs(in_mix[ALICE]) == pytest.approx(-20, abs=1.5)
        assert dbfs(mix) < 0

    async def test_their_tracks_and_what_is_stored_without_it_stay_as_they_are(
        self, open_services: OpenServices, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        async with open_services(level_mix=True) as services:
            levelled = await recorded(services)
            assert set(await gains_of(services)) == {str(ALICE), str(BOB), MIX_TRACK}
        async with ServicesManager(quick_settings(tmp_path_factory.mktemp("plain"))) as services:
            session = await started(services)
            await pushed(session, to_pcm(ALICES), to_pcm(BOBS))
            async with database_of(services) as database:
                rows = await database.read(chunks.of_meeting, session.meeting_id)
            assert not any("loudness" in (row.stretches or "") for row in rows)
            plain = await stopped(services)
            assert set((await gains_of(services)).values()) == {None}
        for user in (ALICE, BOB):
            assert dbfs(sound_of(levelled, user) - sound_of(plain, user)) < -60
        mix, sum_of_tracks = sound_of(plain, None), sound_of(plain, ALICE) + sound_of(plain, BOB)
        assert snr_db(sum_of_tracks, mix) > 20
        assert dbfs(sound_of(levelled, None) - mix) > -30


class TestMadeAgain:
    async def test_another_process_makes_the_same_mix(self, open_services: OpenServices, context: Context) -> None:
        """What was mixed as the meeting went on is what is made of the rows alone, as after a kill."""
        async with open_services(level_mix=True) as services:
            session = await started(services)
            await pushed(session, to_pcm(ALICES), to_pcm(BOBS), live=services)
            await assert_made_again(session, context)

    async def test_a_late_chunk_changes_what_hangs_on_it(
        self, open_services: OpenServices, context: Context, unreliable: UnreliableFfmpeg
    ) -> None:
        """The first second of a speaker, far softer than the others, comes when windows behind it are mixed."""
        unreliable.fail_on_bad_pcm()
        alices = bytearray(to_pcm(ALICES * np.where(np.arange(len(ALICES)) < RATE, 0.02, 1)[:, None]))
        alices[:8] = BAD_PCM
        async with open_services(level_mix=True, ffmpeg_path=str(unreliable.path), transcode_attempts=1) as services:
            session = await started(services)
            await pushed(session, bytes(alices), to_pcm(BOBS), live=services)
            before = session.assembly.gains[Track(str(ALICE))]
            unreliable.fail_on_bad_pcm(False)
            assert await services.discord_recorder_service.retry_meeting(MEETING) == 1
            await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)
            await session.assembly.advance()
            assert session.assembly.gains[Track(str(ALICE))] != before
            await assert_made_again(session, context)


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    """Those of the other process."""
    return quick_settings(data_dir, level_mix=True)


async def assert_made_again(session: DiscordSessionHandler, context: Context) -> None:
    await session.assembly.aclose()  # both write to the same files
    ours = await session.assembly.finish()
    mix = bytes_of(str(ours.files[MIX_TRACK].path))
    anew = await MeetingAssembly(context, session.meeting_id).finish()
    assert anew.gains == ours.gains
    assert bytes_of(str(anew.files[MIX_TRACK].path)) == mix


class TestMended:
    async def test_what_is_put_in_has_the_gain_of_its_place(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.fail_on_bad_pcm()
        bobs = bytearray(to_pcm(BOBS))
        bobs[14 * RATE * 4 : 14 * RATE * 4 + 8] = BAD_PCM
        async with open_services(level_mix=True, ffmpeg_path=str(unreliable.path), transcode_attempts=1) as services:
            session = await started(services)
            await pushed(session, to_pcm(ALICES), bytes(bobs))
            before = sound_of(await stopped(services), None)
            gains = await gains_of(services)
            unreliable.fail_on_bad_pcm(False)
            assert await services.discord_recorder_service.retry_meeting(MEETING) == 1
            assert await services.discord_recorder_service.wait_until_ended(MEETING, 60)
            assert await gains_of(services) == gains
            recording = await recording_of(services)
        mix, bob = sound_of(recording, None), sound_of(recording, BOB)
        steps = GainLine.from_json(gains[Track(str(BOB))] or "").at(14 * RATE // 1152)
        assert steps >= 6
        there = slice(14 * RATE + EDGE, 15 * RATE - EDGE)
        assert dbfs(before[there]) < -90
        assert snr_db(bob[there] * 2 ** (steps / 4), mix[there]) > 12
        assert np.array_equal(mix[: 9 * RATE], before[: 9 * RATE]), "another window"
        assert dbfs(mix[9 * RATE : 12 * RATE] - before[9 * RATE : 12 * RATE]) < -40

    async def test_a_speaker_of_whom_there_was_nothing(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.fail_on_bad_pcm()
        bobs = bytearray(to_pcm(BOBS))
        for second in range(SECONDS):
            bobs[second * RATE * 4 : second * RATE * 4 + 8] = BAD_PCM
        async with open_services(level_mix=True, ffmpeg_path=str(unreliable.path), transcode_attempts=1) as services:
            session = await started(services)
            await pushed(session, to_pcm(ALICES), bytes(bobs))
            await stopped(services)
            assert (await gains_of(services))[Track(str(BOB))] == "[]"
            unreliable.fail_on_bad_pcm(False)
            await services.discord_recorder_service.retry_meeting(MEETING)
            assert await services.discord_recorder_service.wait_until_ended(MEETING, 60)
            mix = sound_of(await recording_of(services), None)
            assert (await gains_of(services))[Track(str(BOB))] != "[]"
        assert await lufs(mix[int(13.5 * RATE) : int(16.5 * RATE)]) == pytest.approx(-20, abs=2)


async def test_a_meter_that_fails_costs_no_chunk(open_services: OpenServices, unreliable: UnreliableFfmpeg) -> None:
    unreliable.fail_on_measuring()
    async with open_services(level_mix=True, ffmpeg_path=str(unreliable.path)) as services:
        recording = await recorded(services)
        assert recording["status"] == "complete"
        assert set((await gains_of(services)).values()) == {"[]", None}


def test_what_is_stored_is_small() -> None:
    """Of a chunk of 10 s: at most as many pairs as blocks, in fact a few dozen."""
    measured = Stretches(heard=[(0, 480_000)], loudness=[(-level, 3) for level in range(30, 60)], peak_dbfs=-6)
    assert len(measured.to_json()) < 400
