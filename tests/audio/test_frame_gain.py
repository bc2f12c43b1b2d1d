from collections.abc import Sequence

import numpy as np
import pytest

from discord_recorder.audio.dual_mono import is_dual_mono
from discord_recorder.audio.encode import encode_chunks
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.frame_gain import STEP_DB, with_gain
from discord_recorder.audio.mp3 import SILENT_FRAME
from discord_recorder.audio.pcm import SAMPLE_RATE
from tests.audio.signals import Samples, chunks_of, clicks, decoded, snr_db, speech_like, spliced, to_pcm, tone

STEREO = speech_like(3 * SAMPLE_RATE, level=0.05)
DUAL_MONO = np.repeat(STEREO[:, :1], 2, axis=1)


async def frames_of(ffmpeg: Ffmpeg, signal: Samples) -> Sequence[bytes]:
    return spliced(await encode_chunks(ffmpeg, chunks_of(to_pcm(signal), [0, len(signal)])))


@pytest.mark.parametrize("signal", [STEREO, DUAL_MONO], ids=["stereo", "dual mono"])
@pytest.mark.parametrize("steps", [-8, -1, 1, 8])
class TestGain:
    async def test_scales_what_is_decoded(self, ffmpeg: Ffmpeg, signal: Samples, steps: int) -> None:
        frames = await frames_of(ffmpeg, signal)
        scaled = decoded(with_gain(frame, steps) for frame in frames)
        assert snr_db(decoded(frames) * 10 ** (steps * STEP_DB / 20), scaled) > 100

    async def test_is_undone_by_the_opposite(self, ffmpeg: Ffmpeg, signal: Samples, steps: int) -> None:
        for frame in await frames_of(ffmpeg, signal):
            changed = with_gain(frame, steps)
            assert len(changed) == len(frame)
            assert is_dual_mono(changed) == is_dual_mono(frame)
            assert with_gain(changed, -steps) == frame


async def test_a_step_between_two_frames_does_not_click(ffmpeg: Ffmpeg) -> None:
    """The sine's recurrence is off by what a change over 12 ms makes of it, not by what a leap does."""
    frames = await frames_of(ffmpeg, tone(2 * SAMPLE_RATE))
    stepped = decoded([with_gain(frame, int(number >= 40)) for number, frame in enumerate(frames)])
    inner = slice(SAMPLE_RATE // 2, -SAMPLE_RATE // 2)
    leap = 0.3 * (10 ** (STEP_DB / 20) - 1)  # as high as the step is where the sine is at its peak
    assert clicks(stepped[inner]).max() < leap / 20


def test_silence_stays() -> None:
    assert with_gain(SILENT_FRAME, 8) == SILENT_FRAME


async def test_the_range_is_kept(ffmpeg: Ffmpeg) -> None:
    """Softer than soft is silent, and not loud."""
    frames = await frames_of(ffmpeg, STEREO)
    assert np.abs(decoded(with_gain(frame, -300) for frame in frames)).max() < 1e-9
