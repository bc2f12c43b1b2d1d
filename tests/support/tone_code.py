"""Tone codes: voices in which one can hear who speaks and when it was said.

A voice is a tone that glides to another pitch within every 20 ms, to one that is drawn by lot for its speaker and that
moment. So no moment sounds like any other of this or another speaker, a tenth of a second is enough to tell whose it is
and when it was said, to a fraction of a millisecond; and as the pitch never leaps, nothing is heard above the voice's
band unless somebody cut or joined the sound.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from tests.audio.signals import Samples, to_pcm

RATE: Final = 48_000
FRAME: Final = 960
"""Samples of a frame, and of a glide."""

LEVEL: Final = 0.2
"""Amplitude of every voice; full scale is 1."""

LOWEST_HERTZ, HIGHEST_HERTZ = 400.0, 3400.0

LEAST_GLIDE_HERTZ: Final = 900.0
"""How far apart pitches that follow each other are, at least. So what a decoder makes up for a lost frame, going on
with the pitch that it heard last, is soon wrong."""

_BITS_A_SECOND: Final = 64_000

_EXPECTED_LOSS: Final = "20"
"""Percent. An encoder that expects losses makes packets that need nothing of those before; so a lost one costs itself
only, and what is missing can be counted in packets."""


def voice(speaker: int, first: int, count: int) -> Samples:
    """Samples `first..first + count` of a speaker's voice, one channel; a voice has no end."""
    frames = max(512, 1 << (-(-(first + count) // FRAME) - 1).bit_length())
    return _voice(speaker, frames)[first : first + count]


def stereo(mono: Samples) -> Samples:
    """One channel on both."""
    return np.repeat(mono[:, None], 2, axis=1)


def packets(speaker: int, first_frame: int = 0, *, channels: int = 2) -> Iterator[bytes]:
    """A talk spurt without end: the voice from that frame on, as Opus, from an encoder that begins there.

    Packet `n` decodes to the frame of that number, 6.5 ms late, as with every Opus of libopus.
    """
    layout = "stereo" if channels == 2 else "mono"
    encoder = _encoder(layout)
    number = first_frame
    while True:
        frame = av.AudioFrame(format="s16", layout=layout, samples=FRAME)
        frame.sample_rate = RATE
        mono = voice(speaker, number * FRAME, FRAME)
        frame.planes[0].update(to_pcm(stereo(mono) if channels == 2 else mono))
        yield from map(bytes, encoder.encode(frame))
        number += 1


@cache
def _voice(speaker: int, frames: int) -> Samples:
    knots = np.arange(frames + 1)
    hertz = np.interp(np.arange(frames * FRAME) / FRAME, knots, _pitches(speaker, len(knots)))
    wave: Samples = LEVEL * np.sin(2 * np.pi * np.cumsum(hertz) / RATE)
    wave.flags.writeable = False
    return wave


def _pitches(speaker: int, count: int) -> Samples:
    """The pitch at the beginning of each frame, in Hz."""
    lot = np.random.default_rng(speaker)
    width = HIGHEST_HERTZ - LOWEST_HERTZ
    # Each step goes on around a circle as long as the band is wide; so it is far enough either way.
    steps = lot.uniform(LEAST_GLIDE_HERTZ, width - LEAST_GLIDE_HERTZ, count)
    pitches: npt.NDArray[np.float64] = LOWEST_HERTZ + np.cumsum(steps) % width
    return pitches


def _encoder(layout: str) -> av.AudioCodecContext:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE, layout, "s16"
    encoder.bit_rate = _BITS_A_SECOND
    encoder.options = {"application": "audio", "frame_duration": "20", "packet_loss": _EXPECTED_LOSS}
    encoder.open()
    return encoder
