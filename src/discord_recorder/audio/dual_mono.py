"""Stereo whose two channels are the same, as a voice nearly always is: encoded as mono, told as joint stereo.

LAME takes half the time for one channel. A mono frame becomes a stereo one by its side information alone: in mid/side
coding the middle channel of two equal ones is either of them times the square root of 2, which is two steps of the
frame's global gain, and the side channel codes nothing. The coded coefficients stay as they are, bit by bit.

Source: ISO/IEC 11172-3, 2.4.1.7 (side information) and 2.4.3.4.9.2 (mid/side stereo).
"""

from array import array
from collections.abc import Sequence
from typing import Final

from discord_recorder.audio.frame_gain import GAIN_AT, GRANULE, GRANULE_BITS, LENGTH_AT, MOST_GAIN
from discord_recorder.audio.mp3 import BITRATES_KBPS

_BLOCK_BYTES: Final = 32 * 1024

_HEADER_BYTES: Final = 4
_MONO_SIDE_BYTES: Final = 17
_MONO_HEAD_BYTES: Final = _HEADER_BYTES + _MONO_SIDE_BYTES
_STEREO_SIDE_BYTES: Final = 32
_STEREO_HEAD_BYTES: Final = _HEADER_BYTES + _STEREO_SIDE_BYTES

_JOINT_MID_SIDE: Final = 0b0110_0000
"""Mode "joint stereo" and mode extension "mid/side", in the header's last byte."""

_MONO: Final = 0b1100_0000

_SQRT_2_GAIN: Final = 2
"""Steps of the global gain (see `frame_gain.py`)."""

_WINDOW: Final = 0b1111 << (GRANULE_BITS - 37)
"""Whether windows are switched, and to which; both channels need to have that alike."""
_WINDOW_SWITCHED: Final = 0b1000 << (GRANULE_BITS - 37)

_MODE: Final = 0b1111_0000
_LENGTH: Final = 0xFFF << LENGTH_AT
_SIDE_LENGTHS: Final = _LENGTH << 2 * GRANULE_BITS | _LENGTH
_MIDDLE_LENGTHS: Final = _SIDE_LENGTHS << GRANULE_BITS

_SIZES: Final = tuple((3 * kbps, code << 4 | 0x04) for code, kbps in enumerate(BITRATES_KBPS, start=1))
"""Bytes of a frame, and the header's third byte that says so, for each bit rate."""


class NoRoomError(Exception):
    """A mono frame fits no stereo frame."""


def channel_of(pcm: bytes) -> bytes | None:
    """One channel of stereo s16le whose channels are the same in every sample; None when they are not."""
    mono = []
    for start in range(0, len(pcm), _BLOCK_BYTES):  # what stays in the processor's cache is done in half the time
        block = pcm[start : start + _BLOCK_BYTES]
        low, high = block[::4], block[1::4]
        if high != block[3::4] or low != block[2::4]:
            return None
        channel = bytearray(len(block) // 2)
        channel[::2], channel[1::2] = low, high
        mono.append(channel)
    return b"".join(mono)


def in_both_channels(mono: bytes) -> bytes:
    """Stereo s16le with that sound in either channel."""
    samples, stereo = array("H", mono), array("H", bytes(2 * len(mono)))
    stereo[::2] = stereo[1::2] = samples
    return stereo.tobytes()


def is_dual_mono(frame: bytes) -> bool:
    """True for a stereo frame that `to_mono` takes: its side channel codes nothing, or neither channel does."""
    side = int.from_bytes(frame[_HEADER_BYTES:_STEREO_HEAD_BYTES])
    return not side & _SIDE_LENGTHS and (frame[3] & _MODE == _JOINT_MID_SIDE or not side & _MIDDLE_LENGTHS)


def to_mono(stereo: bytes) -> bytes:
    """A mono frame that decodes to what `stereo`, of which `is_dual_mono` is true, decodes to in either channel.

    Raises:
        NoRoomError: its gain is too low; `to_stereo` made no such frame.
    """
    side = int.from_bytes(stereo[_HEADER_BYTES:_STEREO_HEAD_BYTES])
    shared = side >> 4 * GRANULE_BITS + 4 & 0xF
    granules = [_with_gain(side >> at & GRANULE, -_SQRT_2_GAIN) for at in (3 * GRANULE_BITS, GRANULE_BITS)]
    coded_bytes = _coded_bytes(granules)
    size, rate = _least(_MONO_HEAD_BYTES + coded_bytes)
    mono = (shared << GRANULE_BITS | granules[0]) << GRANULE_BITS | granules[1]
    head = bytes((stereo[0], stereo[1], rate, _MONO | stereo[3] & 0x0F)) + mono.to_bytes(_MONO_SIDE_BYTES)
    return (head + stereo[_STEREO_HEAD_BYTES : _STEREO_HEAD_BYTES + coded_bytes]).ljust(size, b"\0")


def to_stereo(mono: bytes) -> bytes:
    """A stereo frame that decodes to a mono frame's sound in both channels.

    Args:
        mono: an MPEG-1 Layer III frame of one channel, 48 kHz, without checksum and without bit reservoir.

    Raises:
        NoRoomError: it uses nearly all of the highest bit rate, or of the gain's range; so loud no speech is.
    """
    side = int.from_bytes(mono[_HEADER_BYTES:_MONO_HEAD_BYTES])
    shared = side >> 2 * GRANULE_BITS & 0xF  # which scale factors the second granule takes from the first
    granules = side >> GRANULE_BITS & GRANULE, side & GRANULE
    coded_bytes = _coded_bytes(granules)
    size, rate = _least(_STEREO_HEAD_BYTES + coded_bytes)
    stereo = shared << 4
    for granule in granules:
        silent_side = granule & _WINDOW if granule & _WINDOW_SWITCHED else 0
        stereo = (stereo << GRANULE_BITS | _with_gain(granule, _SQRT_2_GAIN)) << GRANULE_BITS | silent_side
    head = bytes((mono[0], mono[1], rate, _JOINT_MID_SIDE | mono[3] & 0x0F)) + stereo.to_bytes(_STEREO_SIDE_BYTES)
    return (head + mono[_MONO_HEAD_BYTES : _MONO_HEAD_BYTES + coded_bytes]).ljust(size, b"\0")


def _coded_bytes(granules: Sequence[int]) -> int:
    return sum(granule >> LENGTH_AT for granule in granules) + 7 >> 3


def _with_gain(granule: int, steps: int) -> int:
    if not granule >> LENGTH_AT:  # it codes nothing, and LAME may have left any gain in it
        return granule
    if not 0 <= (granule >> GAIN_AT & MOST_GAIN) + steps <= MOST_GAIN:
        raise NoRoomError
    return granule + (steps << GAIN_AT)


def _least(size: int) -> tuple[int, int]:
    """Bytes of the smallest frame of at least `size`, and the third byte of its header."""
    for frame_bytes, rate in _SIZES:
        if frame_bytes >= size:
            return frame_bytes, rate
    raise NoRoomError
