import asyncio
import math
import os
import stat
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from discord_recorder import (
    InvalidAudioError,
    InvalidIdError,
    ServicesManager,
    SessionEndedError,
    SettingsError,
    UserError,
    generate_16_char_uuid,
)
from tests.audio.signals import Samples, dbfs, snr_db, to_pcm, tone
from tests.support.clock import FakeClock
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import (
    ALICE,
    BOB,
    CHANNEL,
    MEETING,
    OpenServices,
    bytes_of,
    chunks_of,
    push_in_pieces,
    recording_of,
    sound_of,
    started,
    stopped,
)
from tests.support.waiting import until

SAMPLE = 4
RATE = 48_000


async def pause_and_read(services: ServicesManager) -> list[tuple[int, int, bytes]]:
    """Seal what is there; start and length in ms and the PCM of each chunk's source. FFmpeg has to be held."""
    await services.discord_recorder_service.pause_session(CHANNEL)
    found = []
    for chunk in await chunks_of(services):
        source = bytes_of(chunk["source_path"])
        preroll = int(chunk["source_path"].removesuffix(".pcm").rpartition("-")[2])
        found.append((chunk["start_ms"], chunk["duration_ms"], source[preroll * SAMPLE :]))
    return found


class TestPace:
    """A chunk holds a flush interval of audio however fast it is pushed, and pushes are contiguous at any pace."""

    async def test_one_big_push(self, open_services: OpenServices, unreliable: UnreliableFfmpeg) -> None:
        unreliable.hold()
        async with open_services(ffmpeg_path=str(unreliable.path), flush_interval_seconds=10) as services:
            pcm = os.urandom(25 * RATE * SAMPLE)
            session = await started(services)
            await session.push_audio_data(pcm)
            status = await session.status()
            assert status["total_chunks"] == 2
            assert status["buffer_size_bytes"] == 5 * RATE * SAMPLE
            found = await pause_and_read(services)
            unreliable.hold(False)
        assert [(start, length) for start, length, _ in found] == [(0, 10_000), (10_000, 10_000), (20_000, 5000)]
        assert b"".join(content for *_, content in found) == pcm

    async def test_many_tiny_pushes_of_odd_size(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.hold()
        async with open_services(ffmpeg_path=str(unreliable.path), flush_interval_seconds=0.5) as services:
            pcm = os.urandom(RATE * SAMPLE + 3)
            session = await started(services)
            await push_in_pieces(session.push_audio_data, pcm, 333)
            found = await pause_and_read(services)
            unreliable.hold(False)
        assert [(start, length) for start, length, _ in found] == [(0, 500), (500, 500)]
        assert b"".join(content for *_, content in found) == pcm[:-3]

    async def test_in_real_time(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock, flush_interval_seconds=10) as services:
            session = await started(services)
            signal = tone(25 * RATE)
            packet = RATE // 50
            for start in range(0, len(signal), packet):
                await clock.pass_by(0.02, step=0.02)
                await session.push_audio_data(to_pcm(signal[start : start + packet]))
            assert [chunk["duration_ms"] for chunk in await chunks_of(services)] == [10_000, 10_000]
            sound = sound_of(await stopped(services))
        assert len(sound) == len(signal)
        assert snr_db(signal, sound) > 30

    async def test_slower_than_real_time_it_is_sealed_by_the_clock(
        self, open_services: OpenServices, clock: FakeClock
    ) -> None:
        async with open_services(clock=clock, flush_interval_seconds=10) as services:
            session = await started(services)
            signal = tone(12 * RATE)
            packet = RATE // 10
            for start in range(0, len(signal), packet):
                await session.push_audio_data(to_pcm(signal[start : start + packet]))
                await clock.pass_by(0.2, step=0.2)
            await session.flush()
            lengths = [chunk["duration_ms"] for chunk in await chunks_of(services)]
            assert len(lengths) == 3
            assert all(5000 <= length <= 6000 for length in lengths[:2]), lengths
            sound = sound_of(await stopped(services))
        assert len(sound) == len(signal)
        assert snr_db(signal, sound) > 30

    async def test_when_nothing_comes_what_is_there_is_sealed(
        self, open_services: OpenServices, clock: FakeClock
    ) -> None:
        async with open_services(clock=clock, flush_interval_seconds=10) as services:
            session = await started(services)
            await session.push_audio_data(bytes(1000 * SAMPLE))
            await clock.pass_by(9, step=1)
            assert await chunks_of(services) == []
            await clock.pass_by(3, step=1)
            await until(lambda: chunks_of(services))
            await clock.pass_by(60, step=1)
            assert len(await chunks_of(services)) == 1, "silence is not sealed"
            await session.push_audio_data(bytes(1000 * SAMPLE))
            assert len(sound_of(await stopped(services))) == 2000, "time that passes is no audio"

    @hypothesis_settings(max_examples=12)
    @given(sizes=st.lists(st.integers(1, 60_000), min_size=1, max_size=12), speakers=st.integers(1, 2))
    async def test_any_sizes(self, services: ServicesManager, sizes: Sequence[int], speakers: int) -> None:
        recorder = services.discord_recorder_service
        meeting_id = generate_16_char_uuid()
        signal = tone(sum(sizes) // SAMPLE + 1)
        pcm = to_pcm(signal)
        assert await recorder.start_session(CHANNEL, meeting_id)
        session = recorder.sessions[CHANNEL]
        session.flush_interval_seconds = 0.2
        position = 0
        for size in sizes:
            for user in range(1, speakers + 1):
                await session.push_audio_data(pcm[position : position + size], user_id=user)
            position += size
        pushed = position // SAMPLE
        await recorder.stop_session(CHANNEL)
        recordings = await services.sql_recording_service.get_recordings_for_meeting(meeting_id)
        if not pushed:
            assert recordings == []
            return
        for user in range(1, speakers + 1):
            sound = sound_of(recordings[0], user)
            assert len(sound) == pushed
            if pushed > 5000:
                assert snr_db(signal[:pushed], sound) > 25


class TestPlaces:
    """`at_ms` puts audio where it belongs; what was not pushed is silence."""

    async def test_every_gap_is_exact_silence(self, services: ServicesManager) -> None:
        burst = tone(4800)
        session = await started(services)
        places = [0, 150, 700, 2950, 3050, 3150, 8000, 8100.5]  # in a chunk, over a border, over chunks, none at all
        expected = np.zeros((round(8200.5 * 48), 2))
        for place in places:
            await session.push_audio_data(to_pcm(burst), at_ms=place)
            expected[round(place * 48) : round(place * 48) + 4800] = burst
        sound = sound_of(await stopped(services))
        assert len(sound) == len(expected)
        assert snr_db(expected, sound) > 20
        for first, last in [(340, 660), (900, 2850), (3350, 7900)]:
            assert dbfs(sound[first * 48 : last * 48]) < -90

    async def test_the_first_push_may_be_late(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(4800)), at_ms=60_000)
        sound = sound_of(await stopped(services))
        assert len(sound) == 60_100 * 48
        assert dbfs(sound[: 59_900 * 48]) < -90
        assert snr_db(tone(4800), sound[60_000 * 48 :]) > 20

    async def test_silence_that_is_pushed_counts_as_well(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(bytes(RATE * SAMPLE))
        await session.push_audio_data(b"", at_ms=1500)
        sound = sound_of(await stopped(services))
        assert len(sound) == 1.5 * RATE
        assert dbfs(sound) < -90

    @pytest.mark.parametrize(
        "at_ms",
        [-1, -0.5, math.nan, math.inf, -math.inf, 10**12, 10**400, "0", True, [], 1j, 604_800_001],
        ids=lambda value: repr(value)[:20],
    )
    async def test_no_session_time(self, services: ServicesManager, at_ms: Any) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(4800)))
        with pytest.raises(InvalidAudioError, match="at_ms"):
            await session.push_audio_data(to_pcm(tone(4800)), at_ms=at_ms)
        assert session.is_recording
        assert len(sound_of(await stopped(services))) == 4800

    async def test_before_the_end_of_the_track(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(4800)))
        with pytest.raises(InvalidAudioError, match=r"at_ms=99 lies before the end of the track at 100 ms"):
            await session.push_audio_data(to_pcm(tone(4800)), at_ms=99)
        await session.push_audio_data(to_pcm(tone(4800)), at_ms=99, user_id=BOB)
        await session.push_audio_data(to_pcm(tone(4800)), at_ms=100)
        recording = await stopped(services)
        assert len(sound_of(recording)) == len(sound_of(recording, BOB)) == 9600
        assert [track["heard_ms"] for track in recording["tracks"]] == [200, 100, None]


class TestSpeakers:
    async def test_with_and_without_a_user(self, services: ServicesManager) -> None:
        signals = [tone(9600, hertz=hertz) for hertz in (500, 800)]
        session = await started(services)
        await session.push_audio_data(to_pcm(signals[0]))
        await session.push_audio_data(to_pcm(signals[1]), user_id=BOB)
        await session.push_audio_data(to_pcm(signals[0]), user_id=ALICE)
        recording = await stopped(services)
        assert snr_db(np.concatenate([signals[0]] * 2), sound_of(recording, ALICE)) > 20
        assert snr_db(signals[1], sound_of(recording, BOB)[:9600]) > 20

    async def test_without_any(self, services: ServicesManager) -> None:
        session = await started(services, user_id=None)
        await session.push_audio_data(to_pcm(tone(9600)))
        await session.push_audio_data(to_pcm(tone(4800)), user_id=BOB)
        recording = await stopped(services)
        speakers = {t["user_id"]: t["duration_ms"] for t in recording["tracks"] if t["kind"] == "speaker"}
        assert speakers == {None: 200, str(BOB): 200}, "all last as long as the session"
        figures = {track["user_id"]: track["heard_ms"] for track in recording["tracks"] if track["kind"] == "speaker"}
        assert figures == {None: 200, str(BOB): 100}

    @pytest.mark.parametrize("user_id", ["ada", 0, -1, 2**64, "", 1.0, True, "mix", "unknown"])
    async def test_no_user(self, services: ServicesManager, user_id: Any) -> None:
        session = await started(services)
        with pytest.raises(InvalidIdError, match="is not a user id"):
            await session.push_audio_data(bytes(4), user_id=user_id)
        assert (await session.status())["tracks"] == []

    async def test_two_pushes_to_one_track_do_not_mingle(self, services: ServicesManager) -> None:
        signals = [tone(2 * RATE, hertz=hertz) for hertz in (500, 800)]
        session = await started(services)
        await asyncio.gather(*(session.push_audio_data(to_pcm(signal)) for signal in signals))
        assert snr_db(np.concatenate(signals), sound_of(await stopped(services))) > 25

    async def test_twenty_at_once(self, services: ServicesManager) -> None:
        signals = {user: tone(9600 + 10 * user, hertz=300 + 50 * user) for user in range(1, 21)}
        session = await started(services)

        async def speak(user: int) -> None:
            await push_in_pieces(
                lambda pcm: session.push_audio_data(pcm, user_id=user), to_pcm(signals[user]), 3000 + user
            )

        await asyncio.gather(*(speak(user) for user in signals))
        recording = await stopped(services)
        for user, signal in signals.items():
            sound = sound_of(recording, user)
            assert len(sound) == len(signals[20])
            assert snr_db(signal, sound[: len(signal)]) > 20


class TestPausing:
    async def test_what_is_pushed_meanwhile_is_dropped_and_counted(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        signals = [tone(30_000, hertz=hertz) for hertz in (500, 700, 900)]
        session = await started(services)
        await session.push_audio_data(to_pcm(signals[0]))
        await recorder.pause_session(CHANNEL)
        await session.push_audio_data(to_pcm(signals[1]))
        await session.push_audio_data(b"123", user_id=BOB)
        assert session.dropped_bytes == 120_003
        assert (await session.status())["dropped_bytes"] == 120_003
        assert session.duration_ms == 625
        await recorder.resume_session(CHANNEL)
        await session.push_audio_data(to_pcm(signals[2]))
        recording = await stopped(services)
        sound = sound_of(recording)
        assert len(sound) == 60_000, "neither stretched nor padded"
        assert snr_db(np.concatenate([signals[0], signals[2]]), sound) > 20
        assert [track["user_id"] for track in recording["tracks"]] == [str(ALICE)]
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        assert meeting is not None
        assert meeting["paused_dropped_bytes"] == 120_003

    async def test_wrong_audio_is_told_all_the_same(self, services: ServicesManager) -> None:
        session = await started(services)
        await services.discord_recorder_service.pause_session(CHANNEL)
        wrong: Any = "sound"
        with pytest.raises(InvalidAudioError):
            await session.push_audio_data(wrong)
        assert session.dropped_bytes == 0

    async def test_many_short_pieces(self, services: ServicesManager) -> None:
        """Pauses make chunks shorter than a frame; none gets lost or out of order."""
        recorder = services.discord_recorder_service
        signal = tone(20_000)
        session = await started(services)
        position = 0
        for length in [1, 2, 100, 1151, 1152, 1153, 500, 3, 2304, 700, 1]:
            await session.push_audio_data(to_pcm(signal[position : position + length]))
            await recorder.pause_session(CHANNEL)
            await recorder.resume_session(CHANNEL)
            position += length
        await session.push_audio_data(to_pcm(signal[position:]))
        sound = sound_of(await stopped(services))
        assert len(sound) == len(signal)
        assert snr_db(signal, sound) > 20

    async def test_a_push_that_is_going_on(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        session = await started(services)
        pcm = to_pcm(tone(RATE)) * 5
        pushing = asyncio.create_task(session.push_audio_data(pcm))
        await until(lambda: session.duration_ms)
        await recorder.pause_session(CHANNEL)
        await pushing
        sound = sound_of(await stopped(services))
        assert len(sound) * SAMPLE + session.dropped_bytes == len(pcm)


class TestBadAudio:
    @pytest.mark.parametrize("pcm", ["text", None, 7, [1, 2], np.zeros(4, np.int16), object()])
    async def test_wrong_types(self, services: ServicesManager, pcm: Any) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(4800)))
        with pytest.raises(InvalidAudioError, match=r"it takes bytes: signed 16 bit little endian PCM, 48 kHz"):
            await session.push_audio_data(pcm)
        assert len(sound_of(await stopped(services))) == 4800

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda pcm: memoryview(array("h", pcm))])
    async def test_any_bytes(self, services: ServicesManager, kind: Any) -> None:
        session = await started(services)
        signal = tone(9600)
        await session.push_audio_data(kind(to_pcm(signal)))
        assert snr_db(signal, sound_of(await stopped(services))) > 20

    async def test_a_buffer_may_be_used_again(self, services: ServicesManager) -> None:
        session = await started(services)
        signal = tone(4 * RATE)
        buffer: Any = bytearray(to_pcm(signal))
        pushing = asyncio.create_task(session.push_audio_data(buffer))
        await until(lambda: session.duration_ms)
        buffer[:] = bytes(len(buffer))
        await pushing
        assert snr_db(signal, sound_of(await stopped(services))) > 20

    async def test_nothing(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(b"")
        await session.push_audio_data(b"", user_id=BOB)
        assert session.duration_ms == 0
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert await services.sql_recording_service.get_recordings_for_meeting(MEETING) == []

    async def test_after_the_stop(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(4800)))
        recording = await stopped(services)
        with pytest.raises(SessionEndedError, match=f"The session of meeting {MEETING} has been stopped") as caught:
            await session.push_audio_data(to_pcm(tone(4800)))
        assert isinstance(caught.value, UserError)
        assert await recording_of(services) == recording

    async def test_during_the_stop_nothing_is_half_accepted(self, services: ServicesManager) -> None:
        session = await started(services)
        accepted = 0

        async def push() -> None:
            nonlocal accepted
            while True:
                await session.push_audio_data(bytes(960 * SAMPLE))
                accepted += 960

        pushing = asyncio.create_task(push())
        await until(lambda: accepted)
        recording = await stopped(services)
        with pytest.raises(SessionEndedError):
            await pushing
        assert len(sound_of(recording)) == accepted


class TestFlushInterval:
    async def test_changed_while_it_records(self, services: ServicesManager) -> None:
        session = await started(services)
        signal = tone(3 * RATE)
        await session.push_audio_data(to_pcm(signal[:RATE]))
        session.flush_interval_seconds = 0.25
        await session.push_audio_data(to_pcm(signal[RATE : 2 * RATE]))
        session.flush_interval_seconds = 30
        await session.push_audio_data(to_pcm(signal[2 * RATE :]))
        assert [chunk["duration_ms"] for chunk in await chunks_of(services)] == [1000, *[250] * 4]
        assert (await session.status())["buffer_size_bytes"] == RATE * SAMPLE
        sound = sound_of(await stopped(services))
        assert len(sound) == len(signal)
        assert snr_db(signal, sound) > 30

    async def test_the_clock_follows(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock, flush_interval_seconds=100) as services:
            session = await started(services)
            await session.push_audio_data(bytes(4800))
            await clock.pass_by(10, step=1)
            assert await chunks_of(services) == []
            session.flush_interval_seconds = 5
            await clock.pass_by(2, step=0.5)
            await until(lambda: chunks_of(services))

    @pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 0.001, 10**6, "often", None])
    async def test_a_wrong_one_changes_nothing(self, services: ServicesManager, seconds: Any) -> None:
        session = await started(services)
        with pytest.raises(SettingsError, match=r"flush_interval_seconds .*0\.1.*300"):
            session.flush_interval_seconds = seconds
        assert session.flush_interval_seconds == 1.0
        await session.push_audio_data(to_pcm(tone(RATE)))
        assert len(await chunks_of(services)) == 1


class TestFlushLoop:
    def loops(self) -> list[asyncio.Task[Any]]:
        return [task for task in asyncio.all_tasks() if "flush_loop" in getattr(task.get_coro(), "__qualname__", "")]

    async def test_only_the_last_one_lives(self, services: ServicesManager) -> None:
        session = await started(services)
        for _ in range(5):
            session._flush_task = asyncio.create_task(session._flush_loop())
        session._flush_task = session._flush_task
        await until(lambda: len(self.loops()) == 1)
        assert self.loops() == [session._flush_task]
        await services.discord_recorder_service.stop_session(CHANNEL)
        await until(lambda: not self.loops())
        assert session._flush_task is None

    async def test_audio_is_recorded_all_along(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock) as services:
            session = await started(services)
            signal = tone(4 * RATE)
            for start in range(0, len(signal), 9600):
                session._flush_task = asyncio.create_task(session._flush_loop())
                await session.push_audio_data(to_pcm(signal[start : start + 9600]))
                await clock.pass_by(0.2)
            sound = sound_of(await stopped(services))
        assert len(sound) == len(signal)
        assert snr_db(signal, sound) > 30

    async def test_open_files_are_synced_at_most_a_second_apart(
        self, open_services: OpenServices, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced = [0.0]
        sync = os.fsync

        def fsync(descriptor: int) -> None:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):  # of all files, only chunks are synced here
                synced.append(clock.elapsed)
            sync(descriptor)

        async with open_services(clock=clock, flush_interval_seconds=60) as services:
            session = await started(services)
            await until(lambda: clock.sleeping == 2)
            monkeypatch.setattr(os, "fsync", fsync)
            for _ in range(100):
                await session.push_audio_data(bytes(RATE // 10 * SAMPLE))
                await clock.pass_by(0.1, step=0.05)
            monkeypatch.undo()
        assert max(np.diff([*synced, 10.0])) <= 1.0


async def test_a_flush_seals_what_is_there(services: ServicesManager) -> None:
    session = await started(services)
    signal: Samples = tone(20_000)
    await session.push_audio_data(to_pcm(signal[:5001]))
    await session.flush()
    await session.flush()
    assert [chunk["duration_ms"] for chunk in await chunks_of(services)] == [104]
    assert session.is_recording
    await session.push_audio_data(to_pcm(signal[5001:]))
    assert snr_db(signal, sound_of(await stopped(services))) > 20
