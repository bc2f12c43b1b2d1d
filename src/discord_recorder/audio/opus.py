"""Opus packets as bytes: how long one lasts, whether it is one at all, and the packets that stand for silence.

Nothing is decoded here and no codec is imported, so that the capture process may use it for every packet.

Source: RFC 6716, section 3 (the TOC byte, frame packing, and the requirements R1 to R7 on a packet).
"""

from typing import Final

from discord_recorder.errors import OpusError

MAX_PACKET_SAMPLES: Final = 5_760
"""Samples (48 kHz) of the longest packet: 120 ms (R5)."""

UNIT_SAMPLES: Final = 120
"""Samples of the shortest frame, 2.5 ms: every packet lasts a whole number of these."""

SILENCE: Final = bytes.fromhex("f8fffe")
"""20 ms of silence, as Discord's clients send it five times before they stop sending (PROTOCOL, Time)."""

_SILK: Final = (480, 960, 1920, 2880)
_HYBRID: Final = (480, 960)
_CELT: Final = (120, 240, 480, 960)
_FRAME_SAMPLES: Final = 3 * _SILK + 2 * _HYBRID + 4 * _CELT
"""Samples of one frame by the TOC's configuration number: the sizes of each mode, for each of its bandwidths."""

_SIZES: Final = (
    *(range(first, first + len(_SILK)) for first in (0, 4, 8)),
    *(range(first, first + len(_HYBRID)) for first in (12, 14)),
    *(range(first, first + len(_CELT)) for first in (16, 20, 24, 28)),
)
"""The configuration numbers of each mode and bandwidth, shortest frame first."""

_CELT_LIKE: Final = (16, 20, 20, 24, 28, 16, 20, 24, 28)
"""For each of `_SIZES` the CELT configurations of the same bandwidth, or the next wider one: their first number."""

_MAX_FRAME_BYTES: Final = 1275  # R2
_TWO_BYTE_LENGTH: Final = 252
_MORE_PADDING: Final = 255  # 254 bytes of padding, and one more byte that tells of padding
_ONE_FRAME, _TWO_EQUAL, _TWO_FRAMES, _MANY_FRAMES = range(4)  # the TOC's code
_MOST_FRAMES: Final = MAX_PACKET_SAMPLES // UNIT_SAMPLES
_MARKER_BYTES: Final = 2  # the TOC, and how many frames


def packet_samples(packet: bytes) -> int:
    """How long a packet lasts, in samples of 48 kHz: 120 to 5760, in steps of 120.

    Raises:
        OpusError: it breaks a requirement of RFC 6716 on packets, so that no decoder would take it.
    """
    size = len(packet)
    if size and not packet[0] & 3 and size <= _MAX_FRAME_BYTES + 1:  # one frame: what nearly every sender sends
        return _FRAME_SAMPLES[packet[0] >> 3]
    return frame_count(packet) * _FRAME_SAMPLES[packet[0] >> 3]


def frame_count(packet: bytes) -> int:
    """How many frames a packet holds, 1 to 48.

    Raises:
        OpusError: as `packet_samples`.
    """
    if not packet:
        raise OpusError("an Opus packet has at least its TOC byte")
    code = packet[0] & 3
    if code == _ONE_FRAME:
        sizes = [len(packet) - 1]
    elif code == _TWO_EQUAL:
        sizes = _equal_sizes(len(packet) - 1, 2)
    elif code == _TWO_FRAMES:
        sizes = _own_sizes(packet, 1, len(packet), 2)
    else:
        sizes = _many_sizes(packet)
    if max(sizes) > _MAX_FRAME_BYTES:
        raise OpusError(f"an Opus frame of {max(sizes)} bytes; {_MAX_FRAME_BYTES} are the most")
    return len(sizes)


def is_opus(packet: bytes) -> bool:
    """Whether a packet keeps all requirements of RFC 6716; so do many random bytes, but no encrypted frame's tail."""
    try:
        frame_count(packet)
    except OpusError:
        return False
    return True


def is_silence(packet: bytes) -> bool:
    """Whether a packet is the silence that senders put before a pause."""
    return packet == SILENCE


def lost_frame(packet: bytes) -> tuple[bytes, int]:
    """A packet that says "a frame like those of `packet` was lost", and its samples: a TOC byte and no frame."""
    return bytes((packet[0] & 0xFC,)), _FRAME_SAMPLES[packet[0] >> 3]


def frame_samples(packet: bytes) -> int:
    """Samples of each of a packet's frames, by its TOC byte."""
    return _FRAME_SAMPLES[packet[0] >> 3]


def missing_packet(like: bytes, samples: int) -> bytes:
    """A marker: the packet that stands, in our files, for `samples` of a track that were sent and never came.

    It is a packet of code 3 whose frames have no bytes (section 3.2.5), which every decoder takes for lost ones and
    conceals. Its frames are of the mode and bandwidth of `like`, as long as those where that fits. SILK has none
    shorter than 10 ms: such lengths are of CELT frames, which are concealed in the mode of the packet before all the
    same.

    A sender may make such a packet too, of three or more frames that are all not worth sending (DTX), which says the
    same: there is nothing to decode.

    Args:
        like: a packet next to it.
        samples: 120 to 5760, a multiple of 120.

    Raises:
        OpusError: no packet lasts so long.
    """
    if not UNIT_SAMPLES <= samples <= MAX_PACKET_SAMPLES or samples % UNIT_SAMPLES:
        raise OpusError(f"no Opus packet lasts {samples} samples")
    configuration = like[0] >> 3
    group = next(number for number, sizes in enumerate(_SIZES) if configuration in sizes)
    choices = (configuration, *reversed(_SIZES[group]), *range(_CELT_LIKE[group] + 3, _CELT_LIKE[group] - 1, -1))
    chosen = next(number for number in choices if not samples % _FRAME_SAMPLES[number])
    return bytes((chosen << 3 | like[0] & 4 | 3, samples // _FRAME_SAMPLES[chosen]))


def is_missing(packet: bytes) -> bool:
    """Whether a packet is a marker of `missing_packet`: code 3, no flags, and no byte for any of its frames."""
    return len(packet) == _MARKER_BYTES and packet[0] & 3 == _MANY_FRAMES and 0 < packet[1] <= _MOST_FRAMES


def silence(samples: int) -> list[bytes]:
    """The fewest packets that are silence and last `samples`.

    They are CELT frames whose silence flag is set, like `SILENCE`: 15 bytes in Ogg for each 120 ms.

    Raises:
        OpusError: `samples` is negative or no multiple of `UNIT_SAMPLES`.
    """
    if samples < 0 or samples % UNIT_SAMPLES:
        raise OpusError(f"no Opus packets last {samples} samples: it takes a multiple of {UNIT_SAMPLES}")
    packets = [_LONGEST_SILENCE] * (samples // MAX_PACKET_SAMPLES)
    samples %= MAX_PACKET_SAMPLES
    for lasting, packet in _SILENCES:
        packets += [packet] * (samples // lasting)
        samples %= lasting
    return packets


_LONGEST_SILENCE: Final = bytes.fromhex("fb06") + 6 * SILENCE[1:]
_SILENCES: Final = tuple(
    (_FRAME_SAMPLES[configuration], bytes((configuration << 3,)) + SILENCE[1:]) for configuration in (31, 30, 29, 28)
)


def _many_sizes(packet: bytes) -> list[int]:
    """The frames' sizes of a packet of code 3."""
    if len(packet) < 2:  # noqa: PLR2004 - R6: the TOC and the frame count
        raise OpusError("an Opus packet of code 3 without its frame count")
    count = packet[1] & 0x3F
    if not 1 <= count <= MAX_PACKET_SAMPLES // _FRAME_SAMPLES[packet[0] >> 3]:
        raise OpusError(f"{count} frames in an Opus packet; 120 ms is the most")
    start, end = 2, len(packet)
    if packet[1] & 0x40:
        start, end = _without_padding(packet)
    if packet[1] & 0x80:
        return _own_sizes(packet, start, end, count)
    return _equal_sizes(end - start, count)


def _without_padding(packet: bytes) -> tuple[int, int]:
    """Where the frames (or their sizes) of a padded packet begin, and where they end."""
    padding, at, piece = 0, 2, _MORE_PADDING
    while piece == _MORE_PADDING and at < len(packet):
        piece = packet[at]
        padding += min(piece, _MORE_PADDING - 1)
        at += 1
    if piece == _MORE_PADDING or at + padding > len(packet):
        raise OpusError("an Opus packet with more padding than bytes")
    return at, len(packet) - padding


def _equal_sizes(size: int, count: int) -> list[int]:
    each, rest = divmod(size, count)
    if rest:
        raise OpusError(f"{size} bytes are no {count} equal Opus frames")
    return [each] * count


def _own_sizes(packet: bytes, start: int, end: int, count: int) -> list[int]:
    """The sizes of frames that tell their own, all but the last one's; it has the rest."""
    sizes = []
    for _ in range(count - 1):
        if start >= end:
            raise OpusError("an Opus packet ends among its frames' sizes")
        size = packet[start]
        start += 1
        if size >= _TWO_BYTE_LENGTH:
            if start >= end:
                raise OpusError("an Opus packet ends among its frames' sizes")
            size += 4 * packet[start]
            start += 1
        sizes.append(size)
    rest = end - start - sum(sizes)
    if rest < 0:
        raise OpusError("an Opus packet's frames are longer than the packet")
    return [*sizes, rest]
