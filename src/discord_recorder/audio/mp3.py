"""MP3 as the recorder writes it: self-contained frames on a grid of 1152 samples, and the Info frame in front of them.

All of a track's frames stand on one grid: frame `f` is the `f`-th of one endless encode that began at sample 0. With
the bit reservoir off no frame needs another's bits, so frames can be cut, replaced and joined by their number alone.

Sources: ISO/IEC 11172-3 (frame header, side information), the LAME project's "Mp3 Info Tag rev 1" (Info frame).
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from mmap import mmap
from typing import Final

from discord_recorder.errors import Mp3Error

FRAME_SAMPLES: Final = 1152
"""Samples of one MPEG-1 Layer III frame."""

ENCODER_DELAY_SAMPLES: Final = 576
"""What LAME puts in front of the source."""

DECODER_DELAY_SAMPLES: Final = 529
"""What every Layer III decoder puts in front of its output (filter bank and overlap)."""

DELAY_SAMPLES: Final = ENCODER_DELAY_SAMPLES + DECODER_DELAY_SAMPLES
"""Sample `p` of all decoded frames is sample `p - DELAY_SAMPLES` of the source."""

PREROLL_SAMPLES: Final = 24_000
"""Source an encoder hears before the first frame that is kept, 500 ms: measured to be enough for it to settle."""

LOOKAHEAD_SAMPLES: Final = 2 * FRAME_SAMPLES
"""How much of the source beyond a frame's own samples has to be known before the frame counts as final; LAME was
measured to look 1250 samples ahead."""

SILENT_FRAME: Final = bytes.fromhex("fffb1464").ljust(96, b"\0")
"""A frame of digital silence: 32 kbit/s, and side information that says that nothing is coded."""

INFO_FRAME_BYTES: Final = 192
"""Size of the Info frame: a 64 kbit/s frame, which it fills exactly."""

TOC_ENTRIES: Final = 100
"""Entries of the Info frame's table of contents: one for each percent of the playing time."""

_INFO_HEADER: Final = bytes.fromhex("fffb5464")
_SIDE_INFO_BYTES: Final = 32
_XING_AT: Final = 4 + _SIDE_INFO_BYTES
_XING_FIELDS: Final = 0xF  # frame count, byte count, table of contents, quality
_ENCODER: Final = b"LAME3.100"  # FFmpeg and others believe the delays only of encoders they know
_VBR_METHOD: Final = 4  # tag revision 0, VBR "mtrh"
_LOWPASS_UNKNOWN: Final = 0
_MAX_PADDING: Final = 0xFFF

_MONO: Final = 3
_PART_LENGTH_AT: Final = (20, 79, 138, 197)
"""First bit, within a stereo frame's side information, of the coded length of each granule and channel (12 bits)."""

BITRATES_KBPS: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_SIZES: Final = {
    bytes((0xFF, 0xFA | unprotected, code << 4 | 0x04 | padding << 1 | private)): 3 * kbps + padding
    for code, kbps in enumerate(BITRATES_KBPS, start=1)
    for unprotected in (0, 1)
    for padding in (0, 1)
    for private in (0, 1)
}
"""Frame size in bytes by the first three bytes of every valid 48 kHz Layer III header (144 * bit rate / 48 kHz)."""


def frame_count(samples: int) -> int:
    """Frames that a track of `samples` has, those that only its decoding delay needs included."""
    return -(-(samples + DELAY_SAMPLES) // FRAME_SAMPLES)


def determined_frames(end_sample: int) -> int:
    """How many frames of a track are final once it is known up to `end_sample`, whatever follows."""
    return max(0, (end_sample - LOOKAHEAD_SAMPLES) // FRAME_SAMPLES)


def frame_sizes(data: bytes | mmap, offset: int = 0) -> list[int]:
    """The sizes in bytes of the frames that fill `data` from `offset` on, back to back.

    Raises:
        Mp3Error: something else is among them, or the last one is cut short; the message says at which byte.
    """
    sizes = []
    end = len(data)
    while offset < end:
        size = _SIZES.get(data[offset : offset + 3])
        if size is None:
            raise Mp3Error(f"no MPEG-1 Layer III frame of 48 kHz at byte {offset}")
        offset += size
        sizes.append(size)
    if offset > end:
        raise Mp3Error(f"the frame at byte {offset - sizes[-1]} ends {offset - end} bytes after the data")
    return sizes


def split_frames(data: bytes) -> list[bytes]:
    """The frames that `data` consists of, back to back.

    Raises:
        Mp3Error: as `frame_sizes`.
    """
    borders = accumulate(frame_sizes(data), initial=0)
    return [data[start:end] for start, end in pairwise(borders)]


def is_silent(frame: bytes) -> bool:
    """True when nothing at all is coded in the (whole) stereo frame, so that it decodes to zeros."""
    if frame == SILENT_FRAME:
        return True
    if len(frame) != len(SILENT_FRAME) or frame[3] >> 6 == _MONO or not frame[1] & 1:
        return False  # encoders use the least bit rate for silence, and ours no checksum and no mono
    side_info = int.from_bytes(frame[4 : 4 + _SIDE_INFO_BYTES])
    return not any(side_info >> (8 * _SIDE_INFO_BYTES - 12 - bit) & 0xFFF for bit in _PART_LENGTH_AT)


def id3v2_bytes(data: bytes) -> int:
    """Length of the ID3v2 tag that `data` begins with, in bytes; 0 when there is none."""
    if len(data) < 10 or data[:3] != b"ID3":  # noqa: PLR2004 - the tag's header
        return 0
    footer = 10 if data[5] & 0x10 else 0
    return 10 + footer + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))


def is_info_frame(frame: bytes) -> bool:
    """True for the frame that describes the others (Xing or Info) and holds no sound."""
    return frame[_XING_AT : _XING_AT + 4] in (b"Xing", b"Info")


def info_samples(frame: bytes) -> int:
    """The length in samples of the recording that an Info frame of ours describes.

    Raises:
        Mp3Error: it is not such a frame.
    """
    if len(frame) != INFO_FRAME_BYTES or not is_info_frame(frame) or frame[156:165] != _ENCODER:
        raise Mp3Error("the file does not begin with an Info frame of this recorder")
    frames = int.from_bytes(frame[44:48])
    delay, padding = divmod(int.from_bytes(frame[177:180]), 0x1000)
    return frames * FRAME_SAMPLES - delay - padding


def info_frame(*, frames: int, samples: int, data_bytes: int, offsets: Sequence[int]) -> bytes:
    """The frame at a file's head that tells a player the length, the delay to skip and where to seek.

    Args:
        frames: number of frames in the file, this one not counted; `frame_count(samples)`, or a few more.
        samples: exact length of the source; players that know the tag play neither more nor less.
        data_bytes: size of those frames together.
        offsets: for each percent of the playing time the byte, counted from the first of those frames, at which its
            frame begins (`TOC_ENTRIES` numbers).

    Raises:
        Mp3Error: `frames` cannot hold so many samples, or are too many for them.
    """
    padding = frames * FRAME_SAMPLES - ENCODER_DELAY_SAMPLES - samples
    if not 0 <= padding <= _MAX_PADDING:
        raise Mp3Error(f"{frames} frames do not fit {samples} samples")
    file_bytes = INFO_FRAME_BYTES + data_bytes
    toc = bytes(min(255, (INFO_FRAME_BYTES + offset) * 256 // file_bytes) for offset in offsets)
    xing = (
        b"Xing" + b"".join(n.to_bytes(4) for n in (_XING_FIELDS, frames, file_bytes)) + toc + bytes(4)
    )  # quality: unknown
    lame = (
        _ENCODER
        + bytes((_VBR_METHOD, _LOWPASS_UNKNOWN))
        + bytes(10)  # peak, gains, flags, least bit rate: unknown
        + (ENCODER_DELAY_SAMPLES << 12 | padding).to_bytes(3)
        + bytes(4)  # mode, gain, preset: unknown
        + file_bytes.to_bytes(4)
        + bytes(2)  # checksum of the sound: players do not look at it
    )
    frame = _INFO_HEADER + bytes(_SIDE_INFO_BYTES) + xing + lame
    return frame + _crc16(frame).to_bytes(2)


def _crc16(data: bytes) -> int:
    """CRC-16/ARC, the checksum of the LAME tag."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
