"""RTP as Discord's voice servers send it: the header, what has to be stripped after it, and wrap-around arithmetic.

Sources: RFC 3550 section 5.1 (header), 5.3.1 (extension), RFC 5761 section 4 (telling RTCP apart), PROTOCOL "Packets".
"""

from struct import Struct
from typing import Final, NamedTuple

from discord_recorder.errors import ParseError

OPUS_PAYLOAD_TYPE: Final = 120
"""What Discord numbers Opus with."""

FRAME_SAMPLES: Final = 960
"""Timestamp steps of one frame of 20 ms."""

HEADER_BYTES: Final = 12
"""Length of the fixed part of the header."""

SEQUENCE_MODULUS: Final = 1 << 16
TIMESTAMP_MODULUS: Final = 1 << 32
"""Of 48,000 steps a second."""

_HEADER: Final = Struct(">BBHII")
_VERSION: Final = 2
_PADDED: Final = 0x20
_EXTENDED: Final = 0x10
_CSRC_COUNT: Final = 0x0F
_MARKER: Final = 0x80
_EXTENSION_PREAMBLE_BYTES: Final = 4
_FIRST_RTCP_TYPE: Final = 200
_LAST_RTCP_TYPE: Final = 207


class RtpPacket(NamedTuple):
    """One RTP packet, opened and stripped. A tuple, because one is made for every datagram."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def is_rtp(datagram: bytes) -> bool:
    """True when it is long enough for RTP and claims to be its version 2."""
    return len(datagram) >= HEADER_BYTES and datagram[0] >> 6 == _VERSION


def is_rtcp(datagram: bytes) -> bool:
    """True when the second byte is an RTCP packet type; RTP of ours never has it there."""
    return len(datagram) > 1 and datagram[0] >> 6 == _VERSION and _FIRST_RTCP_TYPE <= datagram[1] <= _LAST_RTCP_TYPE


def clear_bytes(datagram: bytes) -> int:
    """How many bytes at the head of an rtpsize packet are authenticated but not encrypted.

    These are the fixed header, the CSRCs, and the preamble of an extension; the extension's body is encrypted.

    Raises:
        ParseError: it is not RTP, or it ends before that.
    """
    if len(datagram) < HEADER_BYTES:
        raise ParseError("a datagram is too short for RTP")
    first = datagram[0]
    if first >> 6 != _VERSION:
        raise ParseError("a datagram is not RTP version 2")
    size = HEADER_BYTES + 4 * (first & _CSRC_COUNT)
    if first & _EXTENDED:
        size += _EXTENSION_PREAMBLE_BYTES
    if len(datagram) < size:
        raise ParseError("an RTP header is cut short")
    return size


def stripped(datagram: bytes, clear: int, body: bytes) -> RtpPacket:
    """The packet made of the clear head of `datagram` and its decrypted `body`: extension and padding are taken off.

    Args:
        datagram: the packet as it came.
        clear: what `clear_bytes` says of it.
        body: what comes after that, decrypted, with no tag and no nonce.

    Raises:
        ParseError: the extension or the padding is longer than the packet.
    """
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
    if first & _EXTENDED:
        extension_bytes = 4 * (datagram[clear - 2] << 8 | datagram[clear - 1])
        if extension_bytes > len(body):
            raise ParseError("an RTP extension is longer than its packet")
        body = body[extension_bytes:]
    if first & _PADDED:
        padding_bytes = body[-1] if body else 0
        if not 0 < padding_bytes <= len(body):
            raise ParseError("RTP padding is longer than its packet")
        body = body[:-padding_bytes]
    return RtpPacket(second & ~_MARKER, sequence, timestamp, ssrc, body)


def header(*, sequence: int, timestamp: int, ssrc: int, payload_type: int = OPUS_PAYLOAD_TYPE) -> bytes:
    """The 12 bytes in front of a packet of ours; sequence and timestamp are wrapped here."""
    return _HEADER.pack(_VERSION << 6, payload_type, sequence % SEQUENCE_MODULUS, timestamp % TIMESTAMP_MODULUS, ssrc)


def sequence_distance(sequence: int, reference: int) -> int:
    """How far `sequence` is ahead of `reference`, -32768 to 32767, the wrap-around taken into account."""
    return (sequence - reference + 0x8000) % SEQUENCE_MODULUS - 0x8000


def timestamp_distance(timestamp: int, reference: int) -> int:
    """How many samples `timestamp` is ahead of `reference`, -2^31 to 2^31 - 1, the wrap-around taken into account."""
    return (timestamp - reference + 0x8000_0000) % TIMESTAMP_MODULUS - 0x8000_0000
