"""Datagrams that a client gets and nobody meant for it: each kind is one way of being wrong."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from discord_recorder.simulator.voice import rtp
from discord_recorder.simulator.voice.rtp import TransportKey

_VIDEO: Final = 103
_UNKNOWN_SSRC: Final = 0xDEAD_BEEF


class Garbage(StrEnum):
    """How it is wrong."""

    EMPTY = "empty"
    NOISE = "noise"
    """Random bytes of random length."""
    NOISE_AS_RTP = "noise as rtp"
    """Noise with an RTP header of Opus."""
    TRUNCATED = "truncated"
    """A good packet's first bytes."""
    WRONG_KEY = "wrong key"
    """A good packet under another key."""
    RTCP = "rtcp"
    """A sender report."""
    VIDEO = "video"
    """A good packet of another payload type."""
    UNKNOWN_SSRC = "unknown ssrc"
    """A good packet of an SSRC that was never told."""
    LONG_EXTENSION = "long extension"
    """Its extension is said to be longer than the packet."""
    LONG_PADDING = "long padding"
    """Its padding is said to be longer than the packet."""
    NO_PAYLOAD = "no payload"
    """Sealed, and nothing in it."""
    LATE_DISCOVERY = "late discovery"
    """An answer to an IP discovery that nobody asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """What garbage is made of: parts of a good packet, and chance."""

    key: TransportKey
    number: int
    clear: bytes
    opus: bytes
    lot: random.Random

    def seal(self, clear: bytes, plain: bytes) -> bytes:
        return self.key.seal(clear, plain)

    def flagged(self, flag: int) -> bytes:
        return bytes((self.clear[0] | flag,)) + self.clear[1:]


_MAKERS: Final[dict[Garbage, Callable[[_Material], bytes]]] = {
    Garbage.EMPTY: lambda of: b"",
    Garbage.NOISE: lambda of: of.lot.randbytes(of.lot.randrange(1, 1200)),
    Garbage.NOISE_AS_RTP: lambda of: of.clear + of.lot.randbytes(of.lot.randrange(200)),
    Garbage.TRUNCATED: lambda of: of.seal(of.clear, of.opus)[: of.lot.randrange(1, 60)],
    Garbage.WRONG_KEY: lambda of: TransportKey(of.key.mode, of.lot.randbytes(rtp.KEY_BYTES)).seal(of.clear, of.opus),
    Garbage.RTCP: lambda of: bytes((0x80, 200, 0, 6)) + of.lot.randbytes(48),
    Garbage.VIDEO: lambda of: of.seal(rtp.header(of.number, of.number * 3000, _UNKNOWN_SSRC, _VIDEO), of.opus),
    Garbage.UNKNOWN_SSRC: lambda of: of.seal(of.clear, of.opus),
    Garbage.LONG_EXTENSION: lambda of: of.seal(of.flagged(0x10) + bytes.fromhex("bede01f4"), of.opus),
    Garbage.LONG_PADDING: lambda of: of.seal(of.flagged(0x20), of.opus[:10] + b"\xff"),
    Garbage.NO_PAYLOAD: lambda of: of.seal(of.clear, b""),
    Garbage.LATE_DISCOVERY: lambda of: (
        bytes.fromhex("00020046") + of.lot.randbytes(4) + b"127.0.0.1".ljust(64, b"\0") + bytes((0, 80))
    ),
}


def make_garbage(kind: Garbage, key: TransportKey, number: int) -> bytes:
    """A datagram of this kind for the owner of `key`; the same number gives the same noise."""
    lot = random.Random(f"{kind} {number}")  # noqa: S311 - repeatable, on purpose
    clear = rtp.header(number, number * 960, _UNKNOWN_SSRC)
    opus = b"\xfc" + lot.randbytes(60)
    return _MAKERS[kind](_Material(key=key, number=number, clear=clear, opus=opus, lot=lot))
