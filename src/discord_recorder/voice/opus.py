"""The little that the receiver knows about Opus packets (RFC 6716 section 3)."""

from typing import Final

SILENCE: Final = b"\xf8\xff\xfe"
"""The frame that Discord's clients send five times before they stop sending; never encrypted end to end."""

_MAX_FRAME_BYTES: Final = 1275
_MAX_PACKET_MS: Final = 120
_SHORT_LENGTH: Final = 252
"""Lengths from here on take two bytes."""

_SILK_MS: Final = (10.0, 20.0, 40.0, 60.0)
_HYBRID_MS: Final = (10.0, 20.0)
_CELT_MS: Final = (2.5, 5.0, 10.0, 20.0)
_FRAME_MS: Final = 3 * _SILK_MS + 2 * _HYBRID_MS + 4 * _CELT_MS
"""Duration of one frame by the five configuration bits of the TOC byte."""


def is_packet(data: bytes) -> bool:
    """True when the bytes fulfil all demands on the outer form of an Opus packet (RFC 6716 section 3.4).

    That is little for packets of one frame, which any bytes are up to a length of 1276.
    """
    if not data:
        return False
    code = data[0] & 3
    if code == 0:
        return len(data) - 1 <= _MAX_FRAME_BYTES
    if code == 1:
        return len(data) % 2 == 1 and (len(data) - 1) // 2 <= _MAX_FRAME_BYTES
    if code == 2:  # noqa: PLR2004 - two frames, the first with its length
        return _lengths_fit(data, 1, len(data), frames=2)
    return _many_fit(data)


def _many_fit(data: bytes) -> bool:
    """Code 3: a count, perhaps padding, and frames of one size or with a length each."""
    if len(data) < 2:  # noqa: PLR2004 - TOC and count
        return False
    flags = data[1]
    frames = flags & 0x3F
    if not frames or frames * _FRAME_MS[data[0] >> 3] > _MAX_PACKET_MS:
        return False
    at, end = 2, len(data)
    if flags & 0x40:
        size = 0xFF
        while size == 0xFF:  # noqa: PLR2004 - 254 bytes, and another length byte follows
            if at >= len(data):
                return False
            size = data[at]
            at += 1
            end -= min(size, 254)
    if at > end:
        return False
    if flags & 0x80:
        return _lengths_fit(data, at, end, frames=frames)
    size, rest = divmod(end - at, frames)
    return not rest and size <= _MAX_FRAME_BYTES


def _lengths_fit(data: bytes, at: int, end: int, *, frames: int) -> bool:
    """True when all but the last of the frames have a length in front, and all of them fit before `end`."""
    total = 0
    for _ in range(frames - 1):
        if at >= end:
            return False
        size = data[at]
        at += 1
        if size >= _SHORT_LENGTH:
            if at >= end:
                return False
            size += 4 * data[at]
            at += 1
        total += size
    return 0 <= end - at - total <= _MAX_FRAME_BYTES
