import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from discord_recorder.audio.encode import encode_chunks
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.framefile import FrameFile
from discord_recorder.audio.levelling import GainLine
from discord_recorder.audio.mix import FrameSource, LevelledTrack, mix_frames, needed_frames
from discord_recorder.audio.mp3 import FRAME_SAMPLES, SILENT_FRAME, determined_frames, frame_count, split_frames
from discord_recorder.audio.pcm import SAMPLE_RATE
from discord_recorder.audio.splice import SplicedTrack
from discord_recorder.errors import FfmpegNotFoundError, StorageError
from tests.audio.programs import WatchedFfmpeg, nowhere
from tests.audio.signals import (
    Samples,
    chunks_of,
    clicks,
    dbfs,
    decoded,
    deviation,
    encoded_at_once,
    gated,
    offset_of,
    phases,
    snr_db,
    speech_like,
    spliced,
    to_pcm,
    tone,
)
from tests.audio.test_mp3 import a_frame

TOTAL = 12 * SAMPLE_RATE
END = frame_count(TOTAL)
SPEECH = [speech_like(TOTAL, seed=seed, level=0.07) for seed in range(4)]

SHOUTS = [np.clip(4 * speech / np.abs(speech).max(), -1, 1) for speech in SPEECH]


class ListSource:
    """Frames in memory; it notes what was asked for."""

    def __init__(self, frames: list[bytes]) -> None:
        self.all = frames
        self.asked: list[tuple[int, int]] = []

    def frames(self, first: int, last: int) -> list[bytes]:
        self.asked.append((first, last))
        return [self.all[n] if n < len(self.all) else SILENT_FRAME for n in range(first, last)]


async def track(signal: Samples) -> ListSource:
    """The signal as a track: encoded as a chunk, its silence made of `SILENT_FRAME`."""
    return ListSource(spliced(await encode_chunks(WatchedFfmpeg(), chunks_of(to_pcm(signal), [0, len(signal)]))))


async def tracks(*signals: Samples) -> list[ListSource]:
    return [await track(signal) for signal in signals]


async def mixed(ffmpeg: Ffmpeg, sources: Sequence[FrameSource], window: int = END, end: int = END) -> list[bytes]:
    """The whole mix, made window by window."""
    frames = []
    for first in range(0, end, window):
        last = min(first + window, end)
        data = await mix_frames(ffmpeg, sources, first_frame=first, last_frame=last)
        assert len(split_frames(data)) == last - first
        frames += split_frames(data)
    return frames


def oversampled(signal: Samples, times: int = 4) -> Samples:
    """The signal with what lies between its samples, for its true peak (ITU-R BS.1770-4, annex 2)."""
    spectrum = np.fft.rfft(signal, axis=0)
    between: Samples = np.fft.irfft(spectrum, times * len(signal), axis=0) * times
    return between


def level_of(signal: Samples, hertz: float) -> Samples:
    """The level of a sine in dB, in each 20 ms."""
    block = SAMPLE_RATE // 50
    wave = signal[: len(signal) // block * block, 0]
    carrier = np.exp(-2j * np.pi * hertz * np.arange(len(wave)) / SAMPLE_RATE) * np.tile(
        np.hanning(block), len(wave) // block
    )
    level: Samples = 20 * np.log10(np.abs((wave * carrier).reshape(-1, block).sum(axis=1)))
    return level


class TestSum:
    async def test_is_the_sum_aligned_to_the_sample(self, ffmpeg: Ffmpeg) -> None:
        sources = await tracks(*SPEECH)
        heard = decoded(await mixed(ffmpeg, sources))[:TOTAL]
        direct = np.sum(SPEECH, axis=0)
        of_tracks = np.sum([decoded(source.all)[:TOTAL] for source in sources], axis=0)
        assert offset_of(direct, heard) == 0
        assert 20 * np.log10(heard.std() / of_tracks.std()) == pytest.approx(0, abs=0.05)
        assert snr_db(of_tracks, heard) > snr_db(direct, of_tracks) - 6

    async def test_each_speaker_is_in_it_with_his_own_level(self, ffmpeg: Ffmpeg) -> None:
        levels = {500.0: 0.2, 1300.0: 0.05, 2900.0: 0.01, 4100.0: 0.1}
        sources = await tracks(*(tone(5 * SAMPLE_RATE, hertz=hertz, level=level) for hertz, level in levels.items()))
        heard = decoded(await mixed(ffmpeg, sources, end=frame_count(5 * SAMPLE_RATE)))[SAMPLE_RATE : 3 * SAMPLE_RATE]
        spectrum = np.abs(np.fft.rfft(heard[:, 1])) / SAMPLE_RATE
        for hertz, level in levels.items():
            assert 20 * np.log10(spectrum[int(hertz * 2)] / level) == pytest.approx(0, abs=0.2)

    async def test_a_limit_below_which_nothing_is_touched(self, ffmpeg: Ffmpeg) -> None:
        """The mix is what the same encoder makes of the plain sum of the decoded tracks."""
        sources = await tracks(*SPEECH[:2])
        plain = encoded_at_once(to_pcm(np.sum([decoded(source.all)[:TOTAL] for source in sources], axis=0)))
        assert deviation(await mixed(ffmpeg, sources), plain, TOTAL) < -40

    async def test_loud_tracks_are_limited_and_not_clipped(self, ffmpeg: Ffmpeg) -> None:
        total = 5 * SAMPLE_RATE
        sources = await tracks(*[tone(total, level=0.8)] * 4)
        heard = decoded(await mixed(ffmpeg, sources, window=100, end=frame_count(total)))
        steady = heard[SAMPLE_RATE : total - SAMPLE_RATE]
        assert dbfs(heard) < 0
        assert dbfs(steady) == pytest.approx(-2, abs=0.2)
        assert clicks(steady).max() < 3e-3  # clipped at full scale it would be 3e-2
        assert np.abs(phases(heard)[1:-1]).max() < 1e-3

    async def test_a_single_track_across_borders_stays_as_it_is(self, ffmpeg: Ffmpeg) -> None:
        [source] = await tracks(SPEECH[0])
        frames = await mixed(ffmpeg, [source], window=150)
        of_track = decoded(source.all)[:TOTAL]
        assert offset_of(of_track, decoded(frames)[:TOTAL]) == 0
        assert snr_db(of_track, decoded(frames)[:TOTAL]) > 15


class TestWindows:
    @pytest.mark.parametrize("window", [416, 125, 30])
    async def test_join_without_a_seam(self, ffmpeg: Ffmpeg, window: int) -> None:
        end = 300 if window == 30 else END
        sources = await tracks(*SPEECH[:3])
        whole = (await mixed(ffmpeg, sources))[:end]
        assert deviation(await mixed(ffmpeg, sources, window, end), whole, (end - 2) * FRAME_SAMPLES) < -60

    async def test_join_when_limited(self, ffmpeg: Ffmpeg) -> None:
        sources = await tracks(*(6 * speech for speech in SPEECH[:3]))
        assert deviation(await mixed(ffmpeg, sources, 125), await mixed(ffmpeg, sources), TOTAL) < -60

    async def test_join_where_sound_is_copied_and_added(self, ffmpeg: Ffmpeg) -> None:
        """Talk in turns, at once and across the borders: what is copied is exact, the rest is the sum."""
        turns = [
            gated(SPEECH[0], [(10_000, 60_000), (200_000, 300_000)]),
            gated(SPEECH[1], [(90_000, 150_000), (280_000, 340_000), (480_000, 500_000)]),
            gated(SPEECH[2], [(400_000, 420_000)]),
        ]
        sources = await tracks(*turns)
        of_tracks = np.sum([decoded(source.all)[:TOTAL] for source in sources], axis=0)
        for window in (END, 125):
            heard = decoded(await mixed(ffmpeg, sources, window))[:TOTAL]
            assert snr_db(of_tracks, heard) > 15
            assert np.array_equal(heard[395_000:430_000], of_tracks[395_000:430_000])
            assert not heard[160_000:190_000].any()

    async def test_sound_across_a_border_is_made_alike_on_both_sides(self, ffmpeg: Ffmpeg) -> None:
        """Although one side sees a lone speaker, whose frames it could copy, and the other sees two."""
        sources = await tracks(gated(SPEECH[0], [(10_000, 340_000)]), gated(SPEECH[1], [(200_000, 300_000)]))
        assert deviation(await mixed(ffmpeg, sources, 125), await mixed(ffmpeg, sources), TOTAL) < -60

    async def test_do_not_depend_on_more_than_they_say(self, ffmpeg: Ffmpeg) -> None:
        sources = await tracks(*SPEECH[:2])
        first, last = 150, 250
        low, high = needed_frames(first, last)
        before = await mix_frames(ffmpeg, sources, first_frame=first, last_frame=last)
        assert {asked for source in sources for asked in source.asked} == {(low, high)}
        for source in sources:
            source.all[:low] = [a_frame(32, 85)] * low
            source.all[high:] = []
        assert await mix_frames(ffmpeg, sources, first_frame=first, last_frame=last) == before

    def test_needed_frames(self) -> None:
        assert needed_frames(0, 400)[0] == 0
        low, high = needed_frames(1000, 1400)
        assert 1000 - low > 21
        assert high >= 1403


class TestShouting:
    """Sources far beyond full scale together."""

    @pytest.mark.parametrize("alike", [True, False], ids=["as one", "each for himself"])
    async def test_four_at_once_do_not_clip(self, ffmpeg: Ffmpeg, alike: bool) -> None:
        """Speech that was clipped when it was recorded; not even between the samples is the mix beyond full scale."""
        sources = await tracks(*([SHOUTS[0]] * 4 if alike else SHOUTS))
        heard = decoded(await mixed(ffmpeg, sources, 125))[:TOTAL]
        assert dbfs(oversampled(heard)) <= 0
        assert dbfs(heard) > -4
        assert np.sqrt(np.mean(heard**2)) > 0.7 * np.sqrt(np.mean(decoded(sources[0].all)[:TOTAL] ** 2)), (
            "not turned down"
        )

    async def test_borders_are_not_heard_in_the_level(self, ffmpeg: Ffmpeg) -> None:
        """The limiter's gain shows in a tone far above the shouting: it goes over borders as it goes without them."""
        shouts = [gated(SHOUTS[0], [(0, 150_000), (220_000, 380_000)])] * 4
        sources = await tracks(*shouts, tone(TOTAL, hertz=9000, level=0.05))
        window = 125
        levels = [level_of(decoded(await mixed(ffmpeg, sources, size))[:TOTAL], 9000) for size in (window, END)]
        assert levels[1].min() < levels[1].max() - 9, "the limiter has to work"
        assert np.abs(levels[0] - levels[1]).max() < 0.05

    async def test_steady_sound_is_not_pumped(self, ffmpeg: Ffmpeg) -> None:
        total = 6 * SAMPLE_RATE
        sources = await tracks(*[tone(total, hertz=440, level=0.9)] * 4, tone(total, hertz=9000, level=0.05))
        heard = decoded(await mixed(ffmpeg, sources, 100, frame_count(total)))
        level = level_of(heard[SAMPLE_RATE : total - SAMPLE_RATE], 9000)
        assert level.max() - level.min() < 1


class TestLevelled:
    async def test_a_copy_is_scaled_as_it_is(self) -> None:
        [source] = await tracks(gated(SPEECH[0], [(20_000, 100_000), (300_000, 400_000)]))
        line = GainLine([(0, 4), (200, -2)], peaks_known=True)
        line.note_peak(0, END, -20)
        heard = decoded(await mixed(nowhere(), [LevelledTrack(source, line)]))
        plain = decoded(source.all)
        for where, steps in ((slice(0, 150_000), 4), (slice(250_000, 500_000), -2)):
            assert snr_db(plain[where] * 2 ** (steps / 4), heard[where]) > 100

    async def test_what_would_clip_is_limited(self, ffmpeg: WatchedFfmpeg) -> None:
        [source] = await tracks(gated(6 * SPEECH[0], [(100_000, 400_000)]))
        line = GainLine([(0, 8)], peaks_known=True)
        line.note_peak(0, END, -6)
        heard = decoded(await mixed(ffmpeg, [LevelledTrack(source, line)]))
        assert ffmpeg.given_frames
        assert dbfs(decoded(source.all)) > -12, "without the limiter it would clip"
        assert dbfs(oversampled(heard)) <= 0

    @pytest.mark.parametrize("window", [125, 60])
    async def test_windows_join_without_a_seam(self, ffmpeg: Ffmpeg, window: int) -> None:
        """Gains change at, shortly before and after borders, and within windows."""
        changes = [(0, 5), (62, 4), (119, 6), (125, 5), (251, 2), (300, -1), (375, 0), (378, 1)]
        sources = [
            LevelledTrack(source, GainLine([(frame + n, steps) for frame, steps in changes]))
            for n, source in enumerate(await tracks(*SPEECH[:2], gated(SPEECH[2], [(100_000, 300_000)])))
        ]
        whole = await mixed(ffmpeg, sources)
        assert deviation(await mixed(ffmpeg, sources, window), whole, TOTAL) < -60


class TestCost:
    async def test_silence_costs_no_run(self) -> None:
        frames = await mixed(nowhere(), [ListSource([]), ListSource([SILENT_FRAME] * 100)])
        assert frames == [SILENT_FRAME] * END

    async def test_no_sources(self) -> None:
        assert await mixed(nowhere(), [], end=3) == [SILENT_FRAME] * 3

    async def test_a_lone_speaker_between_silences_costs_no_run(self) -> None:
        sources = await tracks(
            gated(SPEECH[0], [(20_000, 100_000), (300_000, 400_000)]), gated(SPEECH[1], [(150_000, 250_000)])
        )
        heard = decoded(await mixed(nowhere(), sources))
        assert np.array_equal(heard, np.sum([decoded(source.all) for source in sources], axis=0))

    async def test_a_lone_speaker_up_to_the_border_is_copied_to_it(self) -> None:
        """Silence that begins or ends at a window's border is seen by both sides."""
        frames = [SILENT_FRAME] * 20 + [a_frame(64, 1)] * 20 + [SILENT_FRAME] * 60
        for first, last in ((10, 100), (15, 44), (10, 44)):
            data = await mix_frames(nowhere(), [ListSource(frames)], first_frame=first, last_frame=last)
            assert split_frames(data) == frames[first:last]

    async def test_only_sound_is_decoded_and_encoded(self, ffmpeg: WatchedFfmpeg) -> None:
        """FFmpeg is given the stretch where two speak at once, of these two."""
        sources = await tracks(
            gated(SPEECH[0], [(100_000, 148_000), (300_000, 400_000)]),
            gated(SPEECH[1], [(100_000, 148_000)]),
            gated(SPEECH[2], [(500_000, 520_000)]),
        )
        await mixed(ffmpeg, sources)
        assert len(ffmpeg.given_frames) == 2
        assert max(ffmpeg.given_frames) < 48_000 // FRAME_SAMPLES + 20

    async def test_a_hundred_speakers(self, ffmpeg: Ffmpeg) -> None:
        [quiet] = await tracks(speech_like(3 * SAMPLE_RATE, level=0.002))
        end = frame_count(3 * SAMPLE_RATE)
        heard = decoded(await mixed(ffmpeg, [quiet] * 100, end=end))
        one = decoded(quiet.all)
        assert offset_of(one, heard) == 0
        assert snr_db(100 * one, heard) > 12


class TestSources:
    async def test_growing_tracks_and_finished_files(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        sources = await tracks(*SPEECH[:2])
        growing = SplicedTrack(tmp_path / "growing.mp3")
        (tmp_path / "segment").write_bytes(b"".join(sources[0].all))
        growing.add(0, tmp_path / "segment")
        file = FrameFile.create(tmp_path / "finished.mp3")
        file.append(sources[1].all)
        file.finish(TOTAL)
        both: list[FrameSource] = [growing, FrameFile.open(tmp_path / "finished.mp3")]
        ours = await mix_frames(ffmpeg, both, first_frame=200, last_frame=300)
        assert ours == await mix_frames(ffmpeg, sources, first_frame=200, last_frame=300)

    async def test_a_window_is_ready_when_what_it_needs_is_determined(self, ffmpeg: Ffmpeg) -> None:
        """Mixed as soon as that, it is what it is when all is known."""
        end_sample = 8 * SAMPLE_RATE
        known = [(await track(speech[:end_sample])) for speech in SPEECH[:2]]
        ready = determined_frames(end_sample)
        last = max(last for last in range(150, ready) if needed_frames(150, last)[1] <= ready)
        later = await tracks(*SPEECH[:2])
        early = await mix_frames(ffmpeg, known, first_frame=150, last_frame=last)
        assert early == await mix_frames(ffmpeg, later, first_frame=150, last_frame=last)


class TestFaults:
    async def test_missing_program(self) -> None:
        with pytest.raises(FfmpegNotFoundError):
            await mixed(nowhere(), await tracks(*SPEECH[:2]))

    async def test_nothing_is_left_in_the_folder(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        sources = await tracks(*(speech[:SAMPLE_RATE] for speech in SPEECH[:2]))
        await mix_frames(ffmpeg, sources, first_frame=0, last_frame=40, scratch=tmp_path)
        with pytest.raises(FfmpegNotFoundError):
            await mix_frames(nowhere(), sources, first_frame=0, last_frame=40, scratch=tmp_path)
        assert os.listdir(tmp_path) == []  # noqa: PTH208 - in a coroutine

    async def test_a_source_that_cannot_be_read(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        track = SplicedTrack(tmp_path / "a.mp3")
        (tmp_path / "segment").write_bytes(SILENT_FRAME * 10)
        track.add(0, tmp_path / "segment")
        (tmp_path / "a.mp3").unlink()
        with pytest.raises(StorageError):
            await mix_frames(ffmpeg, [track], first_frame=0, last_frame=10)
