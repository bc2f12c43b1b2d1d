"""MP3 frames made louder or softer as they are: without decoding them, without loss, and undone by the opposite.

A frame's coefficients are scaled by its global gain, eight bits of side information for each granule and channel. In
the decoder neighbouring granules overlap by half, so between two frames a gain changes over 12 ms and does not click.

Source: ISO/IEC 11172-3, 2.4.1.7 (side information) and 2.4.3.4.7.1 (requantisation).
"""

import math
from typing import Final

from discord_recorder.audio.mp3 import is_silent

STEP_DB: Final = 20 * math.log10(2) / 4
"""A step of the global gain is a factor of 2 ** (1 / 4), 1.5 dB."""

GRANULE_BITS: Final = 59
"""Side information of one granule and channel; the last bits of all side information are those of all granules."""
GRANULE: Final = (1 << GRANULE_BITS) - 1
LENGTH_AT: Final = GRANULE_BITS - 12
"""Lowest bit of the granule's coded length."""
GAIN_AT: Final = GRANULE_BITS - 12 - 9 - 8
"""Lowest bit of its global gain."""
MOST_GAIN: Final = 0xFF

_HEADER_BYTES: Final = 4
_SIDE_INFO_BYTES: Final = 32
_GRANULES_AT: Final = tuple(n * GRANULE_BITS for n in range(4))


def with_gain(frame: bytes, steps: int) -> bytes:
    """A stereo frame that many steps louder; each of them as far as the gain's range goes (no speech comes near it)."""
    if not steps or is_silent(frame):
        return frame
    side = int.from_bytes(frame[_HEADER_BYTES : _HEADER_BYTES + _SIDE_INFO_BYTES])
    for at in _GRANULES_AT:
        granule = side >> at & GRANULE
        if granule >> LENGTH_AT:  # else it codes nothing
            gain = granule >> GAIN_AT & MOST_GAIN
            side += (min(max(gain + steps, 0), MOST_GAIN) - gain) << at + GAIN_AT
    return frame[:_HEADER_BYTES] + side.to_bytes(_SIDE_INFO_BYTES) + frame[_HEADER_BYTES + _SIDE_INFO_BYTES :]
