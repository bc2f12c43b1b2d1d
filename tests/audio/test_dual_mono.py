"""Mono frames made stereo and back: the same sound, to the last bit, wherever they are used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio import encode
from discord_recorder.audio.dual_mono import NoRoomError, channel_of, in_both_channels, is_dual_mono, to_mono, to_stereo
from discord_recorder.audio.encode import encode_chunks
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.mix import mix_frames
from discord_recorder.audio.mp3 import SILENT_FRAME, frame_count, split_frames
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from tests.audio.programs import WatchedFfmpeg
from tests.audio.signals import (
    Samples,
    chunks_of,
    clicks,
    dbfs,
    decoded,
    deviation,
    encoded_at_once,
    every,
    mono_at_once,
    phases,
    run_ffmpeg,
    snr_db,
    speech_like,
    spliced,
    to_pcm,
    tone,
)
from tests.audio.test_mix import ListSource, mixed

TOTAL = 8 * SAMPLE_RATE


def both(signal: Samples) -> Samples:
    """The signal's first channel in either channel."""
    return np.repeat(signal[:, :1], 2, axis=1)


def noise(samples: int, level: float) -> Samples:
    return both(np.random.default_rng(5).normal(0, level, (samples, 1)))


def strokes(samples: int) -> Samples:
    """Single loud samples in silence, for which the encoder switches to short windows."""
    signal = np.zeros((samples, 2))
    signal[::4799] = 0.8
    return signal


SIGNALS = {
    "speech": both(speech_like(TOTAL)),
    "tone": tone(TOTAL),
    "noise": noise(TOTAL, 0.1),
    "loudest": noise(TOTAL, 3.0),
    "strokes": strokes(TOTAL),
}


def made_stereo(signal: Samples) -> list[bytes]:
    return [to_stereo(frame) for frame in mono_at_once(to_pcm(signal))]


class TestFrames:
    @pytest.mark.parametrize("quality", [0, 4, 9])
    @pytest.mark.parametrize("name", SIGNALS)
    def test_sound_the_same_in_both_channels(self, name: str, quality: int) -> None:
        mono = mono_at_once(to_pcm(SIGNALS[name]), quality)
        try:
            stereo = [to_stereo(frame) for frame in mono]
        except NoRoomError:
            assert quality == 0  # the highest bit rate, and all of it
            return
        heard = decoded(stereo)
        assert np.array_equal(heard[:, 0], heard[:, 1])
        alone = run_ffmpeg("-f", "mp3", "-i", "pipe:0", "-f", "f32le", "-ac", "1", "pipe:1", stdin=b"".join(mono))
        assert np.array_equal(heard[:, 0].astype("<f4"), np.frombuffer(alone, "<f4")[-len(heard) :])

    def test_short_windows_are_among_them(self) -> None:
        side_infos = [int.from_bytes(frame[4:21]) for frame in mono_at_once(to_pcm(SIGNALS["strokes"]))]
        window_switched = 1 << 59 - 34  # in either granule's 59 bits
        assert any(side & (window_switched << 59 | window_switched) for side in side_infos)

    @pytest.mark.parametrize("name", SIGNALS)
    def test_there_and_back(self, name: str) -> None:
        mono, stereo = mono_at_once(to_pcm(SIGNALS[name])), made_stereo(SIGNALS[name])
        assert all(map(is_dual_mono, stereo))
        again = [to_mono(frame) for frame in stereo]
        assert sum(map(len, again)) <= sum(map(len, mono))  # what the bit rate left over may be less now
        assert [to_stereo(frame) for frame in again] == stereo

    def test_encoder_would_not_have_done_better(self) -> None:
        signal = SIGNALS["speech"]
        ours, theirs = made_stereo(signal), encoded_at_once(to_pcm(signal))
        assert snr_db(signal, decoded(ours)[:TOTAL]) > snr_db(signal, decoded(theirs)[:TOTAL]) - 2
        assert sum(map(len, ours)) < 1.1 * sum(map(len, theirs))

    def test_silence(self) -> None:
        assert is_dual_mono(SILENT_FRAME)
        assert dbfs(decoded([to_stereo(to_mono(SILENT_FRAME))] * 4)) == -200

    def test_true_stereo_is_known(self) -> None:
        frames = encoded_at_once(to_pcm(speech_like(SAMPLE_RATE)))
        assert not any(map(is_dual_mono, frames[5:-5]))

    def test_no_room(self) -> None:
        side = (4095 << 47 << 59 | 3600 << 47).to_bytes(17)
        with pytest.raises(NoRoomError):
            to_stereo(bytes.fromhex("fffbe4c4") + side + bytes(939))

    def test_no_louder_gain(self) -> None:
        side = (8 << 47 | 254 << 30).to_bytes(17)
        with pytest.raises(NoRoomError):
            to_stereo(bytes.fromhex("fffb14c4") + side + bytes(75))


class TestChannels:
    @given(st.binary(max_size=200).map(lambda data: data[: len(data) // 2 * 2]))
    def test_there_and_back(self, mono: bytes) -> None:
        assert channel_of(in_both_channels(mono)) == mono

    @pytest.mark.parametrize("byte", [0, 1, 2, 3, 65_535, 65_536, -4, -1])
    def test_one_bit_makes_the_difference(self, byte: int) -> None:
        pcm = bytearray(to_pcm(SIGNALS["speech"][:50_000]))
        assert channel_of(bytes(pcm)) == bytes(to_pcm(SIGNALS["speech"][:50_000, :1]))
        pcm[byte] ^= 1
        assert channel_of(bytes(pcm)) is None


class TestChunks:
    async def test_join_as_if_encoded_at_once(self, ffmpeg: Ffmpeg) -> None:
        signal = both(speech_like(26 * SAMPLE_RATE))
        frames = spliced(await encode_chunks(ffmpeg, chunks_of(to_pcm(signal), every(2 * SAMPLE_RATE, len(signal)))))
        assert len(frames) == frame_count(len(signal))
        assert all(map(is_dual_mono, frames))
        assert deviation(frames, made_stereo(signal), len(signal)) < -60

    async def test_tone_without_click_or_drift(self, ffmpeg: Ffmpeg) -> None:
        total = 26 * SAMPLE_RATE + 7
        chunks = chunks_of(to_pcm(tone(total)), every(2 * SAMPLE_RATE + 1, total))
        heard = decoded(spliced([e for chunk in chunks for e in await encode_chunks(ffmpeg, [chunk])]))[:total]
        assert clicks(heard)[SAMPLE_RATE // 2 : -SAMPLE_RATE // 2].max() < 3e-4
        assert np.abs(phases(heard)[1:-1]).max() < 1e-3

    async def test_with_true_stereo_between_them(self, ffmpeg: WatchedFfmpeg) -> None:
        """As when somebody shares music: the seams between mono and stereo are no louder than the encoder's noise."""
        signal = speech_like(12 * SAMPLE_RATE)
        for second in (0, 1, 2, 3, 6, 7, 8):
            place = slice(second * SAMPLE_RATE, (second + 1) * SAMPLE_RATE)
            signal[place] = both(signal[place])
        chunks = chunks_of(to_pcm(signal), every(SAMPLE_RATE, len(signal)))
        frames = spliced(await encode_chunks(ffmpeg, chunks))
        assert len(ffmpeg.fed_bytes) == 2
        whole = decoded(encoded_at_once(to_pcm(signal)))[: len(signal)]
        heard = decoded(frames)[: len(signal)]
        assert snr_db(signal, heard) == pytest.approx(snr_db(signal, whole), abs=1.5)
        for second in (4, 6, 9):
            border = slice(second * SAMPLE_RATE - 2400, second * SAMPLE_RATE + 2400)
            assert dbfs((heard - signal)[border]) < max(-40, dbfs((whole - signal)[border]) + 3)

    async def test_what_does_not_fit_is_made_in_stereo(
        self, ffmpeg: WatchedFfmpeg, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_room(_frame: bytes) -> bytes:
            raise NoRoomError

        chunks = chunks_of(to_pcm(SIGNALS["speech"]), every(2 * SAMPLE_RATE, TOTAL))
        monkeypatch.setattr(encode, "to_stereo", no_room)
        frames = spliced(await encode_chunks(ffmpeg, chunks))
        assert len(ffmpeg.fed_bytes) == 2
        assert deviation(frames, encoded_at_once(to_pcm(SIGNALS["speech"])), TOTAL) < -60

    async def test_half_the_bytes_are_fed(self, ffmpeg: WatchedFfmpeg) -> None:
        (chunk,) = chunks_of(to_pcm(SIGNALS["speech"]), [0, TOTAL])
        await encode_chunks(ffmpeg, [chunk])
        (fed,) = ffmpeg.fed_bytes
        assert fed == pytest.approx(TOTAL * SAMPLE_BYTES / 2, rel=0.02)


class TestMix:
    async def test_of_equal_channels_has_equal_channels(self, ffmpeg: Ffmpeg) -> None:
        signals = [both(speech_like(TOTAL, seed=seed, level=0.07)) for seed in (1, 2)]
        sources = [ListSource(made_stereo(signal)) for signal in signals]
        frames = await mixed(ffmpeg, sources, window=200, end=frame_count(TOTAL))
        heard, direct = decoded(frames)[:TOTAL], np.sum(signals, axis=0)
        assert all(map(is_dual_mono, frames))
        assert np.array_equal(heard[:, 0], heard[:, 1])
        of_tracks = np.sum([decoded(source.all)[:TOTAL] for source in sources], axis=0)
        assert 20 * np.log10(heard.std() / of_tracks.std()) == pytest.approx(0, abs=0.05)
        assert snr_db(of_tracks, heard) > snr_db(direct, of_tracks) - 6

    async def test_with_one_true_stereo_source_is_stereo(self, ffmpeg: Ffmpeg) -> None:
        signals = [both(speech_like(TOTAL, seed=1, level=0.07)), speech_like(TOTAL, seed=2, level=0.07)]
        sources = [ListSource(made_stereo(signals[0])), ListSource(encoded_at_once(to_pcm(signals[1])))]
        heard = decoded(split_frames(await mix_frames(ffmpeg, sources, first_frame=0, last_frame=frame_count(TOTAL))))[
            :TOTAL
        ]
        for channel in (0, 1):
            direct = np.sum(signals, axis=0)[:, channel : channel + 1]
            assert snr_db(direct, heard[:, channel : channel + 1]) > 20
