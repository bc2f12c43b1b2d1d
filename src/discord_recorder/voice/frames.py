"""One frame of Opus as a speaker sent it, with all that is needed to place it in time."""

from typing import NamedTuple


class OpusFrame(NamedTuple):
    """One packet of Opus, transport and end-to-end encryption taken off.

    The sequence number and the timestamp are as sent: they begin anywhere and wrap, and belong to the SSRC, so they
    can be compared only within one connection. A tuple, because one is made for every packet.
    """

    user_id: int
    """Discord's id of the speaker, to whom the track belongs."""

    ssrc: int
    """The stream of this connection that the frame came in; a rejoin brings another."""

    sequence: int
    """RTP sequence number, 16 bit."""

    timestamp: int
    """RTP timestamp of the first sample, 32 bit, at 48 kHz."""

    opus: bytes
    """The Opus packet (RFC 6716), TOC byte first."""

    arrived: float
    """When the datagram came, in monotonic seconds."""
