"""Opus made by libopus for the tests, and what libopus makes of it, without the code under test."""

from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt

from discord_recorder.audio.ffmpeg import PCM_FORMAT
from discord_recorder.audio.opus import packet_samples
from discord_recorder.audio.pcm import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE
from tests.audio.signals import run_ffmpeg

Pcm = npt.NDArray[np.int16]
"""Decoded samples, (samples, 2)."""

ENCODER_DELAY_SAMPLES = 312
"""What libopus puts in front of the source (6.5 ms), as its pre-skip says."""

_MODES = {"silk": (12_000, "voip"), "hybrid": (32_000, "voip"), "celt": (64_000, "audio")}


def encoded(pcm: bytes, *, mode: str = "celt", frame_ms: int = 20, loss_percent: int = 0) -> list[bytes]:
    """The packets of one continuous encode of s16le stereo; a part of a frame at the end is left out.

    With `loss_percent` they hold copies of the frames before them (in-band FEC), in SILK and hybrid.
    """
    bit_rate, application = _MODES[mode]
    context = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format = SAMPLE_RATE, "stereo", "s16"
    context.bit_rate = bit_rate + (8_000 if loss_percent else 0)  # there are no copies at less
    context.options = {"application": application, "frame_duration": str(frame_ms)}
    if loss_percent:
        context.options |= {"fec": "1", "packet_loss": str(loss_percent)}
    context.open()
    step = frame_ms * SAMPLE_RATE // 1000 * SAMPLE_BYTES
    packets = []
    for start in range(0, len(pcm) - step + 1, step):
        frame = av.AudioFrame(format="s16", layout="stereo", samples=step // SAMPLE_BYTES)
        frame.sample_rate = SAMPLE_RATE
        frame.planes[0].update(pcm[start : start + step])
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets


def decoded_at_once(packets: Iterable[bytes]) -> Pcm | None:
    """What a fresh libopus makes of packets in a row; None when it refuses one."""
    context = av.CodecContext.create("libopus", "r")
    context.sample_rate, context.layout = SAMPLE_RATE, "stereo"
    pieces = []
    for packet in packets:
        try:
            (frame,) = context.decode(av.Packet(packet))
        except av.error.InvalidDataError:
            return None
        pieces.append(np.frombuffer(bytes(frame.planes[0]), "<i2")[: frame.samples * CHANNELS])
    return np.concatenate(pieces).reshape(-1, CHANNELS)


def reference(packets: Iterable[bytes]) -> Pcm:
    """`decoded_at_once` of packets that are all right."""
    heard = decoded_at_once(packets)
    assert heard is not None
    return heard


def in_a_row(packets: Iterable[bytes], at_sample: int = 0) -> list[tuple[int, bytes]]:
    """Packets that follow each other, each with its place."""
    placed = []
    for packet in packets:
        placed.append((at_sample, packet))
        at_sample += packet_samples(packet)
    return placed


def opus_mode(packet: bytes) -> str:
    """Which of the codec's modes a packet is of."""
    configuration = packet[0] >> 3
    return "silk" if configuration < 12 else "hybrid" if configuration < 16 else "celt"


def speech_file(name: str) -> Path:
    """One of the voices that come with the package, an Ogg Opus file of another program's."""
    return Path(str(resources.files("discord_recorder"))) / "assets" / "speech" / f"{name}.ogg"


@cache
def _voice(name: str) -> bytes:
    pcm = run_ffmpeg("-i", speech_file(name), *PCM_FORMAT, "pipe:1")
    block = SAMPLE_RATE // 100 * SAMPLE_BYTES
    return b"".join(piece for at in range(0, len(pcm), block) if any(piece := pcm[at : at + block]))


def speech(name: str, seconds: float = 10.0) -> bytes:
    """The beginning of a voice as PCM, without its pauses (10 ms of zeros and more)."""
    size = round(seconds * SAMPLE_RATE) * SAMPLE_BYTES
    assert len(_voice(name)) >= size
    return _voice(name)[:size]
