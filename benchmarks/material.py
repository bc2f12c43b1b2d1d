"""What the speakers say: the speech that the project ships, without its pauses, and spurts of it in digital silence."""

from collections.abc import Sequence
from contextlib import aclosing
from importlib.resources import as_file, files
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.pcm import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE

Pcm: TypeAlias = NDArray[np.int16]

PIECE_SECONDS = 0.02
PIECE_SAMPLES = round(PIECE_SECONDS * SAMPLE_RATE)
PIECE_BYTES = PIECE_SAMPLES * SAMPLE_BYTES
"""What Discord gives at a time."""

CHUNK_SECONDS = 10.0
CHUNK_BYTES = round(CHUNK_SECONDS * SAMPLE_RATE) * SAMPLE_BYTES

_BLOCK = SAMPLE_RATE // 100
_LONGEST_PAUSE_BLOCKS = 6
_FADE = SAMPLE_RATE // 200
_SPEAKER_SHIFT_SECONDS = 7.3


class Speech:
    """The voices, and any number of speakers made of them, who never stop talking."""

    def __init__(self, voices: Sequence[Pcm]) -> None:
        self._voices = voices

    @classmethod
    async def load(cls, ffmpeg: Ffmpeg) -> "Speech":
        """Decode the speech files of the package."""
        voices = []
        for asset in sorted((files("discord_recorder") / "assets" / "speech").iterdir(), key=lambda file: file.name):
            with as_file(asset) as path:
                async with aclosing(ffmpeg.decode(path)) as blocks:
                    pcm = b"".join([block async for block in blocks])
            voices.append(_without_pauses(np.frombuffer(pcm, np.dtype("<i2")).reshape(-1, CHANNELS)))
        return cls(voices)

    def of(self, speaker: int, seconds: float, from_seconds: float = 0.0) -> bytes:
        """What a speaker says in that time of an endless talk."""
        return self._samples(speaker, seconds, from_seconds).tobytes()

    def spurts(self, speakers: int, seconds: float, activity: float, rng: np.random.Generator) -> list[bytes]:
        """For each speaker that much time with talk spurts of 1 to 8 s in digital silence.

        Together the spurts are exactly `activity` of the speakers' time; who talks when is chance.
        """
        tracks = [np.zeros((round(seconds * SAMPLE_RATE), CHANNELS), np.int16) for _ in range(speakers)]
        left = activity * seconds * speakers
        while left > 0.0:
            length = min(float(rng.uniform(1.0, 8.0)), left, seconds)
            if left - length < 1.0:
                length = min(left, seconds)
            speaker, start = int(rng.integers(speakers)), float(rng.uniform(0.0, seconds - length))
            said = _faded(self._samples(speaker, length, float(rng.uniform(0.0, 3600.0))))
            first = round(start * SAMPLE_RATE)
            place = tracks[speaker][first : first + len(said)]
            if not place.any():
                place[:] = said[: len(place)]
                left -= length
        return [track.tobytes() for track in tracks]

    def _samples(self, speaker: int, seconds: float, from_seconds: float) -> Pcm:
        voice = self._voices[speaker % len(self._voices)]
        start = round((from_seconds + speaker * _SPEAKER_SHIFT_SECONDS) * SAMPLE_RATE) % len(voice)
        return np.resize(np.roll(voice, -start, axis=0), (round(seconds * SAMPLE_RATE), CHANNELS))


def pieces(pcm: bytes) -> list[bytes]:
    """Cut into what Discord gives at a time."""
    return [pcm[start : start + PIECE_BYTES] for start in range(0, len(pcm), PIECE_BYTES)]


def chunks(pcm: bytes) -> list[bytes]:
    """Cut into what the recorder makes one file of."""
    return [pcm[start : start + CHUNK_BYTES] for start in range(0, len(pcm), CHUNK_BYTES)]


def _without_pauses(voice: Pcm) -> Pcm:
    """Take out what is silent for longer than words are apart."""
    blocks = voice[: len(voice) // _BLOCK * _BLOCK].reshape(-1, _BLOCK, CHANNELS)
    kept, pause = [], 0
    for number, loud in enumerate(np.abs(blocks.astype(np.int32)).max(axis=(1, 2)) > 0):
        pause = 0 if loud else pause + 1
        if pause <= _LONGEST_PAUSE_BLOCKS:
            kept.append(number)
    return np.ascontiguousarray(blocks[kept].reshape(-1, CHANNELS))


def _faded(pcm: Pcm) -> Pcm:
    """Let it begin and end without a click."""
    ramp = np.ones((len(pcm), 1))
    ramp[:_FADE, 0] = np.linspace(0.0, 1.0, _FADE)
    ramp[-_FADE:, 0] = ramp[:_FADE, 0][::-1]
    return np.asarray(np.rint(pcm * ramp), np.int16)
