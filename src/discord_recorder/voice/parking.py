"""A frame that waits: for somebody to say whose it is, for a key, or behind one that waits. And the space for them."""

from typing import Final

from discord_recorder.voice.counters import Outcome

PARK_SECONDS: Final = 2.0
"""How long a frame waits; a commit came 0.4 s late when that was measured (PROTOCOL "DAVE")."""

REORDER_SECONDS: Final = 0.2
"""How long the first frame of an epoch waits for those that it may have overtaken, which would not open after it."""

MAX_STREAM_FRAMES: Final = 512
"""Frames of one SSRC that wait: 10 s of 20 ms, so only a flood gets there. The oldest goes."""

MAX_STREAM_BYTES: Final = 256 * 1024
"""Bytes of one SSRC that wait: twice what 2 s take at the highest bit rate of Opus. The oldest goes."""


class Held:
    """A frame that waits."""

    __slots__ = ("arrived", "hopeless", "index", "opus", "payload", "plain", "reason", "sequence", "timestamp")

    def __init__(self, index: int, sequence: int, timestamp: int, payload: bytes, arrived: float) -> None:
        self.index = index
        self.sequence = sequence
        self.timestamp = timestamp
        self.payload = payload
        self.arrived = arrived
        self.opus: bytes | None = None
        self.plain = False
        self.hopeless = False
        self.reason = Outcome.UNKNOWN_SSRC

    @property
    def opened_with_key(self) -> bool:
        """True when it was encrypted and a key opened it."""
        return self.opus is not None and self.opus is not self.payload


class Budget:
    """The space for frames that wait, of all streams together; what finds no space is not parked."""

    __slots__ = ("bytes", "frames", "max_bytes", "max_frames")

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.frames = 0
        self.bytes = 0

    def fits(self, size: int) -> bool:
        """True when another frame of `size` bytes has space."""
        return self.frames < self.max_frames and self.bytes + size <= self.max_bytes

    def add(self, frames: int, size: int) -> None:
        """Take space, or with negative numbers give it back."""
        self.frames += frames
        self.bytes += size
