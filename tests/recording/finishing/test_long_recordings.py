"""Minutes of audio through chunks of 10 s come out as one file in which no border can be found."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import discord_recorder
from discord_recorder.audio.dual_mono import to_stereo
from discord_recorder.audio.ffmpeg import PCM_FORMAT
from discord_recorder.audio.mp3 import DELAY_SAMPLES
from tests.audio.signals import clicks, encoded_at_once, mono_at_once, run_ffmpeg, to_pcm, tone
from tests.support.recorder import ALICE, OpenServices, push_in_pieces, started, stopped, track_of

Pcm = npt.NDArray[np.int16]

RATE = 48_000
CHUNK_SECONDS = 10
HERTZ = 997.0  # whole, so that every second of the tone is alike
CARRIER = np.exp(-2j * np.pi * HERTZ * np.arange(RATE) / RATE)
SPEECH = Path(discord_recorder.__file__).with_name("assets") / "speech"


async def recorded(open_services: OpenServices, pcm: bytes) -> Pcm:
    """Push it in pieces that fit neither samples nor chunks, and play what became of it."""
    async with open_services(flush_interval_seconds=CHUNK_SECONDS) as services:
        session = await started(services)
        await push_in_pieces(session.push_audio_data, pcm, 1_000_003)
        path = track_of(await stopped(services), ALICE)["path"]
        return await asyncio.to_thread(lambda: samples_of(run_ffmpeg("-i", path, *PCM_FORMAT, "pipe:1")))


def samples_of(pcm: bytes) -> Pcm:
    return np.frombuffer(pcm, "<i2").reshape(-1, 2)


def phase(second: npt.NDArray[np.float64]) -> float:
    """The phase of the tone in radians, in a second that begins at a whole second."""
    return float(np.angle(second[:, 0] @ CARRIER))


def rms_dbfs(difference: npt.NDArray[np.floating]) -> float:
    return float(20 * np.log10(max(1e-10, np.sqrt(np.mean(difference**2)) / 32768)))


def heard(frames: Sequence[bytes]) -> Pcm:
    played = run_ffmpeg("-f", "mp3", "-i", "pipe:0", *PCM_FORMAT, "pipe:1", stdin=b"".join(frames))
    return samples_of(played)[DELAY_SAMPLES:]


def borders(seconds: int) -> range:
    return range(CHUNK_SECONDS * RATE, seconds * RATE, CHUNK_SECONDS * RATE)


async def test_ten_minutes_of_a_tone_have_no_leap_and_no_drift(open_services: OpenServices) -> None:
    seconds = 600
    sound = await recorded(open_services, to_pcm(tone(RATE, hertz=HERTZ)) * seconds)
    assert len(sound) == seconds * RATE, "it is as long as what was pushed, to the sample"
    usual = float(clicks(sound[RATE : 9 * RATE].astype(np.float64), HERTZ).max())
    for border in borders(seconds):
        around = sound[border - RATE : border + RATE].astype(np.float64)
        assert clicks(around, HERTZ).max() < 1.5 * usual, f"a click near {border // RATE} s"
        assert abs(phase(around[:RATE]) - phase(around[RATE:])) < 1e-3, f"the phase leaps near {border // RATE} s"
    drift = [phase(sound[second * RATE : (second + 1) * RATE].astype(np.float64)) for second in range(1, seconds - 1)]
    assert max(drift) - min(drift) < 1e-3, "the tone drifts"  # 0.008 samples


async def test_speech_is_that_of_one_continuous_encode(open_services: OpenServices) -> None:
    seconds = 300
    voices = b"".join(
        await asyncio.gather(
            *(asyncio.to_thread(run_ffmpeg, "-i", path, *PCM_FORMAT, "pipe:1") for path in sorted(SPEECH.glob("*.ogg")))
        )
    )
    pcm = (voices * 2)[: seconds * RATE * 4]
    sound = await recorded(open_services, pcm)
    assert len(sound) == seconds * RATE
    continuous = await asyncio.to_thread(lambda: heard([to_stereo(frame) for frame in mono_at_once(pcm)]))
    difference = sound[:, 0].astype(np.float32) - continuous[: len(sound), 0]
    assert rms_dbfs(difference) < -80
    for border in borders(seconds):
        for start in range(border - RATE, border + RATE, RATE // 10):
            assert rms_dbfs(difference[start : start + RATE // 10]) < -60, f"at {start / RATE} s"
    source = samples_of(pcm)[:, 0].astype(np.float32)
    in_stereo = await asyncio.to_thread(lambda: heard(encoded_at_once(pcm)))
    assert rms_dbfs(sound[:, 0] - source) < rms_dbfs(in_stereo[: len(sound), 0] - source) + 1.5
