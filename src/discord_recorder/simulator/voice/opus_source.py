"""Opus frames to speak: from audio files or tones, 20 ms each, 48 kHz stereo.

Encoding is done at once and in this process; 10 s take about 0.1 s of CPU.
"""

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
from av.audio import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from discord_recorder.errors import NotAudioError

SAMPLE_RATE: Final = 48_000
FRAME_SAMPLES: Final = 960
FRAME_SECONDS: Final = FRAME_SAMPLES / SAMPLE_RATE

_BITS_A_SECOND: Final = 64_000
_FULL_SCALE: Final = 32_767

_VOICE_PEAK: Final = 200
"""A frame whose highest sample is below this is silence, -44 dB of full scale."""

_HANG_FRAMES: Final = 20
"""How long silence has to last until a talk spurt is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkSpurt:
    """What somebody says between two silences."""

    begin_seconds: float
    frames: list[bytes]

    @property
    def end_seconds(self) -> float:
        """When the last frame is over."""
        return self.begin_seconds + len(self.frames) * FRAME_SECONDS


def tone(hertz: float, seconds: float, *, level: float = 0.25, bits_a_second: int = _BITS_A_SECOND) -> list[bytes]:
    """A sine; `level` 1 is full scale. The last frame is filled up with silence."""
    step, peak = math.tau * hertz / SAMPLE_RATE, level * _FULL_SCALE
    samples = array("h")
    for number in range(round(seconds * SAMPLE_RATE)):
        sample = round(peak * math.sin(step * number))
        samples.append(sample)
        samples.append(sample)
    pcm = samples.tobytes()
    return _encode((pcm[at : at + 4 * FRAME_SAMPLES] for at in range(0, len(pcm), 4 * FRAME_SAMPLES)), bits_a_second)


def from_file(path: Path, *, bits_a_second: int = _BITS_A_SECOND) -> list[bytes]:
    """The first audio stream of a file in any format that FFmpeg reads.

    Raises:
        NotAudioError: the file cannot be read as audio.
    """
    return _encode(_decode(path), bits_a_second)


def talk_spurts(path: Path, *, until_seconds: float = math.inf, bits_a_second: int = _BITS_A_SECOND) -> list[TalkSpurt]:
    """The talk spurts of a file that begin before `until_seconds`, as a client with voice activation sends them.

    Raises:
        NotAudioError: the file cannot be read as audio.
    """
    found: list[tuple[int, list[bytes]]] = []
    blocks: list[bytes] = []
    silent = _HANG_FRAMES
    for number, block in enumerate(_decode(path)):
        silent = silent + 1 if max(array("h", block), default=0) < _VOICE_PEAK else 0
        if silent < _HANG_FRAMES:
            if not blocks and number * FRAME_SECONDS >= until_seconds:
                break
            blocks.append(block)
        elif blocks:
            found.append((number - len(blocks), blocks))
            blocks = []
    if blocks:
        found.append((number + 1 - len(blocks), blocks))
    return [
        TalkSpurt(begin_seconds=begin * FRAME_SECONDS, frames=_encode(spoken, bits_a_second)) for begin, spoken in found
    ]


def _decode(path: Path) -> Iterator[bytes]:
    resampler = AudioResampler(format="s16", layout="stereo", rate=SAMPLE_RATE, frame_size=FRAME_SAMPLES)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            for decoded in container.decode(stream):
                for frame in resampler.resample(decoded):
                    yield _pcm_of(frame)
            for frame in resampler.resample(None):
                yield _pcm_of(frame)
    except (FFmpegError, IndexError) as error:
        raise NotAudioError(f"{path} holds no audio that can be read") from error


def _encode(pcm: Iterable[bytes], bits_a_second: int) -> list[bytes]:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = SAMPLE_RATE
    encoder.layout = "stereo"
    encoder.format = "s16"
    encoder.bit_rate = bits_a_second
    encoder.options = {"frame_duration": "20", "application": "voip"}
    packets, count = list[bytes](), 0
    for block in pcm:
        frame = AudioFrame(format="s16", layout="stereo", samples=FRAME_SAMPLES)
        frame.sample_rate = SAMPLE_RATE
        frame.pts = count * FRAME_SAMPLES
        frame.planes[0].update(block.ljust(4 * FRAME_SAMPLES, b"\0"))
        packets += [bytes(packet) for packet in encoder.encode(frame)]
        count += 1
    packets += [bytes(packet) for packet in encoder.encode(None)]
    return packets[:count]


def _pcm_of(frame: AudioFrame) -> bytes:
    return bytes(frame.planes[0])[: 4 * frame.samples]
