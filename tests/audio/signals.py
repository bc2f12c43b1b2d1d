"""Test signals, and measures of what a coder and a splice did to them. Arrays are (samples, 2) or, one channel, 1-D."""

import subprocess
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from discord_recorder.audio.encode import ChunkPcm, EncodedChunk, encoder_output
from discord_recorder.audio.ffmpeg import MONO_PCM_FORMAT, PCM_FORMAT, find_ffmpeg
from discord_recorder.audio.mp3 import DELAY_SAMPLES, PREROLL_SAMPLES, SILENT_FRAME, split_frames
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE

Samples = npt.NDArray[np.float64]

FULL_SCALE = 32768
FFMPEG = find_ffmpeg(None)


def tone(samples: int, *, hertz: float = 997.0, level: float = 0.3) -> Samples:
    """A sine on both channels."""
    wave = level * np.sin(2 * np.pi * hertz * np.arange(samples) / SAMPLE_RATE)
    return np.repeat(wave[:, None], 2, axis=1)


def speech_like(samples: int, *, seed: int = 1, level: float = 0.1) -> Samples:
    """Voiced syllables of wandering pitch under a resonance, hisses between them, a little noise throughout."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / SAMPLE_RATE
    knots = np.arange(0, samples + SAMPLE_RATE, SAMPLE_RATE // 4)
    pitch = np.interp(np.arange(samples), knots, rng.uniform(90, 220, len(knots)))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    formant = np.interp(np.arange(samples), knots, rng.uniform(400, 2500, len(knots)))
    voice = np.zeros(samples)
    for harmonic in range(1, 10):
        voice += np.sin(harmonic * phase) / (1 + ((harmonic * pitch - formant) / 300) ** 2)
    syllables = np.clip(np.sin(2 * np.pi * 3.7 * time + np.sin(time)), 0, 1) ** 0.5
    hiss = rng.normal(0, 0.15, samples) * np.clip(-np.sin(2 * np.pi * 3.7 * time + np.sin(time)) - 0.7, 0, 1)
    fade_in = np.clip(np.arange(samples) / 4800, 0, 1)
    mono = level * fade_in * (voice * syllables + hiss + rng.normal(0, 0.002, samples))
    return np.stack([mono, 0.7 * mono], axis=1)


def gated(signal: Samples, sounding: Iterable[tuple[int, int]]) -> Samples:
    """The signal within the given ranges of samples, digital silence elsewhere."""
    result = np.zeros_like(signal)
    for first, last in sounding:
        result[first:last] = signal[first:last]
    return result


def to_pcm(signal: Samples) -> bytes:
    """Signal in -1..1 as s16le."""
    scaled = np.clip(np.round(signal * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    return scaled.astype("<i2").tobytes()


def from_pcm(pcm: bytes) -> Samples:
    """S16le as a signal in -1..1."""
    return np.frombuffer(pcm, "<i2").reshape(-1, 2) / FULL_SCALE


def chunks_of(pcm: bytes, borders: Sequence[int]) -> list[ChunkPcm]:
    """The chunks between the borders (in samples), each with the pre-roll that there is."""
    return [
        ChunkPcm(
            pcm=pcm[(first - (preroll := min(first, PREROLL_SAMPLES))) * SAMPLE_BYTES : last * SAMPLE_BYTES],
            start_sample=first,
            preroll_samples=preroll,
        )
        for first, last in pairwise(borders)
    ]


def every(step: int, total: int) -> list[int]:
    """Borders of chunks of one length."""
    return [*range(0, total, step), total]


def spliced(chunks: Iterable[EncodedChunk]) -> list[bytes]:
    """The rule of assembly in its plainest form."""
    frames: list[bytes] = []
    for chunk in chunks:
        del frames[chunk.first_frame :]
        frames += [SILENT_FRAME] * (chunk.first_frame - len(frames))
        frames += split_frames(chunk.frames)
    return frames


def run_ffmpeg(*args: str | Path, stdin: bytes = b"") -> bytes:
    """FFmpeg without the code under test."""
    command = [FFMPEG, "-v", "error", *map(str, args)]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


def encoded_at_once(pcm: bytes, quality: int = 4) -> list[bytes]:
    """The frames of one continuous encode."""
    return split_frames(run_ffmpeg(*PCM_FORMAT, "-i", "pipe:0", *encoder_output(quality), stdin=pcm))


def mono_at_once(pcm: bytes, quality: int = 4) -> list[bytes]:
    """The mono frames of one continuous encode of the left channel."""
    left = np.frombuffer(pcm, "<i2")[::2].tobytes()
    return split_frames(run_ffmpeg(*MONO_PCM_FORMAT, "-i", "pipe:0", *encoder_output(quality), stdin=left))


def decoded(frames: Iterable[bytes]) -> Samples:
    """All that bare frames decode to, moved so that sample 0 is sample 0 of their source."""
    floats = ("-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "2")
    raw = run_ffmpeg("-f", "mp3", "-i", "pipe:0", *floats, "pipe:1", stdin=b"".join(frames))
    return np.frombuffer(raw, "<f4").reshape(-1, 2)[DELAY_SAMPLES:].astype(np.float64)


def played(path: Path) -> Samples:
    """What a player that knows the Info frame plays of a file."""
    return from_pcm(run_ffmpeg("-i", path, *PCM_FORMAT, "pipe:1"))


def deviation(frames: Iterable[bytes], others: Iterable[bytes], samples: int) -> float:
    """The highest difference, in dB of full scale, between what two sets of frames decode to, over a track's length."""
    return dbfs(decoded(frames)[:samples] - decoded(others)[:samples])


def dbfs(signal: Samples) -> float:
    """The highest peak in dB of full scale; -200 for silence."""
    return 20 * float(np.log10(max(1e-10, np.abs(signal).max(initial=0))))


def snr_db(signal: Samples, copy: Samples) -> float:
    """How far the difference of the two lies below the signal."""
    return 20 * float(np.log10(signal.std() / max(1e-10, (copy - signal).std())))


def offset_of(signal: Samples, copy: Samples) -> int:
    """By how many samples `copy` is later than `signal`: the peak of their cross-correlation."""
    size = len(signal) + len(copy)
    spectra = np.fft.rfft(copy[:, 0], size) * np.fft.rfft(signal[:, 0], size).conj()
    peak = int(np.fft.irfft(spectra, size).argmax())
    return peak if peak < len(copy) else peak - size


def clicks(signal: Samples, hertz: float = 997.0) -> Samples:
    """What a sine's own recurrence does not predict, sample by sample: a click, gap or leap of phase stands out."""
    wave = signal[:, 0]
    unforeseen: Samples = np.abs(wave[2:] - 2 * np.cos(2 * np.pi * hertz / SAMPLE_RATE) * wave[1:-1] + wave[:-2])
    return unforeseen


def phases(signal: Samples, hertz: float = 997.0) -> Samples:
    """The sine's phase in each second, in radians, against an ideal sine in step with the middle one."""
    wave = signal[: len(signal) // SAMPLE_RATE * SAMPLE_RATE, 0]
    carrier = np.exp(-2j * np.pi * hertz * np.arange(len(wave)) / SAMPLE_RATE)
    turned: Samples = np.angle((wave * carrier).reshape(-1, SAMPLE_RATE).sum(axis=1))
    turned -= turned[len(turned) // 2]
    return turned
