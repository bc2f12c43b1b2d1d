"""The seams: whatever way a track is cut into chunks, it is to sound as if it had been encoded at once."""

import numpy as np
import pytest

from discord_recorder.audio.encode import ChunkPcm, EncodedChunk, encode_chunks
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.mp3 import (
    DELAY_SAMPLES,
    FRAME_SAMPLES,
    SILENT_FRAME,
    determined_frames,
    frame_count,
    split_frames,
)
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.errors import FfmpegError, FfmpegNotFoundError, InvalidAudioError
from tests.audio.programs import WatchedFfmpeg, nowhere, script
from tests.audio.signals import (
    Samples,
    chunks_of,
    clicks,
    dbfs,
    decoded,
    deviation,
    encoded_at_once,
    every,
    gated,
    phases,
    snr_db,
    speech_like,
    spliced,
    to_pcm,
    tone,
)

SPEECH = to_pcm(speech_like(26 * SAMPLE_RATE))
IRREGULAR = [0, 240, 480, 1000, 44_200, 44_440, 44_680, 524_680, 567_880, 568_120, 568_121, 1_048_121, 1_048_361]
"""Chunks of 5 ms, 0.9 s and 10 s, and of one sample, in changing order."""


async def one_by_one(ffmpeg: Ffmpeg, chunks: list[ChunkPcm]) -> list[EncodedChunk]:
    return [encoded for chunk in chunks for encoded in await encode_chunks(ffmpeg, [chunk])]


def near(borders: list[int], signal: Samples) -> Samples:
    """The signal 50 ms around each border."""
    return np.concatenate([signal[max(0, border - 2400) : border + 2400] for border in borders])


class TestSeams:
    async def test_speech_in_one_batch_is_as_encoded_at_once(self, ffmpeg: Ffmpeg) -> None:
        chunks = chunks_of(SPEECH, every(2 * SAMPLE_RATE, 26 * SAMPLE_RATE))
        frames = spliced(await encode_chunks(ffmpeg, chunks))
        whole = encoded_at_once(SPEECH)
        assert len(chunks) == 13
        assert len(frames) == len(whole)
        assert deviation(frames, whole, 26 * SAMPLE_RATE) < -60

    async def test_speech_one_by_one_is_as_encoded_at_once(self, ffmpeg: Ffmpeg) -> None:
        total = 22 * SAMPLE_RATE
        frames = spliced(await one_by_one(ffmpeg, chunks_of(SPEECH, every(5 * SAMPLE_RATE, total))))
        assert deviation(frames, encoded_at_once(SPEECH[: total * SAMPLE_BYTES]), total) < -60

    @pytest.mark.parametrize("single", [True, False], ids=["single", "batch"])
    async def test_irregular_chunks(self, ffmpeg: Ffmpeg, single: bool) -> None:
        chunks = chunks_of(SPEECH, IRREGULAR)
        frames = spliced(await one_by_one(ffmpeg, chunks) if single else await encode_chunks(ffmpeg, chunks))
        whole = encoded_at_once(SPEECH[: IRREGULAR[-1] * SAMPLE_BYTES])
        assert len(frames) == frame_count(IRREGULAR[-1])
        assert deviation(frames, whole, IRREGULAR[-1]) < -60

    async def test_a_batch_gives_what_its_chunks_give_alone(self, ffmpeg: Ffmpeg) -> None:
        """Also next to another track, louder, and in any order."""
        other = to_pcm(speech_like(5 * SAMPLE_RATE, seed=9, level=0.4))
        chunks = chunks_of(SPEECH, every(2 * SAMPLE_RATE, 6 * SAMPLE_RATE))
        mixed = [*chunks_of(other, every(2 * SAMPLE_RATE, 5 * SAMPLE_RATE)), *reversed(chunks)]
        batch = (await encode_chunks(ffmpeg, mixed))[: -len(chunks) - 1 : -1]
        alone = await one_by_one(ffmpeg, chunks)
        for ours, theirs in zip(batch, alone, strict=True):
            assert ours.first_frame == theirs.first_frame
            assert len(split_frames(ours.frames)) == len(split_frames(theirs.frames))
        assert deviation(spliced(batch), spliced(alone), 6 * SAMPLE_RATE) < -60

    async def test_tone_without_click_or_drift(self, ffmpeg: Ffmpeg) -> None:
        total = 26 * SAMPLE_RATE + 7
        borders = every(2 * SAMPLE_RATE + 1, total)
        heard = decoded(spliced(await encode_chunks(ffmpeg, chunks_of(to_pcm(tone(total)), borders))))[:total]
        assert len(borders) - 2 >= 12
        inner = clicks(heard)[SAMPLE_RATE // 2 : -SAMPLE_RATE // 2]
        assert inner.max() < 3e-4  # a step of one percent of the tone would be 3e-3
        turned = phases(heard)[1:-1]
        assert np.abs(turned).max() < 1e-3  # a sample is 0.13
        assert dbfs((heard - tone(total))[SAMPLE_RATE:-SAMPLE_RATE]) < -40

    def test_clicks_and_drift_would_be_seen(self) -> None:
        lost_sample = np.delete(tone(5 * SAMPLE_RATE), 3 * SAMPLE_RATE, axis=0)
        assert clicks(lost_sample).max() > 1e-2
        assert np.abs(phases(lost_sample)).max() > 0.1

    async def test_bursts_with_silence_between_them(self, ffmpeg: Ffmpeg) -> None:
        """Gates open and shut at borders, near them and across them; silence is left out of what is encoded."""
        total = 12 * SAMPLE_RATE
        sounding = [(0, 47_000), (60_000, 97_000), (96_000 + 60_000, 200_123), (288_000, 291_000), (384_001, 500_000)]
        signal = gated(speech_like(total), sounding)
        borders = every(2 * SAMPLE_RATE, total)
        heard = decoded(spliced(await encode_chunks(ffmpeg, chunks_of(to_pcm(signal), borders))))[:total]
        whole = decoded(encoded_at_once(to_pcm(signal)))[:total]
        assert dbfs(heard - whole) < -40
        assert dbfs(near(borders[1:-1], heard - whole)) < -50
        assert snr_db(signal, heard) == pytest.approx(snr_db(signal, whole), abs=0.1)

    @pytest.mark.parametrize("quality", [0, 9])
    async def test_other_qualities(self, ffmpeg: Ffmpeg, quality: int) -> None:
        pcm = SPEECH[: 4 * SAMPLE_RATE * SAMPLE_BYTES]
        chunks = chunks_of(pcm, every(SAMPLE_RATE, 4 * SAMPLE_RATE))
        frames = spliced(await encode_chunks(ffmpeg, chunks, quality=quality))
        assert deviation(frames, encoded_at_once(pcm, quality), 4 * SAMPLE_RATE) < -60


class TestFrames:
    @pytest.mark.parametrize("start", [0, 1, 2303, 3456, 24_000, 100_001, 480_000])
    @pytest.mark.parametrize("count", [1, 1152, 5000])
    async def test_reach_from_what_is_new_to_the_tail(self, ffmpeg: Ffmpeg, start: int, count: int) -> None:
        [chunk] = chunks_of(SPEECH, [start, start + count])
        [encoded] = await encode_chunks(ffmpeg, [chunk])
        assert encoded.first_frame == determined_frames(start)
        assert len(split_frames(encoded.frames)) == frame_count(start + count) - determined_frames(start)

    async def test_tail_is_as_if_silence_followed(self, ffmpeg: Ffmpeg) -> None:
        total = 100_000
        [encoded] = await encode_chunks(ffmpeg, chunks_of(SPEECH, [0, total]))
        followed = encoded_at_once(SPEECH[: total * SAMPLE_BYTES] + bytes(20_000 * SAMPLE_BYTES))
        assert split_frames(encoded.frames) == followed[: frame_count(total)]

    async def test_a_gap_before_a_chunk_is_silent(self, ffmpeg: Ffmpeg) -> None:
        """A pre-roll shorter than usual says that there is nothing in front of it."""
        gap = 3 * SAMPLE_RATE
        pcm = SPEECH[SAMPLE_RATE * SAMPLE_BYTES : 2 * SAMPLE_RATE * SAMPLE_BYTES]
        [encoded] = await encode_chunks(ffmpeg, [ChunkPcm(pcm=pcm, start_sample=gap, preroll_samples=0)])
        heard = decoded(spliced([encoded]))
        whole = decoded(encoded_at_once(bytes(gap * SAMPLE_BYTES) + pcm))
        assert not heard[: gap - 2000].any()
        assert snr_db(whole, heard[: len(whole)]) > 25

    async def test_longer_preroll_than_is_used(self, ffmpeg: Ffmpeg) -> None:
        pcm, start = SPEECH[: 3 * SAMPLE_RATE * SAMPLE_BYTES], 2 * SAMPLE_RATE
        [usual] = chunks_of(pcm, [start, 3 * SAMPLE_RATE])
        long = ChunkPcm(pcm=pcm, start_sample=start, preroll_samples=start)
        assert await encode_chunks(ffmpeg, [long]) == await encode_chunks(ffmpeg, [usual])

    async def test_empty_chunk(self) -> None:
        [encoded] = await encode_chunks(nowhere(), [ChunkPcm(pcm=b"", start_sample=0, preroll_samples=0)])
        assert encoded == EncodedChunk(first_frame=0, frames=SILENT_FRAME)

    async def test_no_chunks(self) -> None:
        assert await encode_chunks(nowhere(), []) == []


class TestSilence:
    async def test_silent_chunks_cost_no_run(self) -> None:
        silence = bytes(10 * SAMPLE_RATE * SAMPLE_BYTES)
        encoded = await encode_chunks(nowhere(), chunks_of(silence, every(SAMPLE_RATE, 10 * SAMPLE_RATE)))
        assert spliced(encoded) == [SILENT_FRAME] * frame_count(10 * SAMPLE_RATE)

    async def test_sound_long_before_the_chunk_costs_no_run(self) -> None:
        pcm = SPEECH[: 8_000 * SAMPLE_BYTES] + bytes(26_000 * SAMPLE_BYTES)
        [encoded] = await encode_chunks(nowhere(), [ChunkPcm(pcm=pcm, start_sample=50_000, preroll_samples=24_000)])
        assert set(split_frames(encoded.frames)) == {SILENT_FRAME}

    async def test_sound_just_before_the_chunk_rings_out(self, ffmpeg: Ffmpeg) -> None:
        pcm = SPEECH[: 24_000 * SAMPLE_BYTES] + bytes(10_000 * SAMPLE_BYTES)
        [encoded] = await encode_chunks(ffmpeg, [ChunkPcm(pcm=pcm, start_sample=50_000, preroll_samples=24_000)])
        frames = split_frames(encoded.frames)
        assert frames[0] != SILENT_FRAME
        assert set(frames[6:]) == {SILENT_FRAME}

    async def test_only_sound_is_encoded(self, ffmpeg: WatchedFfmpeg) -> None:
        total = 20 * SAMPLE_RATE
        signal = gated(speech_like(total), [(100_000, 124_000), (500_000, 524_000)])
        [encoded] = await encode_chunks(ffmpeg, chunks_of(to_pcm(signal), [0, total]))
        [fed] = ffmpeg.fed_bytes
        assert fed < (48_000 + 20 * FRAME_SAMPLES) * SAMPLE_BYTES
        heard = decoded(split_frames(encoded.frames))
        edge = DELAY_SAMPLES + FRAME_SAMPLES
        for first, last in ((0, 100_000), (124_000, 500_000), (524_000, total)):
            assert not heard[first + edge : last - edge].any()

    async def test_leaving_silence_out_is_not_heard(self, ffmpeg: Ffmpeg) -> None:
        total = 8 * SAMPLE_RATE
        signal = gated(speech_like(total), [(20_000, 90_000), (110_000, 180_000), (230_000, 340_000)])
        [encoded] = await encode_chunks(ffmpeg, chunks_of(to_pcm(signal), [0, total]))
        whole = decoded(encoded_at_once(to_pcm(signal)))[:total]
        heard = decoded(split_frames(encoded.frames))[:total]
        assert dbfs(heard - whole) < -40
        assert snr_db(signal, heard) == pytest.approx(snr_db(signal, whole), abs=0.1)

    async def test_whisper_is_not_silence(self, ffmpeg: WatchedFfmpeg) -> None:
        signal = np.zeros((SAMPLE_RATE, 2))
        signal[24_000, 1] = 1 / 32768
        await encode_chunks(ffmpeg, chunks_of(to_pcm(signal), [0, SAMPLE_RATE]))
        assert len(ffmpeg.fed_bytes) == 1


class TestFaults:
    @pytest.mark.parametrize(
        ("pcm", "start", "preroll"), [(b"123", 0, 0), (bytes(40), 0, 1), (bytes(40), 20, 11), (bytes(40), 20, -1)]
    )
    def test_chunks_that_cannot_be(self, pcm: bytes, start: int, preroll: int) -> None:
        with pytest.raises(InvalidAudioError):
            ChunkPcm(pcm=pcm, start_sample=start, preroll_samples=preroll)

    async def test_failing_program(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        program = script(tmp_path_factory.mktemp("failing"), "cat >/dev/null; echo no lame >&2; exit 8")
        with pytest.raises(FfmpegError, match="no lame"):
            await encode_chunks(Ffmpeg(program), chunks_of(SPEECH, [0, 1000]))

    async def test_missing_program(self) -> None:
        with pytest.raises(FfmpegNotFoundError):
            await encode_chunks(nowhere(), chunks_of(SPEECH, [0, 1000]))
