import re
import subprocess

import numpy as np
import pytest

from discord_recorder.audio.encode import ChunkPcm
from discord_recorder.audio.ffmpeg import PCM_FORMAT, Ffmpeg
from discord_recorder.audio.loudness import Loudness, loudness_lufs, measure_loudness
from discord_recorder.audio.pcm import SAMPLE_RATE
from discord_recorder.errors import FfmpegError
from tests.audio.programs import nowhere, script
from tests.audio.signals import FFMPEG, Samples, chunks_of, dbfs, every, gated, speech_like, to_pcm, tone

TOTAL = 30 * SAMPLE_RATE
SPEECH = gated(speech_like(TOTAL), [(n * 96_000 + 13_333, n * 96_000 + 60_000) for n in range(14)])


def reference_lufs(signal: Samples) -> float:
    """What FFmpeg's meter finds in one go, gated."""
    command = [FFMPEG, "-nostats", *PCM_FORMAT, "-i", "pipe:0", "-af", "ebur128", "-f", "null", "-"]
    said = subprocess.run(command, input=to_pcm(signal), capture_output=True, check=True).stderr
    return float(re.findall(rb"I:\s+(\S+) LUFS", said)[-1])


async def measured(ffmpeg: Ffmpeg, signal: Samples, step: int, batch: int = 4) -> list[Loudness]:
    chunks = chunks_of(to_pcm(signal), every(step, len(signal)))
    return [
        found
        for start in range(0, len(chunks), batch)
        for found in await measure_loudness(ffmpeg, chunks[start : start + batch])
    ]


async def lufs_of(ffmpeg: Ffmpeg, signal: Samples, step: int = 480_000) -> float | None:
    return loudness_lufs(found.blocks for found in await measured(ffmpeg, signal, step))


async def test_a_tone_is_as_loud_as_the_standard_says(ffmpeg: Ffmpeg) -> None:
    """EBU Tech 3341, case 1: a stereo sine at -23 dBFS is -23 LUFS."""
    assert await lufs_of(ffmpeg, tone(TOTAL, level=10 ** (-23 / 20))) == pytest.approx(-23, abs=0.1)


async def test_one_channel_is_3_lu_less(ffmpeg: Ffmpeg) -> None:
    left = tone(TOTAL, level=10 ** (-23 / 20)) * [1, 0]
    assert await lufs_of(ffmpeg, left) == pytest.approx(-26, abs=0.3)


@pytest.mark.parametrize("step", [480_000, 48_000, 7_777])
@pytest.mark.parametrize("mono", [True, False])
async def test_chunks_measured_apart_are_as_loud_as_the_whole(ffmpeg: Ffmpeg, step: int, mono: bool) -> None:
    signal = np.repeat(SPEECH[:, :1], 2, axis=1) if mono else SPEECH
    assert await lufs_of(ffmpeg, signal, step) == pytest.approx(reference_lufs(signal), abs=0.2)


async def test_a_chunk_is_as_loud_in_whatever_company(ffmpeg: Ffmpeg) -> None:
    together = await measured(ffmpeg, SPEECH, 96_000, batch=15)
    assert together == await measured(ffmpeg, SPEECH, 96_000, batch=1)


async def test_blocks_across_borders_count_once(ffmpeg: Ffmpeg) -> None:
    """The first one ends after 400 ms."""
    for step in (480_000, 48_000, 7_777):
        found = await measured(ffmpeg, tone(TOTAL), step)
        assert sum(count for one in found for _, count in one.blocks) == TOTAL // 4800 - 3


async def test_pauses_and_noise_do_not_count(ffmpeg: Ffmpeg) -> None:
    """Both gates: of silence nothing is counted, and much noise does not make speech 7 LU softer."""
    is_talk = np.arange(TOTAL)[:, None] < TOTAL // 5
    talk = np.where(is_talk, speech_like(TOTAL), 0)
    noisy = np.where(is_talk, talk, speech_like(TOTAL, seed=9, level=0.0003))
    alone, with_noise = await lufs_of(ffmpeg, talk), await lufs_of(ffmpeg, noisy)
    assert alone == pytest.approx(reference_lufs(talk), abs=0.2)
    assert with_noise == pytest.approx(reference_lufs(noisy), abs=0.2)
    assert with_noise == pytest.approx(alone, abs=1.5)
    assert await lufs_of(ffmpeg, np.zeros((TOTAL, 2))) is None


@pytest.mark.parametrize("level", [1.0, 0.5, 0.01])
@pytest.mark.parametrize("sign", [1, -1])
async def test_the_peak_is_not_told_too_low(ffmpeg: Ffmpeg, level: float, sign: int) -> None:
    signal = tone(SAMPLE_RATE, level=0.001)
    signal[24_000] = sign * level
    [found] = await measured(ffmpeg, signal, SAMPLE_RATE)
    assert dbfs(signal) - 0.001 <= found.peak_dbfs <= dbfs(signal) + 4


async def test_silence_costs_no_run() -> None:
    chunk = ChunkPcm(pcm=bytes(480_000), start_sample=48_000, preroll_samples=24_000)
    [found] = await measure_loudness(nowhere(), [chunk])
    assert found.blocks == []


async def test_a_program_that_measures_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    silent = Ffmpeg(script(tmp_path_factory.mktemp("program"), "cat >/dev/null"))
    with pytest.raises(FfmpegError, match="loudness of 0 of"):
        await measured(silent, tone(SAMPLE_RATE), SAMPLE_RATE)
